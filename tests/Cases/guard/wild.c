// SPDX-License-Identifier: Apache-2.0
// wild.c: writes into every part of a guarded LibOS end in SIGSEGV for who made them, and the family goes on.
//
// apus: icount: yes
// apus: option: --guard
// apus: append: slice-milliseconds=1
// apus: memory: 64M
// apus: stdout-has: all is well\n
// apus: timeout: 120

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PKUERR = 4, LIBOS_KEY = 1 };

static int failures;
#define EXPECT(condition, ...)                     \
  do {                                             \
    if (!(condition)) {                            \
      failures++;                                  \
      printf("%d: " #condition ": ", __LINE__);    \
      printf(__VA_ARGS__);                         \
      printf("\n");                                \
    }                                              \
  } while (0)

static sigjmp_buf back;
static volatile siginfo_t last;
static volatile int nested;

static volatile uint64_t *uarea(void) {
  uint64_t base;
  __asm__ volatile("rdgsbase %0" : "=r"(base));
  return (volatile uint64_t *)base;
}

static void fault(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  last = *info;
  // The handler runs with the guard up, too: its own wild write is another fault.
  if (nested-- > 0) uarea()[0] = 1;
  siglongjmp(back, 1);
}

// Whether a write to an address is refused by the guard; the word is left as it was otherwise, which may end everything.
static int is_guarded(volatile uint64_t *address) {
  memset((void *)&last, 0, sizeof last);
  if (sigsetjmp(back, 1) == 0) {
    *address = *address;
    return 0;
  }
  return last.si_signo == SIGSEGV && last.si_code == PKUERR && last.si_addr == (void *)address &&
         last.si_pkey == LIBOS_KEY;
}

static void every_part(void) {
  // The LibOS's data (behind its code), the boot image and the page pool, the heap, a u-area and the stack below it, the
  // records of pages.
  static const uint64_t places[] = {0x700000000000, 0x701000000000, 0x702000000000, 0x706000000000};
  for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
    EXPECT(is_guarded((volatile uint64_t *)places[i]), "%#lx: code %d", (long)places[i], last.si_code);
  for (int page = -15; page <= 0; page++)
    EXPECT(is_guarded(uarea() + page * 512), "page %d of the stack: code %d", page, last.si_code);
  for (int word = 0; word < 512; word += 7) EXPECT(is_guarded(uarea() + word), "word %d of the u-area", word);
  nested = 3;
  EXPECT(is_guarded(uarea()), "from the handler: code %d", last.si_code);
}

// Who has no handler dies of it, and nobody else.
static void without_handler(void) {
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child == 0) {
      signal(SIGSEGV, SIG_DFL);
      memset((void *)(uarea() - 512), 0xff, 8192);
      _exit(0);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child, "errno %d", errno);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %#x", status);
  }
}

// System calls reach the LibOS and do not take its memory for the application's.
static void through_calls(void) {
  int ends[2];
  EXPECT(pipe(ends) == 0, "errno %d", errno);
  EXPECT(write(ends[1], "01234567", 8) == 8, "errno %d", errno);
  EXPECT(read(ends[0], (void *)uarea(), 8) == -1 && errno == EFAULT, "errno %d", errno);
  close(ends[0]);
  close(ends[1]);
  // All arguments arrive, and numbers that there are none of.
  EXPECT(syscall(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) > 0, "errno %d", errno);
  static const long numbers[] = {0x0ffffff0, 0x10000027, 0x70000000, 0x7fffffff, 600};
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
    EXPECT(syscall(numbers[i], 1, 2, 3, 4, 5, 6) == -1 && errno == ENOSYS, "%#lx: errno %d", numbers[i], errno);
}

static atomic_int stop;
static atomic_uint ticks;
static void tick(int signal) { (void)signal, ticks++; }

// Calls and faults while others run, with pauses of any length: slices end at every instruction of the entries in time.
static void *busy(void *argument) {
  unsigned random = (unsigned)(uintptr_t)argument;
  unsigned char *memory = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  while (!stop) {
    for (int i = 0; i < 80; i++) {
      syscall(SYS_umask, 022);
      if (i % 8 != 0) continue;
      random = random * 1664525 + 1013904223;
      for (unsigned pause = random >> 25; pause > 0; pause--) __asm__ volatile("");
      memory[i / 8 % 8 * 4096] = 1;
    }
    madvise(memory, 8 * 4096, MADV_DONTNEED);
  }
  munmap(memory, 8 * 4096);
  return NULL;
}

static void under_load(void) {
  struct itimerval every = {{0, 3000}, {0, 3000}};
  signal(SIGALRM, tick);
  pid_t children[2];
  for (int i = 0; i < 2; i++) {
    children[i] = fork();
    if (children[i] == 0) {
      pthread_t thread;
      setitimer(ITIMER_REAL, &every, NULL);
      pthread_create(&thread, NULL, busy, (void *)(uintptr_t)(i + 2));
      for (int n = 0; n < 400; n++)
        if (!is_guarded(uarea() + n)) _exit(1);
      struct timespec rest = {0, 50000000}, left;
      while (nanosleep(&rest, &left) != 0) rest = left;
      stop = 1;
      pthread_join(thread, NULL);
      _exit(ticks > 3 ? 0 : 2);
    }
  }
  for (int i = 0; i < 2; i++) {
    int status = 0;
    EXPECT(waitpid(children[i], &status, 0) == children[i], "errno %d", errno);
    EXPECT(status == 0, "status %#x", status);
  }
}

int main(void) {
  struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  every_part();
  without_handler();
  through_calls();
  under_load();
  puts(failures ? "something is not as it should be" : "all is well");
  return failures != 0;
}
