// SPDX-License-Identifier: Apache-2.0
// pipes.c: pipes and FIFOs, and waiting for several files at once.
//
// apus: compare: host
// apus: timeout: 600

#include "check.h"

#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>

static char buffer[1 << 20];

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void basics(void) {
  section("pipes");
  int ends[2];
  SHOW(pipe(ends));
  SHOW(pipe(nowhere));
  SHOW(pipe2(ends, 0x12345));
  SHOW(write(ends[0], "x", 1));
  SHOW(read(ends[1], buffer, 1));
  SHOW(write(ends[1], "hello", 5));
  int waiting = 0;
  SHOW(ioctl(ends[0], FIONREAD, &waiting));
  SHOW(waiting);
  SHOW(read(ends[0], buffer, 2));
  SHOW(read(ends[0], buffer, 100));
  struct stat facts;
  CHECK(fstat(ends[0], &facts) == 0 && S_ISFIFO(facts.st_mode));
  SHOW(fcntl(ends[0], F_GETFL) & O_ACCMODE);
  SHOW(fcntl(ends[1], F_GETFL) & O_ACCMODE);
  SHOW(fcntl(ends[1], F_GETPIPE_SZ));
  SHOW(close(ends[1]));
  SHOW(read(ends[0], buffer, 1));
  SHOW(close(ends[0]));
  // How much fits, and the rule of whole writes (pipe(7): PIPE_BUF).
  CHECK(pipe2(ends, O_NONBLOCK) == 0);
  SHOW(read(ends[0], buffer, 1));
  long total = 0, count;
  while ((count = write(ends[1], buffer, 4096)) > 0) total += count;
  say("holds %ld, then %s\n", total, error_name(errno));
  SHOW(write(ends[1], buffer, 1));
  SHOW(read(ends[0], buffer, 4096));
  SHOW(write(ends[1], buffer, 4000));
  SHOW(write(ends[1], buffer, 4096));
  SHOW(read(ends[0], buffer, 65536));
  SHOW(write(ends[1], buffer, 100000));
  SHOW(read(ends[0], buffer, 3));
  SHOW(read(ends[0], buffer, sizeof buffer));
  SHOW(write(ends[1], nowhere, 1));
  SHOW(write(ends[1], buffer, 0));
  SHOW(read(ends[0], buffer, 0));
  close(ends[0]);
  signal(SIGPIPE, SIG_IGN);
  SHOW(write(ends[1], "x", 1));
  SHOW(write(ends[1], "x", 0));
  signal(SIGPIPE, SIG_DFL);
  close(ends[1]);
}

static void blocking(void) {
  section("blocking");
  int ends[2];
  CHECK(pipe(ends) == 0);
  // A writer of more than fits goes on as the reader takes it; the bytes come in order.
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    for (unsigned i = 0; i < sizeof buffer; i++) buffer[i] = (char)(i % 251);
    for (int i = 0; i < 4; i++) CHECK(write(ends[1], buffer, sizeof buffer) == (ssize_t)sizeof buffer);
    _exit(failures);
  }
  close(ends[1]);
  long total = 0, wrong = 0, count;
  unsigned sizes[] = {1, 4095, 4096, 4097, 70000, 13};
  for (int i = 0; (count = read(ends[0], buffer, sizes[i % 6])) > 0; i++) {
    for (long j = 0; j < count; j++) wrong += (unsigned char)buffer[j] != (total + j) % (1 << 20) % 251;
    total += count;
  }
  say("%ld bytes, %ld wrong, end %ld\n", total, wrong, count);
  say_status("writer", wait_for(child));
  close(ends[0]);
  // Small writes of several writers are never mixed.
  CHECK(pipe(ends) == 0);
  for (int i = 0; i < 4; i++)
    if (fork() == 0) {
      char line[100];
      memset(line, 'a' + i, sizeof line);
      for (int j = 0; j < 500; j++) CHECK(write(ends[1], line, sizeof line) == sizeof line);
      _exit(failures);
    }
  close(ends[1]);
  char line[100];
  int seen[4] = {0}, mixed = 0;
  FILE *stream = fdopen(ends[0], "r");
  while (fread(line, sizeof line, 1, stream) == 1) {
    for (int i = 1; i < 100; i++) mixed += line[i] != line[0];
    seen[line[0] - 'a']++;
  }
  fclose(stream);
  while (wait(NULL) > 0) continue;
  say("%d %d %d %d, mixed %d\n", seen[0], seen[1], seen[2], seen[3], mixed);
  // A byte goes round a ring of processes.
  enum { members = 10, rounds = 100 };
  int ring[members][2];
  for (int i = 0; i < members; i++) CHECK(pipe(ring[i]) == 0);
  for (int i = 1; i < members; i++)
    if (fork() == 0) {
      int number;
      for (int j = 0; j < rounds; j++) {
        CHECK(read(ring[i - 1][0], &number, sizeof number) == sizeof number);
        number++;
        CHECK(write(ring[i][1], &number, sizeof number) == sizeof number);
      }
      _exit(0);
    }
  int number = 0;
  for (int j = 0; j < rounds; j++) {
    CHECK(write(ring[0][1], &number, sizeof number) == sizeof number);
    CHECK(read(ring[members - 1][0], &number, sizeof number) == sizeof number);
  }
  while (wait(NULL) > 0) continue;
  say("round the ring: %d\n", number);
  for (int i = 0; i < members; i++) close(ring[i][0]), close(ring[i][1]);
  // A reader that goes away wakes a writer that waits.
  CHECK(pipe(ends) == 0);
  child = fork();
  if (child == 0) {
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    long first = write(ends[1], buffer, sizeof buffer);
    _exit(first > 0 && first < (long)sizeof buffer ? (write(ends[1], "x", 1) < 0 && errno == EPIPE ? 0 : 2) : 3);
  }
  close(ends[1]);
  CHECK(read(ends[0], buffer, 1) == 1);
  close(ends[0]);
  say_status("a writer left alone", wait_for(child));
}

static void fifos(void) {
  section("FIFOs");
  SHOW(mkfifo("fifo", 0600));
  SHOW(mkfifo("fifo", 0600));
  SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
  int reader = open("fifo", O_RDONLY | O_NONBLOCK);
  SHOW(reader);
  SHOW(read(reader, buffer, 1));
  int writer = open("fifo", O_WRONLY | O_NONBLOCK);
  SHOW(writer);
  SHOW(read(reader, buffer, 1));
  SHOW(write(writer, "abc", 3));
  SHOW(read(reader, buffer, 10));
  close(writer);
  SHOW(read(reader, buffer, 1));
  close(reader);
  SHOW(close(open("fifo", O_RDWR)));
  // Opening waits for the other side.
  pid_t child = fork();
  if (child == 0) {
    int file = open("fifo", O_WRONLY);
    CHECK(write(file, "from the child", 14) == 14);
    _exit(failures);
  }
  reader = open("fifo", O_RDONLY);
  SHOW(read(reader, buffer, 100));
  SHOW(read(reader, buffer, 100));
  close(reader);
  wait_for(child);
  child = fork();
  if (child == 0) {
    int file = open("fifo", O_RDONLY);
    char text[20];
    _exit(read(file, text, 20) == 5 ? 0 : 1);
  }
  writer = open("fifo", O_WRONLY);
  SHOW(write(writer, "12345", 5));
  close(writer);
  say_status("reader", wait_for(child));
  // Through another name, and after the name is gone.
  CHECK(link("fifo", "fifo2") == 0);
  reader = open("fifo", O_RDONLY | O_NONBLOCK);
  writer = open("fifo2", O_WRONLY);
  SHOW(unlink("fifo") | unlink("fifo2"));
  SHOW(write(writer, "x", 1));
  SHOW(read(reader, buffer, 10));
  close(reader);
  close(writer);
}

static void show_poll(const char *what, int file, short events) {
  struct pollfd one = {file, events, 0};
  int count = poll(&one, 1, 0);
  say("%s: %d%s%s%s%s%s\n", what, count, one.revents & POLLIN ? " in" : "", one.revents & POLLOUT ? " out" : "",
      one.revents & POLLHUP ? " hangup" : "", one.revents & POLLERR ? " error" : "", one.revents & POLLNVAL ? " invalid" : "");
}

static void polling(void) {
  section("poll");
  int ends[2];
  CHECK(pipe(ends) == 0);
  show_poll("empty, reading", ends[0], POLLIN);
  show_poll("empty, writing", ends[1], POLLOUT);
  show_poll("reading end for writing", ends[0], POLLOUT);
  CHECK(write(ends[1], "x", 1) == 1);
  show_poll("filled, reading", ends[0], POLLIN | POLLOUT);
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (write(ends[1], buffer, 4096) > 0) continue;
  show_poll("full, writing", ends[1], POLLOUT);
  CHECK(read(ends[0], buffer, 1) == 1);
  show_poll("one byte less", ends[1], POLLOUT);
  CHECK(read(ends[0], buffer, 8192) == 8192);
  show_poll("two pages less", ends[1], POLLOUT);
  int copy = dup(ends[1]);
  close(ends[1]);
  show_poll("a copy is left", ends[0], POLLIN);
  close(copy);
  show_poll("writer gone", ends[0], POLLIN);
  while (read(ends[0], buffer, sizeof buffer) > 0) continue;
  show_poll("writer gone, empty", ends[0], POLLIN);
  close(ends[0]);
  CHECK(pipe(ends) == 0);
  close(ends[0]);
  show_poll("reader gone", ends[1], POLLOUT);
  close(ends[1]);
  show_poll("closed", 99, POLLIN);
  show_poll("negative", -1, POLLIN);
  int file = open("/dev/null", O_RDWR);
  show_poll("/dev/null", file, POLLIN | POLLOUT);
  close(file);
  file = open("file", O_RDWR | O_CREAT, 0600);
  show_poll("a file", file, POLLIN | POLLOUT);
  SHOW(poll(nowhere, 1, 0));
  SHOW(poll(NULL, 0, 0));
  int64_t before = now();
  SHOW(poll(NULL, 0, 30));
  CHECK(now() - before >= 30000000);
  struct timespec short_time = {0, 20000000};
  before = now();
  SHOW(ppoll(NULL, 0, &short_time, NULL));
  CHECK(now() - before >= 20000000);
  short_time.tv_nsec = 2000000000;
  SHOW(ppoll(NULL, 0, &short_time, NULL));
  // Waiting until another process does something.
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  if (child == 0) {
    usleep(30000);
    _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
  }
  struct pollfd two[3] = {{ends[0], POLLIN, 0}, {-1, POLLIN, 5}, {99, 0, 0}};
  SHOW(poll(two, 2, 1000000));
  say("%d %d\n", two[0].revents, two[1].revents);
  SHOW(poll(two, 3, -1));
  wait_for(child);

  section("select");
  fd_set reads, writes;
  FD_ZERO(&reads);
  FD_ZERO(&writes);
  FD_SET(ends[0], &reads);
  FD_SET(ends[1], &writes);
  SHOW(select(ends[1] + 1, &reads, &writes, NULL, NULL));
  say("%d %d\n", FD_ISSET(ends[0], &reads), FD_ISSET(ends[1], &writes));
  CHECK(read(ends[0], buffer, 1) == 1);
  struct timeval limit = {0, 30000};
  before = now();
  SHOW(select(ends[0] + 1, &reads, NULL, NULL, &limit));
  CHECK(now() - before >= 30000000);
  say("%d, left %ld\n", FD_ISSET(ends[0], &reads), (long)(limit.tv_sec * 1000000 + limit.tv_usec));
  FD_ZERO(&reads);
  // Linux looks at no more descriptors than its table has room for, which is what a process inherits, 64 at least.
  FD_SET(50, &reads);
  limit = (struct timeval){0, 0};
  SHOW(select(51, &reads, NULL, NULL, &limit));
  SHOW(select(-1, NULL, NULL, NULL, &limit));
  limit = (struct timeval){-1, 0};
  SHOW(select(0, NULL, NULL, NULL, &limit));
  limit = (struct timeval){0, 1000};
  SHOW(select(0, NULL, NULL, NULL, &limit));
  close(ends[0]);
  close(ends[1]);
  close(file);
  unlink("file");
}

int main(void) {
  close_inherited();
  basics();
  blocking();
  fifos();
  polling();
  return finish();
}
