// SPDX-License-Identifier: Apache-2.0
// preempted.c: two processes call at any distance from the end of their slices, which so comes at every instruction of a
// guarded LibOS's entries in time: just behind WRPKRU, too.
//
// apus: icount: yes
// apus: option: --guard
// apus: append: slice-milliseconds=1
// apus: memory: 64M
// apus: stdout-has: both are done\n
// apus: timeout: 120

#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  for (unsigned seed = 1; seed <= 2; seed++)
    if (fork() == 0) {
      unsigned random = seed;
      for (unsigned long round = 0; round < 20000; round++) {
        for (int call = 0; call < 10; call++) syscall(SYS_umask, 022);
        random = random * 1664525 + 1013904223;
        for (unsigned pause = random >> 25; pause > 0; pause--) __asm__ volatile("nop");
      }
      _exit(0);
    }
  int status = 0, failed = 0;
  while (wait(&status) > 0) failed |= status;
  puts(failed ? "one has failed" : "both are done");
  return 0;
}
