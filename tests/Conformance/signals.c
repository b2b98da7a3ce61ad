// SPDX-License-Identifier: Apache-2.0
// signals.c: actions, masks, delivery, waiting for signals, and what they interrupt.
//
// apus: compare: host
// apus: timeout: 600

#include "check.h"

#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile sig_atomic_t count, last, order[64], ordered;
static siginfo_t last_info;

// Where the count is shown to other processes, if anywhere.
static volatile int *volatile everybody_sees;

static void note(int number) {
  last = number;
  count++;
  if (everybody_sees) *everybody_sees = count;
  if (ordered < 64) order[ordered++] = number;
}

static void note_info(int number, siginfo_t *info, void *context) {
  (void)context;
  last_info = *info;
  note(number);
}

static sigset_t set_of(int first, int second) {
  sigset_t set;
  sigemptyset(&set);
  if (first) sigaddset(&set, first);
  if (second) sigaddset(&set, second);
  return set;
}

static void defaults(void) {
  section("default actions");
  struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (int number = 1; number <= 64; number++) {
    if (number == 32 || number == 33) continue;
    pid_t child = fork();
    if (child == 0) {
      // A group of its own whose parent is outside of it: its terminal stops count.
      setpgid(0, 0);
      struct sigaction action = {.sa_handler = SIG_DFL};
      if (number != SIGKILL && number != SIGSTOP) sigaction(number, &action, NULL);
      kill(getpid(), number);
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    say("%d: ", number);
    say_status("it", status);
    if (WIFSTOPPED(status)) {
      kill(child, SIGKILL);
      wait_for(child);
    }
  }
}

static void actions(void) {
  section("actions");
  struct sigaction action = {.sa_handler = SIG_IGN}, old;
  SHOW(sigaction(SIGKILL, &action, NULL));
  SHOW(sigaction(SIGSTOP, &action, NULL));
  SHOW(sigaction(65, &action, NULL));
  SHOW(sigaction(0, &action, NULL));
  SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
  SHOW(syscall(SYS_rt_sigaction, SIGUSR1, nowhere, NULL, 8));
  SHOW(sigaction(SIGKILL, NULL, &old));
  SHOW(kill(getpid(), 65));
  SHOW(kill(getpid(), -1));
  SHOW(kill(99999, SIGTERM));
  SHOW(kill(getpid(), 0));
  SHOW(syscall(SYS_tgkill, getpid(), getpid(), 0));
  SHOW(syscall(SYS_tgkill, getpid(), -5, 0));
  SHOW(syscall(SYS_tkill, 99999, 0));

  count = 0;
  catch_signal(SIGUSR1, note, 0);
  CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == note);
  raise(SIGUSR1);
  raise(SIGUSR1);
  say("a handler stays: %d\n", (int)count);
  catch_signal(SIGUSR1, note, SA_RESETHAND);
  raise(SIGUSR1);
  CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
  say("a handler for once: %d, then the default: %d\n", (int)count, old.sa_handler == SIG_DFL);
  signal(SIGUSR1, SIG_IGN);
  raise(SIGUSR1);
  say("ignored: %d\n", (int)count);
  catch_signal_info(SIGUSR1, note_info, 0);
  kill(getpid(), SIGUSR1);
  say("info: signo %d, code %d, own pid %d, uid %d\n", last_info.si_signo, last_info.si_code, last_info.si_pid == getpid(), last_info.si_uid);
  raise(SIGUSR1);
  say("raise: code %d\n", last_info.si_code);
  sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 1234});
  say("sigqueue: code %d, value %d\n", last_info.si_code, last_info.si_value.sival_int);
  signal(SIGUSR1, SIG_DFL);
}

static volatile int depth, deepest, raised;

static void recurse(int number) {
  int here = ++depth;
  if (here > deepest) deepest = here;
  if (raised++ < 5) raise(number);
  depth--;
  note(number);
}

static void masks(void) {
  section("masks");
  sigset_t set = set_of(SIGUSR1, SIGUSR2), old, pending;
  catch_signal(SIGUSR1, note, 0);
  catch_signal(SIGUSR2, note, 0);
  count = 0;
  SHOW(sigprocmask(SIG_BLOCK, &set, &old));
  CHECK(!sigismember(&old, SIGUSR1));
  raise(SIGUSR1);
  raise(SIGUSR1);
  raise(SIGUSR2);
  say("blocked: %d\n", (int)count);
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGUSR2) && !sigismember(&pending, SIGHUP));
  // Pending signals are the process's own: a child has none.
  IN_CHILD("a child's pending signals", {
    sigpending(&pending);
    _exit(sigisemptyset(&pending) ? 0 : 1);
  });
  ordered = 0;
  SHOW(sigprocmask(SIG_SETMASK, &old, NULL));
  say("let through: %d, one of each\n", (int)count);
  SHOW(sigprocmask(99, &set, NULL));
  SHOW(sigprocmask(99, NULL, &old));
  sigfillset(&set);
  SHOW(sigprocmask(SIG_SETMASK, &set, NULL));
  sigprocmask(SIG_SETMASK, NULL, &old);
  say("SIGKILL and SIGSTOP cannot be blocked: %d%d\n", sigismember(&old, SIGKILL), sigismember(&old, SIGSTOP));
  sigemptyset(&set);
  sigprocmask(SIG_SETMASK, &set, NULL);
  // Ignoring a pending signal throws it away.
  set = set_of(SIGUSR1, 0);
  sigprocmask(SIG_BLOCK, &set, NULL);
  raise(SIGUSR1);
  signal(SIGUSR1, SIG_IGN);
  sigpending(&pending);
  say("ignored away: %d\n", !sigismember(&pending, SIGUSR1));
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  // Within a handler its own signal waits, or not with SA_NODEFER; sa_mask holds others back.
  count = deepest = depth = raised = 0;
  catch_signal(SIGUSR1, recurse, 0);
  raise(SIGUSR1);
  say("depth %d", deepest);
  deepest = depth = raised = 0;
  catch_signal(SIGUSR1, recurse, SA_NODEFER);
  raise(SIGUSR1);
  say(", without deferring %d\n", deepest);
  // Real-time signals queue, lower numbers first.
  set = set_of(SIGRTMIN, SIGRTMIN + 1);
  catch_signal_info(SIGRTMIN, note_info, 0);
  catch_signal_info(SIGRTMIN + 1, note_info, 0);
  sigprocmask(SIG_BLOCK, &set, NULL);
  for (int i = 0; i < 3; i++) {
    sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i});
  }
  siginfo_t info;
  for (int i = 0; i < 4; i++) {
    int got = sigwaitinfo(&set, &info);
    say("waited for SIGRTMIN+%d with %d\n", got - SIGRTMIN, info.si_value.sival_int);
  }
  count = 0;
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  say("the rest was handled: %d\n", (int)count);
}

static uintptr_t handler_stack;

static void on_stack(int number) {
  handler_stack = (uintptr_t)__builtin_frame_address(0);
  stack_t now;
  CHECK(sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_ONSTACK));
  errno = 0;
  CHECK(sigaltstack(&now, NULL) < 0);
  say("changing it there: %s\n", error_name(errno));
  note(number);
}

static void context(int number, siginfo_t *info, void *where) {
  ucontext_t *saved = where;
  (void)info;
  CHECK(saved->uc_mcontext.gregs[REG_RIP] != 0);
  // What the handler writes there is what the program returns with.
  sigaddset(&saved->uc_sigmask, SIGHUP);
  note(number);
}

static sigjmp_buf back;

static void jump(int number) {
  note(number);
  siglongjmp(back, number);
}

static void stacks(void) {
  section("stacks and contexts");
  static char space[65536] __attribute__((aligned(16)));
  stack_t stack = {.ss_sp = space, .ss_size = sizeof space}, old;
  SHOW(sigaltstack(&stack, &old));
  say("none before: %d\n", (old.ss_flags & SS_DISABLE) != 0);
  catch_signal(SIGUSR1, on_stack, SA_ONSTACK);
  raise(SIGUSR1);
  say("handled there: %d\n", handler_stack > (uintptr_t)space && handler_stack < (uintptr_t)space + sizeof space);
  stack.ss_size = 100;
  SHOW(sigaltstack(&stack, NULL));
  stack.ss_flags = SS_DISABLE;
  SHOW(sigaltstack(&stack, NULL));
  catch_signal_info(SIGUSR1, context, 0);
  raise(SIGUSR1);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, NULL, &mask);
  say("a mask set by the handler: %d\n", sigismember(&mask, SIGHUP));
  sigemptyset(&mask);
  sigprocmask(SIG_SETMASK, &mask, NULL);
  catch_signal(SIGUSR1, jump, 0);
  for (int i = 0; i < 3; i++)
    if (sigsetjmp(back, 1) == 0) raise(SIGUSR1);
  sigprocmask(SIG_SETMASK, NULL, &mask);
  say("jumped out, mask restored: %d\n", !sigismember(&mask, SIGUSR1));
  // A frame that cannot be written ends the process.
  IN_CHILD("no stack for a handler", {
    catch_signal(SIGSEGV, note, 0);
    __asm__ volatile("mov $64, %%rsp; ud2" ::: "memory");
  });
}

// Runs `statement` while a child sends SIGUSR1 to us every few milliseconds until we go on.
static pid_t nagger;

static void start_nagging(int number) {
  pid_t target = getpid();
  nagger = fork();
  if (nagger == 0) {
    signal(SIGCHLD, SIG_DFL);
    struct timespec pause_time = {0, 5000000};
    for (;;) {
      nanosleep(&pause_time, NULL);
      kill(target, number);
    }
  }
}

static void stop_nagging(void) {
  kill(nagger, SIGKILL);
  wait_for(nagger);
}

static void interruption(void) {
  section("interrupted calls");
  int ends[2];
  char byte;
  CHECK(pipe(ends) == 0);
  catch_signal(SIGUSR1, note, 0);
  count = 0;
  start_nagging(SIGUSR1);
  SHOW(read(ends[0], &byte, 1));
  SHOW(pause());
  struct timespec long_time = {10000, 0}, rest;
  SHOW(nanosleep(&long_time, &rest));
  CHECK(rest.tv_sec >= 5000 && rest.tv_sec < 10000);
  SHOW(poll(&(struct pollfd){ends[0], POLLIN, 0}, 1, -1));
  SHOW(poll(NULL, 0, 10000000));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  SHOW(select(ends[0] + 1, &set, NULL, NULL, NULL));
  SHOW(clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, NULL) == EINTR);
  pid_t sleeper = fork();
  if (sleeper == 0)
    for (;;) pause();
  SHOW(waitpid(sleeper, NULL, 0));
  kill(sleeper, SIGKILL);
  int status;
  while (waitpid(sleeper, &status, 0) < 0) continue;
  CHECK(mkfifo("fifo", 0600) == 0);
  SHOW(open("fifo", O_RDONLY));
  stop_nagging();
  say("handled some: %d\n", count > 5);

  // SA_RESTART: reads and waits go on by themselves, sleeps and polls do not.
  // The other side acts once the waiting one has been interrupted a few times.
  volatile int *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(seen != MAP_FAILED);
  everybody_sees = seen;
  catch_signal(SIGUSR1, note, SA_RESTART);
  count = 0;
  start_nagging(SIGUSR1);
  pid_t writer = fork();
  if (writer == 0) {
    while (*seen < 4) usleep(5000);
    CHECK(write(ends[1], "w", 1) == 1);
    while (*seen < 8) usleep(5000);
    _exit(31);
  }
  SHOW(read(ends[0], &byte, 1));
  SHOW(waitpid(writer, &status, 0) == writer);
  SHOW(nanosleep(&long_time, NULL));
  SHOW(poll(&(struct pollfd){ends[0], POLLIN, 0}, 1, -1));
  SHOW(pause());
  stop_nagging();
  everybody_sees = NULL;
  say("handled some: %d\n", count > 3);

  // An ignored signal interrupts nothing; nor does one whose default is to do nothing.
  signal(SIGUSR1, SIG_IGN);
  start_nagging(SIGUSR1);
  struct timespec short_time = {0, 40000000};
  SHOW(nanosleep(&short_time, NULL));
  stop_nagging();
  start_nagging(SIGCHLD);
  SHOW(nanosleep(&short_time, NULL));
  stop_nagging();
  unlink("fifo");
  close(ends[0]);
  close(ends[1]);
}

static void waiting(void) {
  section("waiting for signals");
  sigset_t set = set_of(SIGUSR1, SIGALRM), none, old;
  sigemptyset(&none);
  catch_signal(SIGUSR1, note, 0);
  catch_signal(SIGALRM, note, 0);
  sigprocmask(SIG_BLOCK, &set, &old);
  raise(SIGUSR1);
  count = 0;
  SHOW(sigsuspend(&none));
  say("handled by then: %d\n", (int)count);
  sigset_t now;
  sigprocmask(SIG_SETMASK, NULL, &now);
  CHECK(sigismember(&now, SIGUSR1));
  siginfo_t info;
  struct timespec short_time = {0, 10000000};
  SHOW(sigtimedwait(&set, &info, &short_time));
  raise(SIGALRM);
  SHOW(sigtimedwait(&set, &info, &short_time));
  short_time.tv_nsec = -1;
  SHOW(sigtimedwait(&set, &info, &short_time));
  int number = 0;
  kill(getpid(), SIGUSR1);
  SHOW(sigwait(&set, &number));
  say("number %d\n", number);
  struct itimerval once = {{0, 0}, {0, 20000}};
  SHOW(setitimer(ITIMER_REAL, &once, NULL));
  SHOW(sigwaitinfo(&set, &info));
  say("a timer's code %d\n", info.si_code);
  // ppoll and pselect let a signal through only while they wait.
  raise(SIGUSR1);
  count = 0;
  SHOW(ppoll(NULL, 0, NULL, &none));
  raise(SIGUSR1);
  SHOW(pselect(0, NULL, NULL, NULL, NULL, &none));
  say("handled: %d\n", (int)count);
  sigprocmask(SIG_SETMASK, &old, NULL);
}

static void children(void) {
  section("SIGCHLD");
  catch_signal_info(SIGCHLD, note_info, 0);
  count = 0;
  pid_t child = fork();
  if (child == 0) _exit(23);
  while (count == 0) usleep(1000);
  CHECK(last_info.si_pid == child);
  say("exited: code %d, status %d\n", last_info.si_code, last_info.si_status);
  CHECK(wait_for(child) >= 0);
  count = 0;
  child = fork();
  if (child == 0)
    for (;;) pause();
  kill(child, SIGSTOP);
  while (count == 0) usleep(1000);
  say("stopped: code %d, status %d\n", last_info.si_code, last_info.si_status);
  count = 0;
  kill(child, SIGCONT);
  while (count == 0) usleep(1000);
  say("continued: code %d, status %d\n", last_info.si_code, last_info.si_status);
  count = 0;
  kill(child, SIGTERM);
  while (count == 0) usleep(1000);
  say("killed: code %d, status %d\n", last_info.si_code, last_info.si_status);
  say_status("child", wait_for(child));
  catch_signal_info(SIGCHLD, note_info, SA_NOCLDSTOP);
  count = 0;
  child = fork();
  if (child == 0)
    for (;;) pause();
  kill(child, SIGSTOP);
  int status;
  CHECK(waitpid(child, &status, WUNTRACED) == child);
  say("no word of a stop: %d\n", (int)count);
  kill(child, SIGKILL);
  wait_for(child);
  signal(SIGCHLD, SIG_DFL);
}

static void pipes_and_groups(void) {
  section("SIGPIPE and groups");
  int ends[2];
  CHECK(pipe(ends) == 0);
  close(ends[0]);
  IN_CHILD("a pipe that nobody reads", {
    signal(SIGPIPE, SIG_DFL);
    CHECK(write(ends[1], "x", 1) == 1);
  });
  catch_signal(SIGPIPE, note, 0);
  count = 0;
  SHOW(write(ends[1], "x", 1));
  say("handled %d\n", (int)count);
  signal(SIGPIPE, SIG_IGN);
  SHOW(write(ends[1], "x", 1));
  close(ends[1]);
  signal(SIGALRM, SIG_DFL);
  signal(SIGUSR2, SIG_DFL);
  // kill(0) and kill(-group) reach every member.
  pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    pid_t members[3];
    for (int i = 0; i < 3; i++)
      if ((members[i] = fork()) == 0)
        for (;;) pause();
    catch_signal(SIGTERM, note, 0);
    count = 0;
    SHOW(kill(0, SIGTERM));
    say("oneself too: %d\n", (int)count);
    for (int i = 0; i < 3; i++) say_status("a member", wait_for(members[i]));
    for (int i = 0; i < 3; i++)
      if ((members[i] = fork()) == 0)
        for (;;) pause();
    signal(SIGHUP, SIG_IGN);
    kill(-getpgrp(), SIGUSR2);
    _exit(0);
  }
  say_status("the group's leader", wait_for(child));
  IN_CHILD("alarm", {
    alarm(1);
    for (;;) pause();
  });
  IN_CHILD("alarm replaced", {
    alarm(1000);
    _exit(alarm(0) > 500 ? 0 : 1);
  });
}

int main(void) {
  close_inherited();
  defaults();
  actions();
  masks();
  stacks();
  interruption();
  waiting();
  children();
  pipes_and_groups();
  return finish();
}
