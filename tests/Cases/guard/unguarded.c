// SPDX-License-Identifier: Apache-2.0
// unguarded.c: without a guard a program's wild write into the LibOS is made, and ends its whole family.
//
// apus: icount: yes
// apus: memory: 64M
// apus: status: 125
// apus: stdout-has: the word is written\n
// apus: stderr-has: inside its LibOS
// apus: timeout: 120

#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  volatile uint64_t *uarea;
  __asm__ volatile("rdgsbase %0" : "=r"(uarea));
  uint64_t unused = uarea[0x1f8 / 8];
  uarea[0x1f8 / 8] = unused + 1;
  if (uarea[0x1f8 / 8] == unused + 1) puts("the word is written");
  uarea[0x1f8 / 8] = unused;
  fflush(stdout);
  if (fork() == 0) {
    // What the LibOS takes for the running execution.
    uarea[0x238 / 8] = 8;
    _exit(0);
  }
  wait(NULL);
  puts("the family goes on");
  return 0;
}
