// SPDX-License-Identifier: Apache-2.0
// forks.c: a program that forks without end meets an error in time, and the machine still does its work.
//
// apus: timeout: 300
// apus: memory: 64M
// apus: stdout-has: an error, then all is well
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  // Blocked, not ignored: a child that has not run yet still gets it once it unblocks it.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigprocmask(SIG_BLOCK, &ending, NULL);
  int children = 0;
  for (;;) {
    pid_t child = fork();
    if (child < 0) break;
    if (child == 0) {
      sigprocmask(SIG_UNBLOCK, &ending, NULL);
      for (;;) pause();
    }
    children++;
  }
  int reason = errno;
  kill(0, SIGTERM);
  while (wait(NULL) > 0) children--;
  pid_t child = fork();
  if (child == 0) _exit(7);
  int status = 0;
  waitpid(child, &status, 0);
  if ((reason == EAGAIN || reason == ENOMEM) && children == 0 && WEXITSTATUS(status) == 7)
    puts("an error, then all is well");
  else
    printf("errno %d, %d children left, status %#x\n", reason, children, status);
  return 0;
}
