// SPDX-License-Identifier: Apache-2.0
// clocks.c: clocks, sleeps and timers; only what holds however slow the machine is.
//
// apus: compare: host

#include "check.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static int64_t read_clock(clockid_t clock) {
  struct timespec time;
  CHECK(clock_gettime(clock, &time) == 0);
  CHECK(time.tv_nsec >= 0 && time.tv_nsec < 1000000000);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void clocks(void) {
  section("clocks");
  static const clockid_t all[] = {CLOCK_REALTIME,        CLOCK_MONOTONIC,        CLOCK_BOOTTIME,           CLOCK_MONOTONIC_RAW,
                                  CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
  for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
    int64_t last = read_clock(all[i]);
    int back = 0, moved = 0;
    for (int j = 0; j < 20000; j++) {
      int64_t next = read_clock(all[i]);
      back += next < last;
      moved += next > last;
      last = next;
    }
    struct timespec step;
    SHOW(clock_getres(all[i], &step));
    say("clock %u: back %d times", i, back);
    // The coarse clocks may stand still for a while.
    if (i != 4 && i != 5) say(", moved %d", moved > 0);
    say("\n");
  }
  struct timespec step;
  SHOW(clock_gettime(99, &step));
  SHOW(clock_getres(99, &step));
  SHOW(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, nowhere));
  struct timeval now;
  CHECK(gettimeofday(&now, NULL) == 0);
  CHECK(llabs(now.tv_sec - read_clock(CLOCK_REALTIME) / 1000000000) <= 100);
  CHECK(llabs(time(NULL) - now.tv_sec) <= 100);
  // Later than this program was written, earlier than it could live.
  CHECK(now.tv_sec > 1700000000 && now.tv_sec < 5000000000);
  // A process's own time does not pass while it sleeps. A virtual machine that was itself kept waiting may count that
  // as time used: another sleep then shows it.
  int64_t own = 1, real = 0;
  for (int i = 0; i < 20 && own >= real / 2; i++) {
    own = read_clock(CLOCK_PROCESS_CPUTIME_ID), real = read_clock(CLOCK_MONOTONIC);
    usleep(100000);
    own = read_clock(CLOCK_PROCESS_CPUTIME_ID) - own;
    real = read_clock(CLOCK_MONOTONIC) - real;
  }
  SHOW(own < real / 2);
  struct tms used;
  SHOW(times(&used) > 0);
}

static void sleeps(void) {
  section("sleeps");
  for (int milliseconds = 1; milliseconds <= 64; milliseconds *= 4) {
    struct timespec span = {0, milliseconds * 1000000};
    int64_t before = read_clock(CLOCK_MONOTONIC);
    SHOW(nanosleep(&span, NULL));
    int64_t slept = read_clock(CLOCK_MONOTONIC) - before;
    if (slept < milliseconds * 1000000) say("FAIL slept %ld of %d ms\n", (long)slept, milliseconds), failures++;
  }
  SHOW(nanosleep(&(struct timespec){0, 0}, NULL));
  SHOW(nanosleep(&(struct timespec){0, 1000000000}, NULL));
  SHOW(nanosleep(&(struct timespec){-1, 0}, NULL));
  SHOW(nanosleep(nowhere, NULL));
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += 20000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
  CHECK(read_clock(CLOCK_MONOTONIC) >= until.tv_sec * 1000000000ll + until.tv_nsec);
  SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
  SHOW(clock_nanosleep(99, 0, &until, NULL));
  // Who sleeps shorter wakes earlier, however they started. A machine under load may be late by more than the
  // difference, so the sleeps grow until they tell.
  int ends[2];
  CHECK(pipe(ends) == 0);
  static const int lengths[] = {3, 1, 2};
  char names[4] = "";
  for (useconds_t unit = 50000; unit <= 6400000 && strcmp(names, "123") != 0; unit *= 2) {
    for (int i = 0; i < 3; i++)
      if (fork() == 0) {
        usleep((useconds_t)lengths[i] * unit);
        char name = (char)('0' + lengths[i]);
        _exit(write(ends[1], &name, 1) == 1 ? 0 : 1);
      }
    for (int i = 0; i < 3; i++) CHECK(read(ends[0], names + i, 1) == 1);
    while (wait(NULL) > 0) continue;
  }
  say("woken in order %.3s\n", names);
}

static volatile sig_atomic_t ticks;

static void tick(int number) {
  (void)number;
  ticks++;
}

static void timers(void) {
  section("timers");
  catch_signal(SIGALRM, tick, SA_RESTART);
  struct itimerval every = {{0, 5000}, {0, 5000}}, old;
  int64_t before = read_clock(CLOCK_MONOTONIC);
  SHOW(setitimer(ITIMER_REAL, &every, NULL));
  while (ticks < 10) pause();
  CHECK(read_clock(CLOCK_MONOTONIC) - before >= 50000000);
  SHOW(getitimer(ITIMER_REAL, &old));
  CHECK(old.it_interval.tv_usec == 5000 && old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 5000);
  IN_CHILD("a child has no timer", _exit(getitimer(ITIMER_REAL, &old) == 0 && old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0 ? 0 : 1));
  every = (struct itimerval){{0, 0}, {0, 0}};
  SHOW(setitimer(ITIMER_REAL, &every, &old));
  ticks = 0;
  usleep(20000);
  say("stopped: %d\n", (int)ticks);
  every.it_value.tv_usec = 1000000;
  SHOW(setitimer(ITIMER_REAL, &every, NULL));
  SHOW(setitimer(99, &every, NULL));
  SHOW(alarm(2000));
  SHOW(alarm(1000) >= 1500);
  SHOW(getitimer(ITIMER_REAL, &old));
  CHECK(old.it_value.tv_sec >= 500);
  SHOW(alarm(0) >= 500);
  SHOW(alarm(0));
}

int main(void) {
  close_inherited();
  clocks();
  sleeps();
  timers();
  return finish();
}
