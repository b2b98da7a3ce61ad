// SPDX-License-Identifier: Apache-2.0
// process.c: fork, vfork, clone, the ends of processes and how parents learn of them.
//
// apus: compare: host
// apus: timeout: 600

#include "check.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static int shared_pipe[2];

static void fork_basics(void) {
  section("fork");
  int value = 1;
  pid_t parent = getpid();
  pid_t child = fork();
  if (child == 0) {
    CHECK(getppid() == parent);
    CHECK(getpid() != parent);
    value = 2;
    _exit(value + 40);
  }
  CHECK(child > 0 && value == 1);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  say_status("child", status);
  SHOW(waitpid(child, &status, 0));
  SHOW(waitpid(-1, &status, WNOHANG));
  SHOW(wait(NULL));
  // Exit statuses keep their low eight bits.
  for (int i = 0; i < 256; i++) {
    if ((child = fork()) == 0) _exit(i);
    status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == i);
  }
  IN_CHILD("a large status", _exit(0x12345));
  IN_CHILD("a negative status", _exit(-1));
  IN_CHILD("exit, not _exit", exit(5));
  // Many at once, ending in any order.
  enum { many = 50 };
  int seen = 0, sum = 0;
  for (int i = 0; i < many; i++)
    if (fork() == 0) _exit(i);
  while (wait(&status) > 0) seen++, sum += WEXITSTATUS(status);
  say("%d children, sum %d\n", seen, sum);
  // A chain of descendants.
  child = fork();
  if (child == 0) {
    for (int depth = 1; depth < 20; depth++) {
      child = fork();
      if (child != 0) _exit(WEXITSTATUS(wait_for(child)) + 1);
    }
    _exit(1);
  }
  say_status("twenty generations", wait_for(child));
}

static int run_in_clone(void *argument) {
  *(int *)argument += 5;
  return 9;
}

static void other_forks(void) {
  section("vfork and clone");
  volatile int value = 1;
  pid_t child = vfork();
  if (child == 0) {
    value = 7;
    _exit(3);
  }
  say_status("vfork", wait_for(child));
  say("the parent sees what vfork's child wrote: %d\n", value);
  // A parent goes on only when vfork's child has gone or executes.
  CHECK(pipe(shared_pipe) == 0);
  child = vfork();
  if (child == 0) {
    syscall(SYS_write, shared_pipe[1], "x", 1);
    _exit(0);
  }
  fcntl(shared_pipe[0], F_SETFL, O_NONBLOCK);
  char byte;
  SHOW(read(shared_pipe[0], &byte, 1));
  wait_for(child);
  char *stack = malloc(65536);
  int counter = 10;
  child = clone(run_in_clone, stack + 65536, SIGCHLD, &counter);
  say_status("clone without sharing", wait_for(child));
  say("counter %d\n", counter);
  child = clone(run_in_clone, stack + 65536, CLONE_VM | SIGCHLD, &counter);
  say_status("clone with shared memory", wait_for(child));
  say("counter %d\n", counter);
  int parent_word = 0, cleared = -1;
  child = (pid_t)syscall(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, 0, &parent_word, &cleared, 0);
  if (child == 0) _exit(0);
  CHECK(parent_word == child);
  wait_for(child);
  child = (pid_t)syscall(SYS_clone, CLONE_CHILD_SETTID | SIGCHLD, 0, NULL, &cleared, 0);
  if (child == 0) _exit(cleared == getpid() ? 0 : 1);
  say_status("the child finds its number", wait_for(child));
  CHECK(cleared == -1);
  // A child without an exit signal is waited for with __WALL or __WCLONE only.
  child = (pid_t)syscall(SYS_clone, 0, 0, NULL, NULL, 0);
  if (child == 0) _exit(4);
  SHOW(waitpid(child, NULL, 0));
  int status;
  CHECK(waitpid(child, &status, __WALL) == child);
  say_status("a child without a signal", status);
  SHOW(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, NULL, NULL, 0));
  SHOW(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, 0, NULL, NULL, 0));
  SHOW(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, NULL, NULL, 0));
  // Shared descriptors and a shared working directory.
  CHECK(mkdir("elsewhere", 0700) == 0);
  child = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_FS | SIGCHLD, 0, NULL, NULL, 0);
  if (child == 0) {
    close(shared_pipe[0]);
    _exit(chdir("elsewhere"));
  }
  wait_for(child);
  SHOW(close(shared_pipe[0]));
  char place[4096];
  CHECK(getcwd(place, sizeof place) != NULL);
  say("working directory: %s\n", strrchr(place, '/') + 1);
  CHECK(chdir("..") == 0 && rmdir("elsewhere") == 0);
  close(shared_pipe[1]);
}

static void statuses(void) {
  section("ends");
  static const int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1,
                              SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGSYS};
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (unsigned i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
    pid_t child = fork();
    if (child == 0) {
      signal(fatal[i], SIG_DFL);
      kill(getpid(), fatal[i]);
      _exit(0);
    }
    int status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == fatal[i]);
  }
  IN_CHILD("abort", abort());
  IN_CHILD("undefined instruction", __asm__ volatile("ud2"));
  IN_CHILD("breakpoint", __asm__ volatile("int3"));
  IN_CHILD("division by zero", __asm__ volatile("xor %%eax, %%eax; xor %%edx, %%edx; div %%eax" ::: "eax", "edx", "cc"));
  IN_CHILD("write to address 0", *(volatile char *volatile *)NULL = 0);
  IN_CHILD("privileged instruction", __asm__ volatile("hlt"));
  IN_CHILD("port access", __asm__ volatile("in $0x80, %%al" ::: "eax"));
  IN_CHILD("unusual interrupt", __asm__ volatile("int $0x33"));
  IN_CHILD("jump to nothing", ((void (*volatile)(void))NULL)());
  IN_CHILD("stack gone", __asm__ volatile("xor %%esp, %%esp; push %%rax" ::: "memory"));
  IN_CHILD("exit_group in a system call", syscall(SYS_exit_group, 6));
  IN_CHILD("exit of the only thread", syscall(SYS_exit, 8));
}

static void waiting(void) {
  section("waiting");
  int gate[2];
  char byte;
  CHECK(pipe(gate) == 0);
  pid_t first = fork();
  if (first == 0) {
    close(gate[1]);
    _exit(read(gate[0], &byte, 1) == 0 ? 1 : 2);
  }
  int status = 0;
  SHOW(waitpid(first, &status, WNOHANG));
  siginfo_t info;
  memset(&info, 0x55, sizeof info);
  SHOW(waitid(P_PID, first, &info, WEXITED | WNOHANG));
  say("nothing yet: pid %d, signo %d\n", info.si_pid, info.si_signo);
  close(gate[1]);
  SHOW(waitid(P_PID, first, &info, WEXITED | WNOWAIT));
  CHECK(info.si_pid == first);
  say("info: signo %d, code %d, status %d\n", info.si_signo, info.si_code, info.si_status);
  SHOW(waitid(P_PID, first, &info, WEXITED));
  CHECK(info.si_pid == first);
  SHOW(waitid(P_PID, first, &info, WEXITED));
  SHOW(waitid(P_ALL, 0, &info, 0));
  SHOW(waitid(99, 0, &info, WEXITED));
  SHOW(waitpid(-1, NULL, 0x10));
  close(gate[0]);
  pid_t killed = fork();
  if (killed == 0)
    for (;;) pause();
  CHECK(kill(killed, SIGKILL) == 0);
  CHECK(waitid(P_ALL, 0, &info, WEXITED) == 0 && info.si_pid == killed);
  say("killed: code %d, status %d\n", info.si_code, info.si_status);
  pid_t stopped = fork();
  if (stopped == 0) {
    // In a group of its own whose parent is outside: a terminal's stop is ignored in an orphaned group.
    setpgid(0, 0);
    raise(SIGSTOP);
    raise(SIGTSTP);
    _exit(12);
  }
  for (int i = 0; i < 2; i++) {
    CHECK(waitpid(stopped, &status, WUNTRACED) == stopped);
    say_status("first", status);
    CHECK(waitpid(stopped, &status, WUNTRACED | WNOHANG) == 0);
    CHECK(kill(stopped, SIGCONT) == 0);
    CHECK(waitid(P_PID, stopped, &info, WCONTINUED) == 0);
    say("continued: code %d, status %d\n", info.si_code, info.si_status);
  }
  say_status("then", wait_for(stopped));
  stopped = fork();
  if (stopped == 0)
    for (;;) pause();
  kill(stopped, SIGSTOP);
  CHECK(waitpid(stopped, &status, WUNTRACED) == stopped);
  kill(stopped, SIGTERM);
  CHECK(waitpid(stopped, &status, WNOHANG) == 0);
  kill(stopped, SIGCONT);
  say_status("a signal kept while stopped", wait_for(stopped));
  stopped = fork();
  if (stopped == 0)
    for (;;) pause();
  kill(stopped, SIGSTOP);
  CHECK(waitpid(stopped, &status, WUNTRACED) == stopped);
  kill(stopped, SIGKILL);
  say_status("killed while stopped", wait_for(stopped));
  // Any child of a group.
  pid_t leader = fork();
  if (leader == 0) {
    setpgid(0, 0);
    _exit(1);
  }
  setpgid(leader, leader);
  pid_t outside = fork();
  if (outside == 0) _exit(2);
  CHECK(waitpid(-leader, &status, 0) == leader);
  CHECK(waitpid(0, &status, 0) == outside);
  SHOW(waitpid(-leader, &status, 0));
}

static void zombies(void) {
  section("orphans and zombies");
  pid_t child = fork();
  if (child == 0) _exit(3);
  siginfo_t info;
  CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
  SHOW(kill(child, 0));
  SHOW(kill(child, SIGKILL));
  CHECK(setpgid(child, child) == -1 || 1);
  say_status("a zombie's status stays", wait_for(child));
  SHOW(kill(child, 0));
  // An ignored SIGCHLD means that nobody waits.
  signal(SIGCHLD, SIG_IGN);
  if ((child = fork()) == 0) _exit(0);
  SHOW(waitpid(child, NULL, 0));
  signal(SIGCHLD, SIG_DFL);
  struct sigaction no_wait = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
  sigaction(SIGCHLD, &no_wait, NULL);
  if ((child = fork()) == 0) _exit(0);
  SHOW(waitpid(child, NULL, 0));
  signal(SIGCHLD, SIG_DFL);
  // A subreaper takes its descendants' orphans.
  SHOW(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  int gate[2];
  CHECK(pipe(gate) == 0);
  child = fork();
  if (child == 0) {
    if (fork() == 0) {
      char byte;
      close(gate[1]);
      // Ends when every writer has gone, the middle one included.
      CHECK(read(gate[0], &byte, 1) == 0);
      _exit(44);
    }
    _exit(0);
  }
  wait_for(child);
  close(gate[1]);
  int status;
  CHECK(wait(&status) > 0);
  say_status("the orphan", status);
  close(gate[0]);
  SHOW(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0));
  // A child that asks for it gets a signal when its parent goes.
  CHECK(pipe(gate) == 0);
  child = fork();
  if (child == 0) {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      CHECK(write(gate[1], "r", 1) == 1);
      for (;;) pause();
    }
    char byte;
    CHECK(read(gate[0], &byte, 1) == 1);
    _exit(0);
  }
  wait_for(child);
  close(gate[1]);
  char byte;
  SHOW(read(gate[0], &byte, 1));
  close(gate[0]);
}

static void groups(void) {
  section("groups and sessions");
  pid_t child = fork();
  if (child == 0) {
    failures = 0;
    CHECK(getpgrp() == getpgid(getppid()));
    SHOW(setpgid(0, 0));
    CHECK(getpgrp() == getpid());
    SHOW(setsid());
    pid_t grandchild = fork();
    if (grandchild == 0) {
      CHECK(setsid() == getpid());
      CHECK(getsid(0) == getpid() && getpgrp() == getpid());
      SHOW(setpgid(0, 0));
      SHOW(open("/dev/tty", O_RDWR));
      _exit(failures);
    }
    say_status("grandchild", wait_for(grandchild));
    SHOW(getpgid(99999));
    SHOW(getsid(99999));
    SHOW(setpgid(99999, 0));
    SHOW(setpgid(0, -1));
    SHOW(setpgid(0, 99999));
    _exit(failures);
  }
  say_status("child", wait_for(child));
  // All of a group are killed at once; who is not of it stays.
  int gate[2];
  CHECK(pipe(gate) == 0);
  pid_t leader = 0;
  pid_t members[3];
  for (int i = 0; i < 3; i++) {
    members[i] = fork();
    if (members[i] == 0) {
      setpgid(0, leader);
      CHECK(write(gate[1], "r", 1) == 1);
      for (;;) pause();
    }
    if (i == 0) leader = members[i];
    setpgid(members[i], leader);
  }
  char byte;
  for (int i = 0; i < 3; i++) CHECK(read(gate[0], &byte, 1) == 1);
  SHOW(killpg(leader, SIGUSR1));
  for (int i = 0; i < 3; i++) say_status("a member", wait_for(members[i]));
  SHOW(killpg(leader, 0));
  close(gate[0]);
  close(gate[1]);
}

static void usage(void) {
  section("usage");
  struct rusage own, children;
  pid_t child = fork();
  if (child == 0) {
    for (volatile int i = 0; i < 1000000; i++) continue;
    _exit(0);
  }
  int status;
  CHECK(wait4(child, &status, 0, &children) == child);
  CHECK(getrusage(RUSAGE_SELF, &own) == 0);
  CHECK(own.ru_utime.tv_sec >= 0 && own.ru_utime.tv_usec >= 0 && own.ru_utime.tv_usec < 1000000);
  CHECK(children.ru_utime.tv_sec * 1000000 + children.ru_utime.tv_usec + children.ru_stime.tv_sec * 1000000 + children.ru_stime.tv_usec > 0);
  SHOW(getrusage(99, &own));
  // On Apus this program is process 1 and inherits the orphans made above.
  while (waitpid(-1, NULL, 0) > 0) continue;
  SHOW(wait4(-1, &status, 0, &children));
  struct rlimit limit = {10, 20};
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 256 && limit.rlim_max >= limit.rlim_cur);
  limit.rlim_cur = 5;
  SHOW(setrlimit(RLIMIT_NOFILE, &limit));
  SHOW(dup(0));
  SHOW(dup(0));
  SHOW(dup(0));
  limit.rlim_cur = limit.rlim_max;
  SHOW(setrlimit(RLIMIT_NOFILE, &limit));
  close(3);
  close(4);
  limit.rlim_cur = limit.rlim_max + 1;
  SHOW(setrlimit(RLIMIT_NOFILE, &limit));
  SHOW(getrlimit(99, &limit));
  SHOW(prctl(PR_SET_NAME, "a-new-name-that-is-long", 0, 0, 0));
  char name[16] = "";
  SHOW(prctl(PR_GET_NAME, name, 0, 0, 0));
  say("name %s\n", name);
}

int main(void) {
  close_inherited();
  fork_basics();
  other_forks();
  statuses();
  waiting();
  zombies();
  groups();
  usage();
  return finish();
}
