// SPDX-License-Identifier: Apache-2.0
// linux-memory.c: pages mapped, protected, touched and unmapped, and the seven figures of Appel and Li.
#define _GNU_SOURCE
#include "linux.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

static void fill_hole(char *hole) { munmap(hole - REGION / 2, PAGE); }

static void map_touch_unmap(char *address, int pages) {
  char *start = map(address, (size_t)pages * PAGE);
  touch(start, pages);
  munmap(start, (size_t)pages * PAGE);
}

void measure_map1(void) {
  char *hole = populated_hole();
  struct measurement populated = {.name = "map1", .metric = "mmap-populated"};
  SAMPLE(&populated, 500, map_touch_unmap(hole, 1));
  print_measurement(&populated);
  fill_hole(hole);

  struct measurement anywhere = {.name = "map1", .metric = "mmap"};
  SAMPLE(&anywhere, 500, map_touch_unmap(0, 1));
  print_measurement(&anywhere);

  // The same address, with nothing else in its 2 MiB region.
  char *alone = hole;
  struct measurement fresh = {.name = "map1", .metric = "mmap-fresh"};
  SAMPLE(&fresh, 500, map_touch_unmap(alone, 1));
  print_measurement(&fresh);

  struct measurement first = {.name = "map1", .metric = "first-touch"};
  for (unsigned round = 0; round <= samples; round++) {
    char *start = map(0, 256 * PAGE);
    madvise(start, 256 * PAGE, MADV_NOHUGEPAGE);
    if (round > 0) MARK_BEGIN;
    uint64_t before = counter();
    touch(start, 256);
    uint64_t ticks = counter() - before;
    if (round > 0) {
      MARK_END;
      add_sample(&first, ticks, 256);
    }
    munmap(start, 256 * PAGE);
  }
  print_measurement(&first);
}

void measure_map100(void) {
  char *hole = populated_hole();
  struct measurement whole = {.name = "map100", .metric = "mmap"};
  SAMPLE(&whole, 20, map_touch_unmap(hole, BATCH));
  print_measurement(&whole);
  fill_hole(hole);
}

// One munmap of 100 touched pages; an operation is one page.
static void unmap_batches(const char *metric, char *address) {
  enum { TURNS = 20 };
  struct measurement result = {.name = "unmap100", .metric = metric};
  for (unsigned round = 0; round <= samples; round++) {
    uint64_t ticks = 0;
    for (int turn = 0; turn < TURNS; turn++) {
      char *start = map(address, BATCH * PAGE);
      touch(start, BATCH);
      if (round > 0) MARK_BEGIN;
      uint64_t before = counter();
      munmap(start, BATCH * PAGE);
      ticks += counter() - before;
      if (round > 0) MARK_END;
    }
    if (round > 0) add_sample(&result, ticks, TURNS * BATCH);
  }
  print_measurement(&result);
}

void measure_unmap100(void) {
  char *hole = populated_hole();
  unmap_batches("munmap-populated", hole);
  fill_hole(hole);
  unmap_batches("munmap", 0);
}

// ---- Appel and Li, "Virtual memory primitives for user programs", 1991 ----

static char *pages;

static void measure_trap(void) {
  char *page = map(0, PAGE);
  touch(page, 1);
  mprotect(page, PAGE, PROT_READ);
  install(SIGSEGV, step_over);
  struct measurement trap = {.name = "appel", .metric = "trap"};
  // movb %al, (%rax): two bytes.
  SAMPLE(&trap, 500, __asm__ volatile(".byte 0x88, 0x00" : : "a"(page) : "memory"));
  print_measurement(&trap);
  signal(SIGSEGV, SIG_DFL);
  munmap(page, PAGE);
}

static void measure_protection(void) {
  enum { TURNS = 40 };
  char *page = map(0, PAGE);
  touch(page, 1);
  struct measurement one = {.name = "appel", .metric = "prot1"};
  SAMPLE(&one, 1000, mprotect(page, PAGE, turn & 1 ? PROT_READ | PROT_WRITE : PROT_READ));
  print_measurement(&one);
  munmap(page, PAGE);

  // 100 touched pages lose or regain the right to be written, in one call.
  char *start = map(0, BATCH * PAGE);
  struct measurement protect = {.name = "appel", .metric = "prot100"};
  struct measurement unprotect = {.name = "appel", .metric = "unprot100"};
  for (unsigned round = 0; round <= samples; round++) {
    uint64_t protecting = 0, unprotecting = 0;
    for (int turn = 0; turn < TURNS; turn++) {
      touch(start, BATCH);
      if (round > 0) MARK_BEGIN;
      uint64_t before = counter();
      mprotect(start, BATCH * PAGE, PROT_READ);
      protecting += counter() - before;
      if (round > 0) MARK_END;
      if (round > 0) MARK_BEGIN_SECOND;
      before = counter();
      mprotect(start, BATCH * PAGE, PROT_READ | PROT_WRITE);
      unprotecting += counter() - before;
      if (round > 0) MARK_END_SECOND;
    }
    if (round == 0) continue;
    add_sample(&protect, protecting, TURNS);
    add_sample(&unprotect, unprotecting, TURNS);
  }
  print_measurement(&protect);
  print_second_measurement(&unprotect);
  munmap(start, BATCH * PAGE);
}

static char *page_of(siginfo_t *information) {
  return (char *)((uintptr_t)information->si_addr & ~(uintptr_t)(PAGE - 1));
}

// Protects another page, unprotects this one.
static void appel1_handler(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)context;
  char *page = page_of(information);
  size_t next = ((size_t)(page - pages) / PAGE + 37) % BATCH;
  mprotect(pages + next * PAGE, PAGE, PROT_READ);
  mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static void appel2_handler(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)context;
  mprotect(page_of(information), PAGE, PROT_READ | PROT_WRITE);
}

static void measure_faults(void) {
  enum { TURNS = 10 };
  pages = map(0, BATCH * PAGE);
  touch(pages, BATCH);
  install(SIGSEGV, appel1_handler);
  mprotect(pages, PAGE, PROT_READ);
  size_t page = 0;
  struct measurement first = {.name = "appel", .metric = "appel1"};
  SAMPLE(&first, 500, {
    ((volatile char *)pages)[page * PAGE] = 3;
    page = (page + 37) % BATCH;
  });
  print_measurement(&first);

  // Protects 100 pages and touches each in a scattered order; the handler unprotects it. An operation is one page.
  mprotect(pages, BATCH * PAGE, PROT_READ | PROT_WRITE);
  install(SIGSEGV, appel2_handler);
  struct measurement second = {.name = "appel", .metric = "appel2"};
  SAMPLE_OF(&second, TURNS, TURNS * BATCH, {
    mprotect(pages, BATCH * PAGE, PROT_READ);
    for (int i = 0; i < BATCH; i++) ((volatile char *)pages)[(size_t)scattered(i) * PAGE] = 4;
  });
  print_measurement(&second);
  signal(SIGSEGV, SIG_DFL);
  munmap(pages, BATCH * PAGE);
}

// Whether a page was written since: bit 55 of its word in /proc/self/pagemap (Linux, pagemap.rst), where that is.
static void measure_dirty(void) {
  int file = open("/proc/self/pagemap", O_RDONLY);
  if (file < 0) return;
  char *page = map(0, PAGE);
  touch(page, 1);
  uint64_t word = 0, dirty = 0, turns = 0;
  struct measurement result = {.name = "appel", .metric = "dirty"};
  SAMPLE(&result, 500, {
    turns += pread(file, &word, sizeof word, (off_t)((uintptr_t)page / PAGE * sizeof word)) == sizeof word;
    dirty += word >> 55 & 1;
  });
  close(file);
  munmap(page, PAGE);
  // Another system's file may not tell.
  if (turns == 0 || dirty != turns) return;
  print_measurement(&result);
}

void measure_appel(void) {
  measure_trap();
  measure_protection();
  measure_faults();
  measure_dirty();
}
