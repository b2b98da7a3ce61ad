// SPDX-License-Identifier: Apache-2.0
// linux-processes.c: fork, exec, and switches between processes and between threads.
#define _GNU_SOURCE
#include "linux.h"
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void finish_child(pid_t child) {
  require(child > 0, "fork");
  int status;
  require(waitpid(child, &status, 0) == child && status == 0, "wait");
}

static void fork_exit_wait(void) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  finish_child(child);
}

static char *arguments[] = {"/tiny", 0}, *environment[] = {0};

static void fork_exec_wait(void) {
  pid_t child = fork();
  if (child == 0) {
    execve(arguments[0], arguments, environment);
    _exit(1);
  }
  finish_child(child);
}

static void vfork_exec_wait(void) {
  pid_t child = vfork();
  if (child == 0) {
    execve(arguments[0], arguments, environment);
    _exit(1);
  }
  finish_child(child);
}

void measure_fork(void) {
  struct measurement result = {.name = "fork", .metric = "op"};
  SAMPLE(&result, 50, fork_exit_wait());
  print_measurement(&result);
}

void measure_exec(void) {
  struct measurement result = {.name = "exec", .metric = "op"};
  SAMPLE(&result, 50, fork_exec_wait());
  print_measurement(&result);
  struct measurement shared = {.name = "exec", .metric = "vfork"};
  SAMPLE(&shared, 50, vfork_exec_wait());
  print_measurement(&shared);
}

// ---- switches ----
//
// Two processes, or two threads, yield to each other: one turn is two switches. The other side counts its turns too,
// which shows that every yield did switch; otherwise the figure would be of something else. Linux's fair scheduler
// does not switch at every yield, its first-in-first-out class does, and cheaper; a system without the class need not
// have it.

enum { TURNS = 2000 };

static void be_first_in_first_out(int on) {
  struct sched_param priority = {.sched_priority = on ? 1 : 0};
  sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &priority);
}

static void check_turns(uint64_t turns) {
  uint64_t own = (uint64_t)TURNS * (samples + 1);
  require(turns + own / 10 >= own && turns <= own + own / 10, "yields that do not alternate");
}

static volatile sig_atomic_t stopped;
static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

void measure_switch(void) {
  int report[2];
  require(pipe(report) == 0, "pipe");
  be_first_in_first_out(1);
  stopped = 0;
  require(signal(SIGUSR1, stop) != SIG_ERR, "signal");
  pid_t child = fork();
  if (child == 0) {
    uint64_t turns = 0;
    for (; !stopped; turns++) sched_yield();
    _exit(write(report[1], &turns, sizeof turns) != sizeof turns);
  }
  struct measurement result = {.name = "switch", .metric = "sched_yield"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, sched_yield());
  require(kill(child, SIGUSR1) == 0, "kill");
  uint64_t turns = 0;
  require(read(report[0], &turns, sizeof turns) == sizeof turns, "report");
  finish_child(child);
  be_first_in_first_out(0);
  close(report[0]);
  close(report[1]);
  check_turns(turns);
  print_measurement(&result);
}

static uint64_t thread_turns;
static void *yield_until_told(void *word) {
  uint64_t turns = 0;
  for (; !*(volatile int *)word; turns++) sched_yield();
  thread_turns = turns;
  return 0;
}

void measure_yield(void) {
  int told = 0;
  pthread_t thread;
  be_first_in_first_out(1);
  require(pthread_create(&thread, 0, yield_until_told, &told) == 0, "thread");
  struct measurement result = {.name = "yield", .metric = "sched_yield"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, sched_yield());
  *(volatile int *)&told = 1;
  require(pthread_join(thread, 0) == 0, "join");
  be_first_in_first_out(0);
  check_turns(thread_turns);
  print_measurement(&result);
}
