// SPDX-License-Identifier: Apache-2.0
// events.c: descriptors that stand for events: epoll, eventfd, timerfd, signalfd, pidfd; and timers that send signals.
//
// apus: compare: host

#include "check.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static char buffer[100];

static void polling(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  int file = open("file", O_RDWR | O_CREAT, 0600);
  section("epoll");
  int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77}, got[4];
  SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
  SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
  SHOW(epoll_ctl(set, EPOLL_CTL_ADD, file, &event));
  SHOW(epoll_ctl(set, EPOLL_CTL_MOD, file, &event));
  SHOW(epoll_ctl(set, EPOLL_CTL_DEL, file, NULL));
  SHOW(epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
  SHOW(epoll_ctl(set, EPOLL_CTL_ADD, 99, &event));
  SHOW(epoll_wait(set, got, 4, 0));
  SHOW(epoll_wait(set, got, 4, 20));
  SHOW(epoll_wait(set, got, 0, 0));
  CHECK(write(ends[1], "x", 1) == 1);
  SHOW(epoll_wait(set, got, 4, -1));
  say("events %u, data %lu\n", got[0].events, (unsigned long)got[0].data.u64);
  SHOW(epoll_wait(set, got, 4, -1));
  event.events = EPOLLIN | EPOLLET;
  SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
  SHOW(epoll_wait(set, got, 4, 0));
  SHOW(epoll_wait(set, got, 4, 0));
  CHECK(write(ends[1], "y", 1) == 1);
  SHOW(epoll_wait(set, got, 4, 0));
  event.events = EPOLLIN | EPOLLONESHOT;
  SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
  SHOW(epoll_wait(set, got, 4, 0));
  SHOW(epoll_wait(set, got, 4, 0));
  close(set);
  close(file);
  unlink("file");
  // A set that waits is itself something to wait for, and is woken by another process.
  set = epoll_create1(0);
  struct epoll_event one = {.events = EPOLLIN, .data.fd = ends[0]};
  SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &one));
  while (poll(&(struct pollfd){ends[0], POLLIN, 0}, 1, 0) > 0) CHECK(read(ends[0], buffer, 1) == 1);
  SHOW(poll(&(struct pollfd){set, POLLIN, 0}, 1, 0));
  pid_t child = fork();
  if (child == 0) {
    usleep(10000);
    _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
  }
  SHOW(epoll_wait(set, &one, 1, -1));
  SHOW(poll(&(struct pollfd){set, POLLIN, 0}, 1, 0));
  wait_for(child);
  close(ends[1]);
  CHECK(read(ends[0], buffer, 1) == 1);
  SHOW(epoll_wait(set, &one, 1, -1));
  SHOW(one.events);
  close(ends[0]);
  SHOW(epoll_wait(set, &one, 1, 0));
  close(set);
}

static void counters(void) {
  section("eventfd and timerfd");
  uint64_t value = 5;
  int file = eventfd(3, EFD_NONBLOCK);
  if (file >= 0) {
    SHOW(poll(&(struct pollfd){file, POLLIN | POLLOUT, 0}, 1, 0));
    SHOW(write(file, &value, 8));
    SHOW(read(file, &value, 8));
    SHOW(value);
    SHOW(read(file, &value, 8));
    SHOW(write(file, &value, 4));
    value = UINT64_MAX;
    SHOW(write(file, &value, 8));
    close(file);
  } else
    say("eventfd: %s\n", error_name(errno));
  file = timerfd_create(CLOCK_MONOTONIC, 0);
  if (file >= 0) {
    struct itimerspec soon = {{0, 5000000}, {0, 5000000}};
    SHOW(timerfd_settime(file, 0, &soon, NULL));
    SHOW(read(file, &value, 8));
    CHECK(value >= 1);
    close(file);
  } else
    say("timerfd_create: %s\n", error_name(errno));
}

static void signals(void) {
  section("signalfd and pidfd");
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int file = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (file >= 0) {
    struct signalfd_siginfo record;
    SHOW(read(file, &record, sizeof record));
    raise(SIGUSR1);
    SHOW(read(file, &record, sizeof record) == sizeof record && record.ssi_signo == SIGUSR1);
    close(file);
  }
  pid_t child = fork();
  if (child == 0) {
    usleep(10000);
    _exit(5);
  }
  int process = (int)syscall(SYS_pidfd_open, child, 0);
  if (process >= 0) {
    struct pollfd end = {process, POLLIN, 0};
    SHOW(poll(&end, 1, 1000000));
    close(process);
  } else
    say("pidfd_open: %s\n", error_name(errno));
  say_status("child", wait_for(child));
}

static volatile sig_atomic_t ticks;

static void tick(int number) {
  (void)number;
  ticks++;
}

static void timers(void) {
  section("POSIX timers");
  catch_signal(SIGALRM, tick, SA_RESTART);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) {
    struct itimerspec soon = {{0, 2000000}, {0, 2000000}};
    ticks = 0;
    SHOW(timer_settime(timer, 0, &soon, NULL));
    while (ticks < 5) usleep(1000);
    SHOW(timer_gettime(timer, &soon));
    SHOW(timer_delete(timer));
    SHOW(timer_delete(timer));
  } else
    say("timer_create: %s\n", error_name(errno));
}

int main(void) {
  close_inherited();
  polling();
  counters();
  signals();
  timers();
  return finish();
}
