// SPDX-License-Identifier: Apache-2.0
// linux.c: the bench program that runs, the same static binary, on Linux and on Apus's LibLinux.
//
// usage: linux [-p] [-q] [-s SAMPLES] [CASE ...]
// Measures every case, or those named, and prints a line for each metric. -p: the program is the guest's first
// process; it mounts /proc, and powers the machine off at the end. -q: no lines but the cases'.
#define _GNU_SOURCE
#include "linux.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

unsigned samples = 5;

void require(int condition, const char *what) {
  if (condition) return;
  printf("@@ {\"failure\":\"%s\"}\n", what);
  fflush(stdout);
  exit(1);
}

static int order(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return a < b ? -1 : a > b;
}

static void print_hundredths(uint64_t value) {
  printf("%llu.%02llu", (unsigned long long)(value / 100), (unsigned long long)(value % 100));
}

// "instructions" is the median sample.
static void print_line(const struct measurement *measurement) {
  uint64_t sorted[SAMPLE_LIMIT];
  unsigned count = measurement->count;
  require(count > 0, "no samples");
  for (unsigned i = 0; i < count; i++) sorted[i] = measurement->hundredths[i];
  qsort(sorted, count, sizeof *sorted, order);
  printf("@@ {\"case\":\"%s\",\"metric\":\"%s\",\"instructions\":", measurement->name, measurement->metric);
  print_hundredths((sorted[(count - 1) / 2] + sorted[count / 2]) / 2);
  printf(",\"operations\":%llu,\"samples\":[", (unsigned long long)measurement->operations);
  for (unsigned i = 0; i < count; i++) {
    if (i) putchar(',');
    print_hundredths(measurement->hundredths[i]);
  }
  printf("]}\n");
  fflush(stdout);
}

void print_measurement(const struct measurement *measurement) {
  MARK_SUM;
  print_line(measurement);
}

void print_second_measurement(const struct measurement *measurement) {
  MARK_SUM_SECOND;
  print_line(measurement);
}

static void measure_getppid(void) {
  struct measurement result = {.name = "getppid", .metric = "op"};
  SAMPLE(&result, 2000, {
    long value = SYS_getppid;
    __asm__ volatile("syscall" : "+a"(value) : : "rcx", "r11", "memory");
  });
  print_measurement(&result);
}

// The handler returns through rt_sigreturn. An int3's saved address is already the next instruction's, an ud2's is
// its own: the handler steps over it.
static void resume(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)information, (void)context;
}
void step_over(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)information;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

void install(int signal, void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
  require(sigaction(signal, &action, 0) == 0, "sigaction");
}

static void measure_exception(void) {
  struct measurement breakpoint = {.name = "exception", .metric = "int3"};
  install(SIGTRAP, resume);
  SAMPLE(&breakpoint, 1000, __asm__ volatile("int3" : : : "memory"));
  print_measurement(&breakpoint);

  struct measurement invalid = {.name = "exception", .metric = "ud2"};
  install(SIGILL, step_over);
  SAMPLE(&invalid, 1000, __asm__ volatile("ud2" : : : "memory"));
  print_measurement(&invalid);
}

static const struct {
  const char *name;
  void (*measure)(void);
} cases[] = {
    // fork copies what there is, so it comes early, and threads, whose stacks stay, come last.
    {"getppid", measure_getppid}, {"fork", measure_fork},         {"exec", measure_exec},
    {"pipe", measure_pipe},       {"messages", measure_messages}, {"switch", measure_switch},
    {"exception", measure_exception}, {"appel", measure_appel},   {"map1", measure_map1},
    {"map100", measure_map100},   {"unmap100", measure_unmap100}, {"yield", measure_yield},
    // In a program of their own: a larger one would fork more slowly.
    {"pager", measure_pager},     {"collector", measure_collector},
};

// The program with the cases that this one has not, on the twin only.
static const char applications[] = "/applications";

static void measure_elsewhere(const char *name) {
  if (access(applications, X_OK) != 0) return;
  pid_t child = fork();
  if (child == 0) {
    execl(applications, applications, "-q", name, (char *)0);
    _exit(1);
  }
  finish_child(child);
}

static int wanted(const char *name, int count, char **names) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0) return 1;
  return count == 0;
}

static uint64_t monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
  int option, is_first = 0, is_quiet = 0;
  while ((option = getopt(argc, argv, "pqs:")) != -1) {
    if (option == 'p') is_first = 1;
    if (option == 'q') is_quiet = 1;
    if (option == 's') samples = (unsigned)atoi(optarg);
  }
  for (int i = optind; i < argc; i++) {
    int known = 0;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) known |= strcmp(cases[k].name, argv[i]) == 0;
    require(known, "no such case");
  }
  if (samples > SAMPLE_LIMIT) samples = SAMPLE_LIMIT;
  if (is_first) {
    mkdir("/proc", 0555);
    mount("proc", "/proc", "proc", 0, 0);
  }
  uint64_t ticks = counter(), nanoseconds = monotonic_nanoseconds();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (wanted(cases[i].name, argc - optind, argv + optind)) {
      if (cases[i].measure) cases[i].measure();
      else measure_elsewhere(cases[i].name);
    }
  if (is_quiet) return 0;
  ticks = counter() - ticks;
  nanoseconds = monotonic_nanoseconds() - nanoseconds;
  printf("@@ {\"clock\":%llu}\n", (unsigned long long)((double)ticks * 1e9 / (double)nanoseconds));
  printf("@@ {\"end\":true}\n");
  fflush(stdout);
  if (is_first) reboot(RB_AUTOBOOT);
  return 0;
}
