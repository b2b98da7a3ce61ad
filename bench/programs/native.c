// SPDX-License-Identifier: Apache-2.0
// native.c: the bench program that calls Apus's kernel itself. It takes the place of a LibOS in the boot image.
//
// Measures every case it has, or those that the start command names, and prints the lines that bench/README.md
// describes. The whole program is one critical section, so that a slice's end does not interrupt it.
#include "ApusABI.h"
#include <stddef.h>

enum { PAGE = 4096, BATCH = 100, SAMPLES = 5 };

// Numbers of the kernel's calls (abi/ApusABI/SystemCall.swift).
enum {
  CALL_NULL = 0x00,
  CALL_SLICE_ALLOCATE = 0x08,
  CALL_FRAME_ALLOCATE = 0x10,
  CALL_FRAME_FREE = 0x11,
  CALL_TABLE_INSTALL = 0x18,
  CALL_PAGES_WRITE = 0x1a,
  CALL_PAGES_PROTECT = 0x1b,
  CALL_ENVIRONMENT_CREATE = 0x20,
  CALL_CONSOLE_WRITE = 0x30,
  CALL_POWER_OFF = 0x32,
};

// The first environment's capabilities, by slot.
enum { CAPABILITY_FAMILY = 0, CAPABILITY_CONSOLE = 1, CAPABILITY_MACHINE = 2 };

enum { ENTRY_PRESENT = 1, ENTRY_WRITABLE = 2 };
#define ENTRY_NO_EXECUTE (1ull << 63)
#define ENTRY_FRAME 0x000ffffffffff000ull

// A 2 MiB region of the LibOS's slot that nothing else uses; its first page stays mapped.
#define REGION (APUS_LIBOS_BASE + 0x40000000)
#define HOLE (REGION + 0x100000)

// native.S. Hidden: the linker need not make them reachable through a table.
#pragma GCC visibility push(hidden)
void exception_full(void), exception_minimal(void), slice_begin(void), partner_begin(void);
void yield_to(uint64_t environment);
extern char exception_stack_top[];
extern uint64_t partner_target;
#pragma GCC visibility pop

static struct apus_uarea *const area = (struct apus_uarea *)APUS_LIBOS_BASE;
static const struct apus_information *const information = (const struct apus_information *)APUS_INFORMATION_BASE;
static uint64_t root, frames[BATCH + 28], entries[BATCH];
uint64_t exceptions;

static inline uint64_t counter(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}

static inline int64_t call(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  register uint64_t fourth __asm__("r10") = d, fifth __asm__("r8") = e;
  uint64_t result = APUS_CALL_BIT | number;
  __asm__ volatile("syscall"
                   : "+a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth), "+r"(fifth)
                   :
                   : "rcx", "r11", "r9", "memory");
  return (int64_t)result;
}

// ---- output ----

static char text[1024];
static size_t used;

static void put(const char *words) {
  while (*words && used < sizeof text) text[used++] = *words++;
}

static void put_number(uint64_t value) {
  char digits[21], *at = digits + 20;
  *at = 0;
  do *--at = (char)('0' + value % 10);
  while (value /= 10);
  put(at);
}

static void put_hundredths(uint64_t value) {
  put_number(value / 100);
  put(".");
  text[used++] = (char)('0' + value / 10 % 10);
  text[used++] = (char)('0' + value % 10);
}

static void send(void) {
  put("\n");
  while (call(CALL_CONSOLE_WRITE, CAPABILITY_CONSOLE, 1, (uint64_t)text, used, 0) == 0) {}
  used = 0;
}

static void stop(void) {
  for (;;) call(CALL_POWER_OFF, CAPABILITY_MACHINE, 0, 0, 0, 0);
}

static void require(int condition, const char *what) {
  if (condition) return;
  put("@@ {\"failure\":\"");
  put(what);
  put("\"}");
  send();
  stop();
}

// ---- samples ----

struct measurement {
  const char *name, *metric;
  unsigned count;
  uint64_t hundredths[SAMPLES]; // ticks per operation, times 100
};

static void add_sample(struct measurement *measurement, uint64_t ticks, uint64_t operations) {
  if (measurement->count < SAMPLES) measurement->hundredths[measurement->count++] = ticks * 100 / operations;
}

static void print(const struct measurement *measurement) {
  put("@@ {\"case\":\"");
  put(measurement->name);
  put("\",\"metric\":\"");
  put(measurement->metric);
  put("\",\"samples\":[");
  for (unsigned i = 0; i < measurement->count; i++) {
    if (i) put(",");
    put_hundredths(measurement->hundredths[i]);
  }
  put("]}");
  send();
}

// Takes the samples of a statement repeated `operations` times, after one round that is thrown away.
#define SAMPLE(measurement, operations, statement)                         \
  for (unsigned round = 0; round <= SAMPLES; round++) {                    \
    uint64_t before = counter();                                           \
    for (int turn = 0; turn < (operations); turn++) { statement; }         \
    uint64_t ticks = counter() - before;                                   \
    if (round > 0) add_sample(measurement, ticks, (uint64_t)(operations)); \
  }

// ---- cases ----

static void measure_null(void) {
  struct measurement result = {.name = "null", .metric = "op"};
  SAMPLE(&result, 2000, call(CALL_NULL, 0, 0, 0, 0, 0));
  print(&result);
}

void count_exception(void) { exceptions++; }

static void measure_exception(void) {
  enum { TURNS = 1000 };
  area->exception_stack = (uint64_t)exception_stack_top;

  struct measurement full = {.name = "exception", .metric = "op"};
  area->exception_entry = (uint64_t)exception_full;
  SAMPLE(&full, TURNS, __asm__ volatile("int3" : : : "memory"));
  struct measurement minimal = {.name = "exception", .metric = "minimal"};
  area->exception_entry = (uint64_t)exception_minimal;
  SAMPLE(&minimal, TURNS, __asm__ volatile("int3" : : : "memory"));
  require(exceptions == 2 * TURNS * (SAMPLES + 1), "exceptions that were not delivered");
  print(&full);
  print(&minimal);
}

static void allocate(int count) {
  int done = 0;
  while (done < count) {
    int64_t taken = call(
        CALL_FRAME_ALLOCATE, CAPABILITY_FAMILY, (uint64_t)(frames + done), (uint64_t)(count - done < 64 ? count - done : 64),
        0, 0);
    require(taken > 0, "frames");
    done += (int)taken;
  }
}

static void release(int count) {
  require(call(CALL_FRAME_FREE, CAPABILITY_FAMILY, (uint64_t)frames, (uint64_t)count, 0, 0) == count, "giving frames back");
}

static void write_entries(uint64_t address, int count) {
  require(
      call(CALL_PAGES_WRITE, CAPABILITY_FAMILY | CAPABILITY_FAMILY << 8, root, address, (uint64_t)count, (uint64_t)entries) ==
          count,
      "mapping");
}

static void map_frames(uint64_t address, int count) {
  for (int page = 0; page < count; page++)
    entries[page] = frames[page] << 12 | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE;
  write_entries(address, count);
}

static void unmap(uint64_t address, int count) {
  for (int page = 0; page < count; page++) entries[page] = 0;
  write_entries(address, count);
}

static void touch(uint64_t address, int count) {
  for (int page = 0; page < count; page++) *(volatile char *)(address + (uint64_t)page * PAGE) = 1;
}

static void map_touch_unmap(int count) {
  allocate(count);
  map_frames(HOLE, count);
  touch(HOLE, count);
  unmap(HOLE, count);
  release(count);
}

// Gives the region its page tables and its first page.
static void populate(void) {
  static int done;
  if (done) return;
  done = 1;
  for (uint64_t level = 2; level > 0; level--) {
    allocate(1);
    require(call(CALL_TABLE_INSTALL, CAPABILITY_FAMILY, root, REGION, level, frames[0]) == 0, "page tables");
  }
  allocate(1);
  map_frames(REGION, 1);
  touch(REGION, 1);
}

static void measure_map1(void) {
  populate();
  struct measurement result = {.name = "map1", .metric = "op"};
  SAMPLE(&result, 500, map_touch_unmap(1));
  print(&result);
}

// 100 touched pages lose or regain the right to be written, in one call.
static void protect(uint64_t set, uint64_t keep) {
  require(
      call(CALL_PAGES_PROTECT, CAPABILITY_FAMILY | CAPABILITY_FAMILY << 8, root, HOLE, BATCH | set << 16, keep) == BATCH,
      "protecting");
}

static void measure_map100(void) {
  enum { TURNS = 40 };
  populate();
  allocate(BATCH);
  map_frames(HOLE, BATCH);
  struct measurement losing = {.name = "map100", .metric = "op"};
  struct measurement regaining = {.name = "map100", .metric = "unprotect"};
  for (unsigned round = 0; round <= SAMPLES; round++) {
    uint64_t protecting = 0, unprotecting = 0;
    for (int turn = 0; turn < TURNS; turn++) {
      touch(HOLE, BATCH);
      uint64_t before = counter();
      protect(0, ~(uint64_t)ENTRY_WRITABLE);
      uint64_t between = counter();
      protect(ENTRY_WRITABLE, ~0ull);
      unprotecting += counter() - between;
      protecting += between - before;
    }
    if (round == 0) continue;
    add_sample(&losing, protecting, TURNS);
    add_sample(&regaining, unprotecting, TURNS);
  }
  print(&losing);
  print(&regaining);
  unmap(HOLE, BATCH);
  release(BATCH);

  struct measurement whole = {.name = "map100", .metric = "map"};
  SAMPLE(&whole, 20, map_touch_unmap(BATCH));
  print(&whole);
}

// The caller's own handle: its slot plus one, and its generation.
static uint64_t own_handle(void) {
  const struct apus_environment *environments =
      (const struct apus_environment *)(APUS_INFORMATION_BASE + information->environment_table_offset);
  for (uint64_t slot = 0; slot < information->environment_count; slot++)
    if (environments[slot].state == APUS_ENVIRONMENT_RUNNABLE && environments[slot].root == root)
      return (uint64_t)environments[slot].generation << 32 | (slot + 1);
  return 0;
}

// A second environment in an address space of its own, which shares the program's memory.
static uint64_t make_partner(void) {
  const uint64_t *top = (const uint64_t *)(0xffff000000000000 | (uint64_t)APUS_TABLES_SLOT << 39 |
                                           (uint64_t)APUS_TABLES_SLOT << 30 | (uint64_t)APUS_TABLES_SLOT << 21 |
                                           (uint64_t)APUS_TABLES_SLOT << 12);
  uint64_t shared = (top[APUS_LIBOS_BASE >> 39 & 511] & ENTRY_FRAME) >> 12;
  uint64_t address = REGION + PAGE;
  allocate(2);
  uint64_t other = frames[0], uarea = frames[1];
  require(call(CALL_TABLE_INSTALL, CAPABILITY_FAMILY, 0, 0, 4, other) == 0, "a second address space");
  require(call(CALL_TABLE_INSTALL, CAPABILITY_FAMILY, other, APUS_LIBOS_BASE, 3, shared) == 0, "sharing");
  frames[0] = uarea;
  map_frames(address, 1);
  struct apus_uarea *partner = (struct apus_uarea *)address;
  partner->critical = 1;
  partner->slice_begin_entry = (uint64_t)partner_begin;
  partner_target = own_handle();
  unmap(address, 1);
  int64_t handle = call(CALL_ENVIRONMENT_CREATE, CAPABILITY_FAMILY, other, uarea, address, 0);
  require(handle > 0, "a second environment");
  require(call(CALL_SLICE_ALLOCATE, CAPABILITY_FAMILY, ~0ull, (uint64_t)handle, 0, 0) >= 0, "a slice");
  return (uint64_t)handle;
}

static void measure_yield(void) {
  enum { TURNS = 2000 };
  populate();
  uint64_t partner = make_partner();
  area->slice_begin_entry = (uint64_t)slice_begin;
  const struct apus_environment *record =
      (const struct apus_environment *)(APUS_INFORMATION_BASE + information->environment_table_offset) +
      ((uint32_t)partner - 1);
  uint64_t begun = record->slice_upcalls;
  struct measurement result = {.name = "yield", .metric = "op"};
  SAMPLE(&result, TURNS, yield_to(partner));
  for (unsigned i = 0; i < result.count; i++) result.hundredths[i] /= 2;
  // At a slice's end the timeline decides who is next, once.
  uint64_t turns = record->slice_upcalls - begun, own = TURNS * (SAMPLES + 1);
  require(turns + own / 10 >= own && turns <= own + own / 10, "yields that do not alternate");
  print(&result);
}

static const struct {
  const char *name;
  void (*measure)(void);
} cases[] = {
    {"null", measure_null},     {"exception", measure_exception}, {"map1", measure_map1},
    {"map100", measure_map100}, {"yield", measure_yield},
};

// ---- the start command ----

static int equal(const char *left, const char *right) {
  while (*left && *left == *right) left++, right++;
  return *left == *right;
}

static const char *after(const char *words) {
  while (*words) words++;
  return words + 1;
}

// Whether the start command names a case, or none at all.
static int wanted(const char *name) {
  const struct apus_image *image = (const struct apus_image *)APUS_MODULE_BASE;
  const char *words = (const char *)APUS_MODULE_BASE + image->command_offset;
  while (*words) words = after(words);     // settings
  words = after(words + 1);                // the empty string, the program's path
  words = *words ? after(words) : words;   // argv[0]
  if (!*words) return 1;
  for (; *words; words = after(words))
    if (equal(words, name)) return 1;
  return 0;
}

void native_main(uint64_t first) {
  area->critical = 1;
  const struct apus_environment *environments =
      (const struct apus_environment *)(APUS_INFORMATION_BASE + information->environment_table_offset);
  uint64_t self = 0;
  while (environments[self].state != APUS_ENVIRONMENT_RUNNABLE) self++;
  root = environments[self].root;

  put("@@ {\"case\":\"boot\",\"metric\":\"op\",\"instructions\":");
  put_number(first);
  put("}");
  send();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (wanted(cases[i].name)) cases[i].measure();
  put("@@ {\"clock\":");
  put_number(information->ticks_per_second);
  put("}");
  send();
  put("@@ {\"end\":true}");
  send();
  stop();
}
