// SPDX-License-Identifier: Apache-2.0
// garbage.c: any call with any arguments is answered or ends the caller; the family and the machine go on.
//
// apus: arguments: 1 100
// apus: long-arguments: 1 5000
// apus: timeout: 900
// apus: memory: 128M
// apus: stdout-has: all is well\n
//
// usage: garbage SEED COUNT
//
// COUNT children make 200 calls each, with numbers and arguments drawn from what hurts most: small numbers, negative
// ones, descriptors of every kind, addresses that are good, read-only, unmapped, at the ends of pages and of memory.
// It runs on Apus only: on the host it would be run by root.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

static uint64_t draw(uint64_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % below;
}

static char *good, *readable, *edge;

// Half of the children draw only what a call may well accept, to get further into it.
static int is_plausible;

static uint64_t argument(void) {
  if (is_plausible) {
    switch (draw(6)) {
      case 0: return draw(16);
      case 1: return draw(5000);
      case 2: return (uintptr_t)good + draw(8) * 4096;
      case 3: return (uintptr_t)good + draw(16384) * 8;
      case 4: return 0;
      default: return 1ull << draw(20);
    }
  }
  switch (draw(16)) {
    case 0: return 0;
    case 1: return draw(8);
    case 2: return draw(64);
    case 3: return -draw(8);
    case 4: return 1ull << draw(64);
    case 5: return (1ull << draw(64)) - 1;
    case 6: return (uintptr_t)good + draw(65536);
    case 7: return (uintptr_t)good + draw(16) * 4096;
    case 8: return (uintptr_t)readable + draw(4096);
    case 9: return (uintptr_t)edge - draw(64);
    case 10: return draw(4096);
    case 11: return (uintptr_t) "/tmp/garbage";
    case 12: return 0x700000000000 + draw(1ull << 32);
    case 13: return 0xffff800000000000 + draw(1ull << 40);
    case 14: return state;
    default: return 4096 * draw(64);
  }
}

// What would hurt those who are to tell of it, or only wait.
static int is_left_out(long number) {
  switch (number) {
    case SYS_kill:
    case SYS_tkill:
    case SYS_tgkill:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
    case SYS_pidfd_send_signal:
    case SYS_reboot: return 1;
    default: return 0;
  }
}

static void misbehave(void) {
  good = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  readable = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
  munmap(edge, 4096);
  for (int i = 0; i < 1 << 17; i += 8) memcpy(good + i, &(uint64_t){argument()}, 8);
  // At the starts of pages stand paths.
  static const char *const paths[] = {"/tmp/garbage/file", "..", "/tmp/garbage/new", "/proc/self/fd/3", "file", "/dev/zero"};
  for (int i = 0; i < 6; i++) strcpy(good + 4096 * i, paths[i]);
  if (chdir("/tmp/garbage") != 0) _exit(8);
  int ends[2];
  if (pipe(ends) == 0) (void)!write(ends[1], good, 1000);
  open("/tmp/garbage", O_RDONLY | O_DIRECTORY);
  open("/tmp/garbage/file", O_RDWR | O_CREAT, 0666);
  open("/dev/zero", O_RDWR);
  open("/dev/tty", O_RDWR);
  open("/proc/self", O_RDONLY);
  syscall(SYS_eventfd2, 1, 0);
  syscall(SYS_epoll_create1, 0);
  // Not root any more, so that nobody else's limits and signals can be touched.
  if (setgid(1000) != 0 || setuid(1000) != 0) _exit(9);
  for (int i = 0; i < 200; i++) {
    long number = draw(8) ? (long)draw(336) : (long)(424 + draw(40));
    if (is_left_out(number)) continue;
    uint64_t a = argument(), b = argument(), c = argument(), d = argument(), e = argument(), f = argument();
    // The first is often a descriptor.
    if (draw(2)) a = draw(14);
    if (getenv("VERBOSE")) fprintf(stderr, "%ld(%lx, %lx, %lx, %lx, %lx, %lx)\n", number, a, b, c, d, e, f);
    long result = syscall(number, a, b, c, d, e, f);
    // A fork of any kind: the child has done enough.
    if (result == 0 && (number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3)) _exit(0);
  }
  _exit(0);
}

int main(int count, char **words) {
  if (count != 3) return 2;
  uint64_t seed = strtoull(words[1], NULL, 10);
  long children = atol(words[2]);
  mkdir("/tmp/garbage", 0777);
  chmod("/tmp/garbage", 0777);
  sigset_t ended;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ended, NULL);
  for (long i = 0; i < children; i++) {
    pid_t child = fork();
    if (child < 0) {
      printf("fork: %s\n", strerror(errno));
      return 1;
    }
    if (child == 0) {
      state = (seed + (uint64_t)i) * 0x9e3779b97f4a7c15 | 1;
      setpgid(0, 0);
      // Standard output is where the family tells how it went.
      int silence = open("/dev/null", O_RDWR);
      for (int j = 0; j < (getenv("VERBOSE") ? 2 : 3); j++) dup2(silence, j);
      is_plausible = i % 2 == 0;
      misbehave();
    }
    // Whoever waits for something that never comes is ended.
    sigtimedwait(&ended, NULL, &(struct timespec){0, 100000000});
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
  }
  // Ordinary life goes on: a pipe, a child, a file, memory.
  int ends[2];
  char byte = 0;
  if (pipe(ends) != 0) return 3;
  pid_t child = fork();
  if (child == 0) _exit(write(ends[1], "x", 1) == 1 ? 5 : 6);
  int status = 0;
  if (read(ends[0], &byte, 1) != 1 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 5) return 4;
  char *area = malloc(8 << 20);
  if (!area) return 5;
  memset(area, 1, 8 << 20);
  printf("all is well\n");
  return 0;
}
