// SPDX-License-Identifier: Apache-2.0
// linux-messages.c: a byte, or a word, to another process and one back: by pipe, socket, eventfd and futex.
//
// A round trip is two operations. What a system does not have is left out.
#define _GNU_SOURCE
#include "linux.h"
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TURNS = 500 };

// Messages of `size` bytes go out on `there[1]` and are answered on `back[1]`; each side reads the other ends.
static void ping_pong(const char *name, const char *metric, int there[2], int back[2], size_t size) {
  uint64_t message = 1;
  pid_t child = fork();
  if (child == 0) {
    for (unsigned turn = 0; turn < TURNS * (samples + 1); turn++)
      if (read(there[0], &message, size) != (ssize_t)size || write(back[1], &message, size) != (ssize_t)size) _exit(1);
    _exit(0);
  }
  struct measurement result = {.name = name, .metric = metric};
  int failures = 0;
  SAMPLE_OF(&result, TURNS, 2 * TURNS, {
    failures += write(there[1], &message, size) != (ssize_t)size || read(back[0], &message, size) != (ssize_t)size;
  });
  require(failures == 0, "ping-pong");
  finish_child(child);
  print_measurement(&result);
}

void measure_pipe(void) {
  int there[2], back[2];
  require(pipe(there) == 0 && pipe(back) == 0, "pipe");
  ping_pong("pipe", "op", there, back, 1);
  for (int end = 0; end < 2; end++) close(there[end]), close(back[end]);
}

static void measure_sockets(void) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return;
  // This side writes and reads ends[1], the other one ends[0].
  ping_pong("messages", "socket", (int[]){ends[0], ends[1]}, (int[]){ends[1], ends[0]}, 1);
  close(ends[0]);
  close(ends[1]);
}

static void measure_eventfd(void) {
  int there = eventfd(0, 0), back = eventfd(0, 0);
  if (there < 0 || back < 0) return;
  ping_pong("messages", "eventfd", (int[]){there, there}, (int[]){back, back}, sizeof(uint64_t));
  close(there);
  close(back);
}

static void await(uint32_t *word, uint32_t value) {
  uint32_t now;
  while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != value) syscall(SYS_futex, word, FUTEX_WAIT, now, 0, 0, 0);
}

static void put(uint32_t *word, uint32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
  syscall(SYS_futex, word, FUTEX_WAKE, 1, 0, 0, 0);
}

static void measure_futex(void) {
  uint32_t *there = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (there == MAP_FAILED) return;
  uint32_t *back = there + 64, value = 0;
  pid_t child = fork();
  if (child == 0) {
    for (uint32_t turn = 1; turn <= TURNS * (samples + 1); turn++) {
      await(there, turn);
      put(back, turn);
    }
    _exit(0);
  }
  struct measurement result = {.name = "messages", .metric = "futex"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, {
    put(there, ++value);
    await(back, value);
  });
  finish_child(child);
  munmap(there, PAGE);
  print_measurement(&result);
}

void measure_messages(void) {
  measure_futex();
  measure_eventfd();
  measure_sockets();
}
