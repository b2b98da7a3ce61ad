// SPDX-License-Identifier: Apache-2.0
// loop.c: a program that never ends is stopped at the timeout.
//
// apus: timeout: 2
// apus: status: 124
// apus: stderr-has: did not end within 2 seconds
int main(void) {
  for (volatile unsigned long turns = 0;; turns++) {}
}
