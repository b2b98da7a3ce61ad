// SPDX-License-Identifier: Apache-2.0
// native-memory.c: frames and pages by the kernel's own calls, and the seven figures of Appel and Li.
#include "native.h"

uint64_t root, frames[BATCH + 28], entries[BATCH];
static const uint64_t nothing[BATCH];

void allocate(int capability, int count) {
  int done = 0;
  while (done < count) {
    int64_t taken = call(
        CALL_FRAME_ALLOCATE, (uint64_t)capability, (uint64_t)(frames + done),
        (uint64_t)(count - done < 64 ? count - done : 64), 0, 0);
    require(taken > 0, "frames");
    done += (int)taken;
  }
}

void release(int count) {
  int64_t given = call(CALL_FRAME_FREE, FAMILY, (uint64_t)frames, (uint64_t)count, 0, 0);
  require(given == count, "giving frames back");
}

void write_entries(int tables, int owner, uint64_t space, uint64_t address, int count) {
  int64_t done = call(
      CALL_PAGES_WRITE, (uint64_t)(tables | owner << 8), space, address, (uint64_t)count, (uint64_t)entries);
  require(done == count, "mapping");
}

void map_frames(uint64_t address, int count) {
  for (int page = 0; page < count; page++)
    entries[page] = frames[page] << 12 | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE;
  write_entries(FAMILY, FAMILY, root, address, count);
}

void unmap(uint64_t address, int count) {
  int64_t done = call(CALL_PAGES_WRITE, FAMILY | FAMILY << 8, root, address, (uint64_t)count, (uint64_t)nothing);
  require(done == count, "unmapping");
}

static void touch(uint64_t address, int count) {
  for (int page = 0; page < count; page++) *(volatile char *)(address + (uint64_t)page * PAGE) = 1;
}

// Zeroed frames, taken and mapped in one call for up to 64.
static void fill(uint64_t address, int count) {
  for (int done = 0; done < count;) {
    int some = count - done < 64 ? count - done : 64;
    int64_t filled = call(
        CALL_PAGES_FILL, FAMILY | FAMILY << 8, root, address + (uint64_t)done * PAGE, (uint64_t)some,
        ENTRY_PRESENT | ENTRY_WRITABLE | 0x1000 /* no-execute */);
    require(filled > 0, "filling pages");
    done += (int)(filled & 0xffff);
  }
}

// Unmaps pages, and gives their frames back or keeps them, in one call.
static void release_pages(uint64_t address, int count, int keep) {
  int64_t done = call(
      CALL_PAGES_RELEASE, FAMILY | FAMILY << 8, root, address, (uint64_t)count, (uint64_t)keep);
  require(done == count, "releasing pages");
}

static void map_touch_unmap(int count) {
  fill(HOLE, count);
  touch(HOLE, count);
  release_pages(HOLE, count, 0);
}

// Gives the region its page tables and its first page.
void populate(void) {
  static int done;
  if (done) return;
  done = 1;
  for (uint64_t level = 2; level > 0; level--) {
    allocate(FAMILY, 1);
    require(call(CALL_TABLE_INSTALL, FAMILY, root, REGION, level, frames[0]) == 0, "page tables");
  }
  allocate(FAMILY, 1);
  map_frames(REGION, 1);
  touch(REGION, 1);
}

// The same where nothing is mapped near: a page table comes and goes with the page.
static void map_touch_unmap_alone(void) {
  allocate(FAMILY, 2);
  require(call(CALL_TABLE_INSTALL, FAMILY, root, LONELY, 1, frames[1]) == 0, "a page table");
  map_frames(LONELY, 1);
  touch(LONELY, 1);
  require(call(CALL_TABLE_REMOVE, FAMILY, root, LONELY, 1, 0) == (int64_t)frames[1], "a page table removed");
  release(2);
}

void measure_map1(void) {
  populate();
  struct measurement result = {.name = "map1", .metric = "op"};
  SAMPLE(&result, 500, map_touch_unmap(1));
  print_measurement(&result);
  struct measurement alone = {.name = "map1", .metric = "fresh"};
  SAMPLE(&alone, 500, map_touch_unmap_alone());
  print_measurement(&alone);
}

void measure_map100(void) {
  populate();
  struct measurement whole = {.name = "map100", .metric = "op"};
  SAMPLE(&whole, 20, map_touch_unmap(BATCH));
  print_measurement(&whole);
}

// 100 touched pages are unmapped and their frames given back, as munmap does. An operation is one page. The second
// channel counts the unmapping alone, which is less than munmap's work.
void measure_unmap100(void) {
  enum { TURNS = 20 };
  populate();
  struct measurement both = {.name = "unmap100", .metric = "op"}, only = {.name = "unmap100", .metric = "unmap-only"};
  for (unsigned round = 0; round <= samples; round++) {
    uint64_t ticks = 0, unmapping = 0;
    for (int turn = 0; turn < TURNS; turn++) {
      allocate(FAMILY, BATCH);
      map_frames(HOLE, BATCH);
      touch(HOLE, BATCH);
      if (round > 0) MARK_BEGIN;
      uint64_t before = counter();
      release_pages(HOLE, BATCH, 0);
      ticks += counter() - before;
      if (round > 0) MARK_END;

      allocate(FAMILY, BATCH);
      map_frames(HOLE, BATCH);
      touch(HOLE, BATCH);
      if (round > 0) MARK_BEGIN_SECOND;
      before = counter();
      release_pages(HOLE, BATCH, 1);
      unmapping += counter() - before;
      if (round > 0) MARK_END_SECOND;
      release(BATCH);
    }
    if (round == 0) continue;
    add_sample(&both, ticks, TURNS * BATCH);
    add_sample(&only, unmapping, TURNS * BATCH);
  }
  print_measurement(&both);
  print_second_measurement(&only);
}

// ---- Appel and Li ----

// Pages lose (set 0) or regain the right to be written, in one call.
static void protect(uint64_t address, uint64_t count) {
  int64_t done = call(CALL_PAGES_PROTECT, FAMILY | FAMILY << 8, root, address, count, ~(uint64_t)ENTRY_WRITABLE);
  require(done == (int64_t)count, "protecting");
}
static void unprotect(uint64_t address, uint64_t count) {
  int64_t done = call(CALL_PAGES_PROTECT, FAMILY | FAMILY << 8, root, address, count | ENTRY_WRITABLE << 16, ~0ull);
  require(done == (int64_t)count, "unprotecting");
}

static uint64_t faults;

// Goes on after a store of two bytes.
static void step_over(void) {
  faults++;
  area->exception.rip += 2;
}

static uint64_t faulting_page(void) {
  faults++;
  return area->exception.address & ~(uint64_t)(PAGE - 1);
}

// Protects another page, unprotects this one.
static void appel1_handler(void) {
  uint64_t page = faulting_page(), index = (page - HOLE) / PAGE;
  protect(HOLE + (index + 37) % BATCH * PAGE, 1);
  unprotect(page, 1);
}

static void appel2_handler(void) { unprotect(faulting_page(), 1); }

static void measure_faults(void) {
  enum { TURNS = 10 };
  area->exception_stack = (uint64_t)exception_stack_top;
  area->exception_entry = (uint64_t)exception_full;

  faults = 0;
  exception_handler = step_over;
  protect(HOLE, 1);
  struct measurement trap = {.name = "appel", .metric = "trap"};
  // movb %al, (%rax): two bytes.
  SAMPLE(&trap, 500, __asm__ volatile(".byte 0x88, 0x00" : : "a"(HOLE) : "memory"));
  require(faults == 500 * (samples + 1), "traps that were not delivered");
  print_measurement(&trap);

  faults = 0;
  exception_handler = appel1_handler;
  uint64_t page = 0;
  struct measurement first = {.name = "appel", .metric = "appel1"};
  SAMPLE(&first, 500, {
    *(volatile char *)(HOLE + page * PAGE) = 3;
    page = (page + 37) % BATCH;
  });
  require(faults == 500 * (samples + 1), "faults that were not delivered");
  print_measurement(&first);

  // Protects 100 pages and touches each in a scattered order; the handler unprotects it. An operation is one page.
  faults = 0;
  exception_handler = appel2_handler;
  unprotect(HOLE, BATCH);
  struct measurement second = {.name = "appel", .metric = "appel2"};
  SAMPLE_OF(&second, TURNS, TURNS * BATCH, {
    protect(HOLE, BATCH);
    for (int i = 0; i < BATCH; i++) *(volatile char *)(HOLE + (uint64_t)scattered(i) * PAGE) = 4;
  });
  require(faults == TURNS * BATCH * (samples + 1), "faults that were not delivered");
  print_measurement(&second);
}

static void measure_protection(void) {
  enum { TURNS = 40 };
  struct measurement one = {.name = "appel", .metric = "prot1"};
  SAMPLE(&one, 1000, {
    if (turn & 1) unprotect(HOLE, 1);
    else protect(HOLE, 1);
  });
  print_measurement(&one);

  struct measurement losing = {.name = "appel", .metric = "prot100"};
  struct measurement regaining = {.name = "appel", .metric = "unprot100"};
  for (unsigned round = 0; round <= samples; round++) {
    uint64_t protecting = 0, unprotecting = 0;
    for (int turn = 0; turn < TURNS; turn++) {
      touch(HOLE, BATCH);
      if (round > 0) MARK_BEGIN;
      uint64_t before = counter();
      protect(HOLE, BATCH);
      protecting += counter() - before;
      if (round > 0) MARK_END;
      if (round > 0) MARK_BEGIN_SECOND;
      before = counter();
      unprotect(HOLE, BATCH);
      unprotecting += counter() - before;
      if (round > 0) MARK_END_SECOND;
    }
    if (round == 0) continue;
    add_sample(&losing, protecting, TURNS);
    add_sample(&regaining, unprotecting, TURNS);
  }
  print_measurement(&losing);
  print_second_measurement(&regaining);
}

// Whether a page was written: a bit of its entry, read without the kernel.
static void measure_dirty(void) {
  touch(HOLE, 1);
  uint64_t dirty = 0;
  struct measurement result = {.name = "appel", .metric = "dirty"};
  SAMPLE(&result, 500, dirty += (entry_of(HOLE) & ENTRY_DIRTY) != 0);
  require(dirty == 500 * (samples + 1), "a touched page that is not dirty");
  print_measurement(&result);
}

void measure_appel(void) {
  populate();
  allocate(FAMILY, BATCH);
  uint64_t kept[BATCH];
  for (int page = 0; page < BATCH; page++) kept[page] = frames[page];
  map_frames(HOLE, BATCH);
  touch(HOLE, BATCH);
  measure_faults();
  measure_protection();
  measure_dirty();
  unmap(HOLE, BATCH);
  for (int page = 0; page < BATCH; page++) frames[page] = kept[page];
  release(BATCH);
}
