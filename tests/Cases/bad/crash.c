// SPDX-License-Identifier: Apache-2.0
// crash.c: a wild write ends the program as on Linux, with a sentence that says where.
//
// apus: compare: host
// apus: status: 139
// apus: stderr-has: apus:
// apus: stderr-has: SIGSEGV
// apus: stderr-has: 0x8
int main(void) {
  *(volatile int *)8 = 1;
  return 0;
}
