/* SPDX-License-Identifier: Apache-2.0 */
/* CHost.c: fork and exec, signals as a descriptor, and a terminal that is always put back. */
#define _GNU_SOURCE
#include "CHost.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const int reported[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH, SIGCHLD};
static const int fatal[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static int place(int descriptor, int wanted, int flags) {
  if (descriptor < 0) descriptor = open("/dev/null", flags);
  if (descriptor < 0) return -1;
  if (descriptor == wanted) return fcntl(descriptor, F_SETFD, 0);
  return dup2(descriptor, wanted);
}

pid_t chost_spawn_at(const char *path, char *const argv[], char *const envp[], int input, int output, int error,
                     const char *directory, int foreground) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) return -errno;
  pid_t parent = getpid();
  pid_t child = fork();
  if (child < 0) {
    int reason = errno;
    close(report[0]);
    close(report[1]);
    return -reason;
  }
  if (child == 0) {
    /* The request does not survive a parent that died before it was made: look again. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    if (!foreground) setpgid(0, 0);
    for (int number = 1; number < NSIG; number++) {
      struct sigaction action = {.sa_handler = SIG_DFL};
      sigaction(number, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if ((!directory || chdir(directory) == 0) && place(input, 0, O_RDONLY) >= 0 && place(output, 1, O_WRONLY) >= 0 &&
        place(error, 2, O_WRONLY) >= 0)
      execvpe(path, argv, envp);
    int reason = errno;
    while (write(report[1], &reason, sizeof reason) < 0 && errno == EINTR) {}
    _exit(127);
  }
  close(report[1]);
  int reason = 0;
  ssize_t count;
  while ((count = read(report[0], &reason, sizeof reason)) < 0 && errno == EINTR) {}
  close(report[0]);
  if (count == (ssize_t)sizeof reason) {
    waitpid(child, NULL, 0);
    return -reason;
  }
  return child;
}

pid_t chost_spawn(const char *path, char *const argv[], char *const envp[], int input, int output, int error) {
  return chost_spawn_at(path, argv, envp, input, output, error, NULL, 0);
}

int chost_pipe(int ends[2], int size) {
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  fcntl(ends[1], F_SETPIPE_SZ, size);
  return 0;
}

int chost_nameless_file(const char *directory) {
  int descriptor = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0) descriptor = memfd_create("apus", MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int chost_lock(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB) < 0 ? -errno : 0; }

/* A socket's address holds 107 characters of a path; through /proc that is enough for any. */
static int at_socket(const char *directory, const char *name, int flags,
                     int (*act)(int, const struct sockaddr *, socklen_t)) {
  int folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -errno;
  int result = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
  if (result < 0 || act(result, (const struct sockaddr *)&address, sizeof address) < 0) {
    int reason = errno;
    if (result >= 0) close(result);
    result = -reason;
  }
  close(folder);
  return result;
}

int chost_listen(const char *directory, const char *name) {
  int listener = at_socket(directory, name, SOCK_NONBLOCK, bind);
  if (listener >= 0 && listen(listener, 16) < 0) {
    int reason = errno;
    close(listener);
    return -reason;
  }
  return listener;
}

int chost_connect(const char *directory, const char *name) { return at_socket(directory, name, 0, connect); }

int chost_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

pid_t chost_spawn_at_terminal(const char *path, char *const argv[], char *const envp[], const char *directory,
                              int *master) {
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  pid_t child = forkpty(master, NULL, NULL, &size);
  if (child < 0) return -errno;
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (chdir(directory) == 0) execvpe(path, argv, envp);
    _exit(127);
  }
  fcntl(*master, F_SETFD, FD_CLOEXEC);
  return child;
}

int chost_set_terminal_size(int descriptor, uint16_t rows, uint16_t columns) {
  struct winsize size = {.ws_row = rows, .ws_col = columns};
  return ioctl(descriptor, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int chost_terminal_is_cooked(int descriptor) {
  struct termios now;
  const tcflag_t wanted = ICANON | ECHO | ISIG;
  return tcgetattr(descriptor, &now) == 0 && (now.c_lflag & wanted) == wanted && (now.c_oflag & OPOST);
}

int chost_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t index = 0; index < COUNT(reported); index++) {
    struct sigaction now;
    /* What the caller's caller ignores (nohup, a shell's background job) stays ignored. */
    if (sigaction(reported[index], NULL, &now) == 0 && now.sa_handler == SIG_IGN) continue;
    sigaddset(&set, reported[index]);
  }
  if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -errno;
  signal(SIGPIPE, SIG_IGN);
  int descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  return descriptor < 0 ? -errno : descriptor;
}

int chost_next_signal(int descriptor) {
  struct signalfd_siginfo information;
  ssize_t count = read(descriptor, &information, sizeof information);
  return count == (ssize_t)sizeof information ? (int)information.ssi_signo : 0;
}

void chost_take_signal(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  signal(number, SIG_DFL);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  /* A signal that stops comes back here once the process is continued. */
  sigprocmask(SIG_BLOCK, &set, NULL);
}

static struct termios saved;
static volatile int raw_descriptor = -1;

void chost_terminal_restore(void) {
  int descriptor = raw_descriptor;
  if (descriptor < 0) return;
  raw_descriptor = -1;
  tcsetattr(descriptor, TCSANOW, &saved);
}

static void restore_and_die(int number) {
  chost_terminal_restore();
  signal(number, SIG_DFL);
  raise(number);
}

int chost_terminal_raw(int descriptor) {
  if (raw_descriptor >= 0) return 0;
  if (tcgetattr(descriptor, &saved) < 0) return -errno;
  static int prepared;
  if (!prepared) {
    prepared = 1;
    atexit(chost_terminal_restore);
    for (size_t index = 0; index < COUNT(fatal); index++) {
      struct sigaction action = {.sa_handler = restore_and_die, .sa_flags = SA_NODEFER};
      sigaction(fatal[index], &action, NULL);
    }
  }
  struct termios raw = saved;
  cfmakeraw(&raw);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (tcsetattr(descriptor, TCSADRAIN, &raw) < 0) return -errno;
  raw_descriptor = descriptor;
  return 0;
}

int chost_terminal_size(int descriptor, uint16_t *rows, uint16_t *columns) {
  struct winsize size;
  if (ioctl(descriptor, TIOCGWINSZ, &size) < 0) return -errno;
  *rows = size.ws_row;
  *columns = size.ws_col;
  return 0;
}

int chost_kvm_usable(void) {
  int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (device < 0) return -errno;
  /* KVM_CREATE_VM, machine type 0 (Linux, Documentation/virt/kvm/api.rst). */
  int machine = ioctl(device, 0xae01, 0);
  int result = machine < 0 ? -errno : 0;
  if (machine >= 0) close(machine);
  close(device);
  return result;
}

int chost_exit_status(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* In the Swift runtime that every Swift program is linked with (swift/Demangling: swift_demangle). */
extern char *swift_demangle(const char *name, size_t length, char *output, size_t *size, uint32_t flags);

char *chost_demangle(const char *name) { return swift_demangle(name, strlen(name), NULL, NULL, 0); }
