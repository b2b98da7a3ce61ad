// SPDX-License-Identifier: Apache-2.0
// linux-collector.c: the twin of apps/collector: checkpoints of what changed, in Linux's two ways.
//
// sigsegv: everything loses the right to be written; the handler of SIGSEGV notes a page, saves it if the checkpoint
// still needs it, and gives the right back. The program goes on while pages are saved, as on Apus.
// soft-dirty: the kernel notes what is written (Linux, soft-dirty.rst), and the program stands still while pages are
// saved, which is less than the others do.
#define _GNU_SOURCE
#include "linux.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 1024, WINDOW = 256, WRITES = 2048, EPOCHS = 6, SETTLING = 1, PAGE_WORDS = PAGE / 8 };
// What a program without any of this computes, too.
static const uint64_t expected_checksum = 5489312518479000231ull;

static uint64_t *memory, *image;
static uint64_t state, fault_count;
// Of the checkpoint that is made: its pages, and which of them are still to be saved. Then the next one's.
static uint16_t changed[PAGES], next_changed[PAGES];
static size_t changed_count, saved, next_count;
static uint8_t pending[PAGES], is_noted[PAGES];

static void save(size_t page) {
  memcpy(image + page * PAGE_WORDS, memory + page * PAGE_WORDS, PAGE);
  pending[page] = 0;
}

static void step(void) {
  while (saved < changed_count) {
    size_t page = changed[saved++];
    if (pending[page]) {
      save(page);
      return;
    }
  }
}

static void nothing(void) {}

static inline __attribute__((always_inline)) void write_words(uint64_t epoch, void (*between)(void)) {
  for (uint64_t count = 0; count < WRITES;) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t random = state >> 33, page = (epoch * 61 + random % WINDOW) % PAGES;
    *(volatile uint64_t *)(memory + page * PAGE_WORDS + (random >> 8 & 511)) += epoch + count;
    count++;
    if ((count & 7) == 0) between();
  }
}

// ---- by SIGSEGV ----

static void release(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)context;
  size_t page = (size_t)((char *)information->si_addr - (char *)memory) / PAGE;
  if (page >= PAGES) _exit(1);
  fault_count++;
  if (pending[page]) save(page);
  if (!is_noted[page]) next_changed[next_count++] = (uint16_t)page;
  is_noted[page] = 1;
  mprotect(memory + page * PAGE_WORDS, PAGE, PROT_READ | PROT_WRITE);
}

static void start_noting(void) {
  install(SIGSEGV, release);
  mprotect(memory, (size_t)PAGES * PAGE, PROT_READ);
}

static void begin_noted(void) {
  mprotect(memory, (size_t)PAGES * PAGE, PROT_READ);
  memcpy(changed, next_changed, next_count * sizeof *changed);
  changed_count = next_count;
  saved = next_count = 0;
  for (size_t i = 0; i < changed_count; i++) pending[changed[i]] = 1, is_noted[changed[i]] = 0;
}

static void finish_noted(void) {
  while (saved < changed_count) step();
}

// ---- by soft-dirty bits ----

static int map_file, clear_file;

static int clear_soft_dirty(void) { return pwrite(clear_file, "4", 1, 0) == 1; }

static void save_soft_dirty(void) {
  static uint64_t entries[PAGES];
  require(
      pread(map_file, entries, sizeof entries, (off_t)((uintptr_t)memory / PAGE * 8)) == sizeof entries &&
          clear_soft_dirty(),
      "soft-dirty bits");
  changed_count = 0;
  for (size_t page = 0; page < PAGES; page++)
    if (entries[page] >> 55 & 1) {
      changed_count++;
      save(page);
    }
}

// ---- either ----

static void prepare(void) {
  size_t bytes = (size_t)PAGES * PAGE;
  memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  image = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED && image != MAP_FAILED, "mmap");
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  madvise(image, bytes, MADV_NOHUGEPAGE);
  // Both are there before anything counts.
  memset(memory, 0, bytes);
  memset(image, 0, bytes);
  state = 1;
  fault_count = changed_count = saved = next_count = 0;
  memset(pending, 0, sizeof pending);
  memset(is_noted, 0, sizeof is_noted);
}

static void
measure_way(const char *names[3], void (*begin)(void), void (*between)(void), void (*finish)(void)) {
  struct measurement whole = {.name = "collector", .metric = names[0]};
  struct measurement handling = {.name = "collector", .metric = names[1]};
  struct measurement faults = {.name = "collector", .metric = names[2]};
  uint64_t checksum = 0xcbf29ce484222325, ticks[EPOCHS], counts[EPOCHS];
  for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
    uint64_t before_faults = fault_count;
    if (epoch >= SETTLING) MARK_BEGIN;
    uint64_t before = counter();
    write_words(epoch, nothing);
    begin();
    write_words(epoch, between);
    finish();
    ticks[epoch] = counter() - before;
    if (epoch >= SETTLING) MARK_END;
    counts[epoch] = changed_count;
    for (size_t i = 0; i < (size_t)PAGES * PAGE_WORDS; i++) checksum = (checksum ^ image[i]) * 0x100000001b3;
    if (epoch < SETTLING) continue;
    add_sample(&whole, ticks[epoch], counts[epoch]);
    add_sample(&faults, (fault_count - before_faults) * 1000, counts[epoch]);
  }
  require(checksum == expected_checksum, "an image that is wrong");
  // The same writes and as many copies, with nothing that finds out what changed.
  mprotect(memory, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE);
  state = 1;
  for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
    uint64_t before = counter();
    write_words(epoch, nothing);
    write_words(epoch, nothing);
    for (size_t page = 0; page < counts[epoch]; page++) save(page);
    uint64_t bare = counter() - before;
    if (epoch >= SETTLING) add_sample(&handling, ticks[epoch] > bare ? ticks[epoch] - bare : 0, counts[epoch]);
  }
  print_measurement(&whole);
  print_measurement(&handling);
  print_measurement(&faults);
}

static void measure_sigsegv(void) {
  prepare();
  start_noting();
  measure_way((const char *[]){"sigsegv-whole", "sigsegv", "sigsegv-faults"}, begin_noted, step, finish_noted);
}

static void measure_soft_dirty(void) {
  map_file = open("/proc/self/pagemap", O_RDONLY);
  clear_file = open("/proc/self/clear_refs", O_WRONLY);
  if (map_file < 0 || clear_file < 0) return;
  prepare();
  if (!clear_soft_dirty()) return;
  measure_way(
      (const char *[]){"soft-dirty-whole", "soft-dirty", "soft-dirty-faults"}, save_soft_dirty, nothing, nothing);
}

// In a process of its own: Linux takes the first process for one that handles no signal, and tells each on the console.
static void in_child(void (*body)(void)) {
  pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  finish_child(child);
}

void measure_collector(void) {
  in_child(measure_sigsegv);
  in_child(measure_soft_dirty);
}
