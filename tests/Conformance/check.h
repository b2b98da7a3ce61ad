// SPDX-License-Identifier: Apache-2.0
// check.h: what every conformance program uses to say what it saw.
//
// A program prints, step by step, what the system did; nothing it prints depends on process numbers, addresses or
// times. It runs on Linux first and on Apus then, and both outputs must agree. CHECK states what holds on both, so
// that a program also fails by itself.
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int failures __attribute__((unused));

// An address where nothing is; volatile, so that the compiler does not warn of it.
static void *volatile nowhere __attribute__((unused)) = (void *)16;

// Descriptors that whoever started the program left open would shift all numbers.
__attribute__((unused)) static void close_inherited(void) {
  for (int i = 3; i < 64; i++) close(i);
}

// Prints at once: no buffer is there for a fork to copy.
__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 1) length = sizeof line - 1;
  for (int done = 0; done < length;) {
    ssize_t count = write(1, line + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) _exit(120);
    done += count;
  }
}

// The name of an error number, since the C libraries word their messages differently.
__attribute__((unused)) static const char *error_name(int number) {
  static char other[32];
  switch (number) {
#define NAME(name) case name: return #name;
    NAME(EPERM) NAME(ENOENT) NAME(ESRCH) NAME(EINTR) NAME(EIO) NAME(ENXIO) NAME(E2BIG) NAME(ENOEXEC) NAME(EBADF)
    NAME(ECHILD) NAME(EAGAIN) NAME(ENOMEM) NAME(EACCES) NAME(EFAULT) NAME(EBUSY) NAME(EEXIST) NAME(EXDEV)
    NAME(ENODEV) NAME(ENOTDIR) NAME(EISDIR) NAME(EINVAL) NAME(ENFILE) NAME(EMFILE) NAME(ENOTTY) NAME(ETXTBSY)
    NAME(EFBIG) NAME(ENOSPC) NAME(ESPIPE) NAME(EROFS) NAME(EMLINK) NAME(EPIPE) NAME(EDOM) NAME(ERANGE)
    NAME(ENAMETOOLONG) NAME(ENOSYS) NAME(ENOTEMPTY) NAME(ELOOP) NAME(EOVERFLOW) NAME(EOPNOTSUPP) NAME(ETIMEDOUT)
    NAME(ENOTSOCK) NAME(ENODATA) NAME(EDEADLK) NAME(EDESTADDRREQ) NAME(EMSGSIZE) NAME(EPROTOTYPE) NAME(ENOPROTOOPT)
    NAME(EPROTONOSUPPORT) NAME(ESOCKTNOSUPPORT) NAME(EAFNOSUPPORT) NAME(EADDRINUSE) NAME(EADDRNOTAVAIL)
    NAME(ENETUNREACH) NAME(ECONNRESET) NAME(ECONNREFUSED) NAME(ENOBUFS) NAME(EISCONN) NAME(ENOTCONN) NAME(EALREADY)
    NAME(EINPROGRESS)
#undef NAME
  }
  snprintf(other, sizeof other, "errno %d", number);
  return other;
}

__attribute__((unused)) static void show_result(const char *text, long result) {
  if (result < 0) say("%s: %s\n", text, error_name(errno));
  else say("%s: %ld\n", text, result);
}

// Prints an expression with its value, or with the error it set when it is negative.
#define SHOW(expression) show_result(#expression, (long)(expression))

// The same where success is all that may be said: the value differs from run to run.
#define SHOW_DONE(expression) show_result(#expression, (long)(expression) < 0 ? -1 : 0)

#define CHECK(condition)                                                                                             \
  do {                                                                                                               \
    if (!(condition)) {                                                                                              \
      failures++;                                                                                                    \
      say("FAIL line %d: %s (%s)\n", __LINE__, #condition, error_name(errno));                                       \
    }                                                                                                                \
  } while (0)

__attribute__((unused)) static void section(const char *name) { say("== %s\n", name); }

__attribute__((unused)) static int finish(void) {
  say(failures == 0 ? "all checks hold\n" : "%d checks fail\n", failures);
  return failures == 0 ? 0 : 1;
}

// A child's end in words; only the name of what happened, since a dumped core depends on the system's limits.
__attribute__((unused)) static void say_status(const char *who, int status) {
  if (WIFEXITED(status)) say("%s: exit %d\n", who, WEXITSTATUS(status));
  else if (WIFSIGNALED(status)) say("%s: signal %d\n", who, WTERMSIG(status));
  else if (WIFSTOPPED(status)) say("%s: stopped by %d\n", who, WSTOPSIG(status));
  else if (WIFCONTINUED(status)) say("%s: continued\n", who);
  else say("%s: status %#x\n", who, status);
}

__attribute__((unused)) static int wait_for(pid_t child) {
  int status = -1;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) {
      say("waitpid: %s\n", error_name(errno));
      return -1;
    }
  return status;
}

// Runs statements in a child and says how that ended.
#define IN_CHILD(name, ...)                                                                                          \
  do {                                                                                                               \
    pid_t its_child = fork();                                                                                        \
    if (its_child == 0) {                                                                                            \
      __VA_ARGS__;                                                                                                   \
      _exit(0);                                                                                                      \
    }                                                                                                                \
    say_status(name, wait_for(its_child));                                                                           \
  } while (0)

__attribute__((unused)) static void catch_signal(int number, void (*handler)(int), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  CHECK(sigaction(number, &action, NULL) == 0);
}

__attribute__((unused)) static void catch_signal_info(
    int number, void (*handler)(int, siginfo_t *, void *), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = flags | SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  CHECK(sigaction(number, &action, NULL) == 0);
}

#endif
