// SPDX-License-Identifier: Apache-2.0
// linux.c: the bench program that runs, the same static binary, on Linux and on Apus's LibLinux.
//
// usage: linux [-p] [-s SAMPLES] [CASE ...]
// Measures every case, or those named, and prints a line for each metric. -p powers the machine off at the end:
// the program is then the guest's first process.
#define _GNU_SOURCE
#include "measure.h"
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096, BATCH = 100, REGION = 2 << 20 };

static unsigned samples = 5;

static void require(int condition, const char *what) {
  if (condition) return;
  printf("@@ {\"failure\":\"%s\"}\n", what);
  fflush(stdout);
  exit(1);
}

// Takes `samples` samples of a statement repeated `operations` times, after one round that is thrown away.
#define SAMPLE(measurement, operations, statement)                          \
  for (unsigned round = 0; round <= samples; round++) {                     \
    uint64_t before = counter();                                            \
    for (int turn = 0; turn < (operations); turn++) { statement; }          \
    uint64_t ticks = counter() - before;                                    \
    if (round > 0) add_sample(measurement, ticks, (uint64_t)(operations));  \
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
static void step_over(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)information;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void install(int signal, void (*handler)(int, siginfo_t *, void *)) {
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

static char *map(void *address, size_t size) {
  void *mapped = mmap(address, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(mapped != MAP_FAILED, "mmap");
  return mapped;
}

static void touch(char *start, int pages) {
  for (int page = 0; page < pages; page++) ((volatile char *)start)[(size_t)page * PAGE] = 1;
}

// A hole in the middle of a 2 MiB region whose first page is mapped and touched: a mapping made there needs no new
// page table.
static char *populated_hole(void) {
  char *space = map(0, 2 * REGION);
  require(munmap(space, 2 * REGION) == 0, "munmap");
  char *region = (char *)(((uintptr_t)space + REGION - 1) & ~(uintptr_t)(REGION - 1));
  require(map(region, PAGE) == region, "mmap where asked");
  touch(region, 1);
  return region + REGION / 2;
}

static void map_touch_unmap(char *address, int pages) {
  char *start = map(address, (size_t)pages * PAGE);
  touch(start, pages);
  munmap(start, (size_t)pages * PAGE);
}

static void measure_map1(void) {
  char *hole = populated_hole();
  struct measurement populated = {.name = "map1", .metric = "mmap-populated"};
  SAMPLE(&populated, 500, map_touch_unmap(hole, 1));
  print_measurement(&populated);
  munmap(hole - REGION / 2, PAGE);

  struct measurement anywhere = {.name = "map1", .metric = "mmap"};
  SAMPLE(&anywhere, 500, map_touch_unmap(0, 1));
  print_measurement(&anywhere);

  char *page = map(0, PAGE);
  touch(page, 1);
  struct measurement protect = {.name = "map1", .metric = "mprotect"};
  SAMPLE(&protect, 1000, mprotect(page, PAGE, turn & 1 ? PROT_READ | PROT_WRITE : PROT_READ));
  print_measurement(&protect);
  munmap(page, PAGE);

  struct measurement first = {.name = "map1", .metric = "first-touch"};
  for (unsigned round = 0; round <= samples; round++) {
    char *start = map(0, 256 * PAGE);
    madvise(start, 256 * PAGE, MADV_NOHUGEPAGE);
    uint64_t before = counter();
    touch(start, 256);
    uint64_t ticks = counter() - before;
    if (round > 0) add_sample(&first, ticks, 256);
    munmap(start, 256 * PAGE);
  }
  print_measurement(&first);
}

// One operation: 100 touched pages lose (protect) or regain (unprotect) the right to be written, in one call.
static void measure_map100(void) {
  enum { ROUNDS = 40 };
  char *start = map(0, BATCH * PAGE);
  struct measurement protect = {.name = "map100", .metric = "mprotect"};
  struct measurement unprotect = {.name = "map100", .metric = "mprotect-back"};
  for (unsigned round = 0; round <= samples; round++) {
    uint64_t protecting = 0, unprotecting = 0;
    for (int turn = 0; turn < ROUNDS; turn++) {
      touch(start, BATCH);
      uint64_t before = counter();
      mprotect(start, BATCH * PAGE, PROT_READ);
      uint64_t between = counter();
      mprotect(start, BATCH * PAGE, PROT_READ | PROT_WRITE);
      unprotecting += counter() - between;
      protecting += between - before;
    }
    if (round == 0) continue;
    add_sample(&protect, protecting, ROUNDS);
    add_sample(&unprotect, unprotecting, ROUNDS);
  }
  print_measurement(&protect);
  print_measurement(&unprotect);
  munmap(start, BATCH * PAGE);

  char *hole = populated_hole();
  struct measurement whole = {.name = "map100", .metric = "mmap"};
  SAMPLE(&whole, 20, map_touch_unmap(hole, BATCH));
  print_measurement(&whole);
  munmap(hole - REGION / 2, PAGE);
}

static void finish_child(pid_t child) {
  require(child > 0, "fork");
  int status;
  require(waitpid(child, &status, 0) == child && status == 0, "wait");
}

static void fork_exit_wait(void) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  finish_child(child);
}

static void fork_exec_wait(void) {
  static char *arguments[] = {"/tiny", 0}, *environment[] = {0};
  pid_t child = fork();
  if (child == 0) {
    execve(arguments[0], arguments, environment);
    _exit(1);
  }
  finish_child(child);
}

static void measure_fork(void) {
  struct measurement result = {.name = "fork", .metric = "op"};
  SAMPLE(&result, 50, fork_exit_wait());
  print_measurement(&result);
}

static void measure_exec(void) {
  struct measurement result = {.name = "exec", .metric = "op"};
  SAMPLE(&result, 50, fork_exec_wait());
  print_measurement(&result);
}

// A byte goes to another process and one comes back: two operations.
static void measure_pipe(void) {
  enum { TURNS = 500 };
  int there[2], back[2];
  char byte = 0;
  require(pipe(there) == 0 && pipe(back) == 0, "pipe");
  pid_t child = fork();
  if (child == 0) {
    close(there[1]);
    while (read(there[0], &byte, 1) == 1)
      if (write(back[1], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  close(there[0]);
  close(back[1]);
  struct measurement result = {.name = "pipe", .metric = "op"};
  for (unsigned round = 0; round <= samples; round++) {
    int failures = 0;
    uint64_t before = counter();
    for (int turn = 0; turn < TURNS; turn++)
      failures += write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1;
    uint64_t ticks = counter() - before;
    require(failures == 0, "ping-pong");
    if (round > 0) add_sample(&result, ticks, 2 * TURNS);
  }
  close(there[1]);
  close(back[0]);
  finish_child(child);
  print_measurement(&result);
}

static volatile sig_atomic_t stopped;
static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

// Two processes yield to each other: one turn is two switches. The other side counts its turns too, which shows
// that every yield did switch; otherwise the figure would be of something else. Linux's fair scheduler does not
// switch at every yield, its first-in-first-out class does, and cheaper; a system without the class need not have it.
static void measure_yield(void) {
  enum { TURNS = 2000 };
  int report[2];
  require(pipe(report) == 0, "pipe");
  struct sched_param priority = {.sched_priority = 1}, usual = {0};
  sched_setscheduler(0, SCHED_FIFO, &priority);
  stopped = 0;
  require(signal(SIGUSR1, stop) != SIG_ERR, "signal");
  pid_t child = fork();
  if (child == 0) {
    uint64_t turns = 0;
    for (; !stopped; turns++) sched_yield();
    _exit(write(report[1], &turns, sizeof turns) != sizeof turns);
  }
  struct measurement result = {.name = "yield", .metric = "sched_yield"};
  SAMPLE(&result, TURNS, sched_yield());
  for (unsigned i = 0; i < result.count; i++) result.hundredths[i] /= 2;
  require(kill(child, SIGUSR1) == 0, "kill");
  uint64_t turns = 0, own = (uint64_t)TURNS * (samples + 1);
  require(read(report[0], &turns, sizeof turns) == sizeof turns, "report");
  finish_child(child);
  sched_setscheduler(0, SCHED_OTHER, &usual);
  close(report[0]);
  close(report[1]);
  require(turns + own / 10 >= own && turns <= own + own / 10, "yields that do not alternate");
  print_measurement(&result);
}

static const struct {
  const char *name;
  void (*measure)(void);
} cases[] = {
    {"getppid", measure_getppid}, {"exception", measure_exception}, {"map1", measure_map1},
    {"map100", measure_map100},   {"yield", measure_yield},         {"fork", measure_fork},
    {"exec", measure_exec},       {"pipe", measure_pipe},
};

static int wanted(const char *name, int count, char **names) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0) return 1;
  return count == 0;
}

int main(int argc, char **argv) {
  int option, power_off = 0;
  while ((option = getopt(argc, argv, "ps:")) != -1) {
    if (option == 'p') power_off = 1;
    if (option == 's') samples = (unsigned)atoi(optarg);
  }
  for (int i = optind; i < argc; i++) {
    int known = 0;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) known |= strcmp(cases[k].name, argv[i]) == 0;
    require(known, "no such case");
  }
  if (samples > SAMPLE_LIMIT) samples = SAMPLE_LIMIT;
  uint64_t ticks = counter(), nanoseconds = monotonic_nanoseconds();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (wanted(cases[i].name, argc - optind, argv + optind)) cases[i].measure();
  ticks = counter() - ticks;
  nanoseconds = monotonic_nanoseconds() - nanoseconds;
  printf("@@ {\"clock\":%llu}\n", (unsigned long long)((double)ticks * 1e9 / (double)nanoseconds));
  printf("@@ {\"end\":true}\n");
  fflush(stdout);
  if (power_off) reboot(RB_AUTOBOOT);
  return 0;
}
