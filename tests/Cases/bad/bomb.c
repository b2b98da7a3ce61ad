// SPDX-License-Identifier: Apache-2.0
// bomb.c: every process forks without end; the machine ends with a sentence, at the latest at the timeout.
//
// apus: timeout: 5
// apus: memory: 64M
// apus: status: 124
// apus: stderr-has: apus:
#include <unistd.h>

int main(void) {
  for (;;) fork();
}
