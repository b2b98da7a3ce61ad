// SPDX-License-Identifier: Apache-2.0
// native.c: the bench program that calls Apus's kernel itself. It takes the place of a LibOS in the boot image.
//
// Measures every case it has, or those that the start command names, and prints the lines that bench/README.md
// describes. The whole program is one critical section, so that a slice's end does not interrupt it.
#include "native.h"

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
  while (call(CALL_CONSOLE_WRITE, CONSOLE, 1, (uint64_t)text, used, 0) == 0) {}
  used = 0;
}

static void stop(void) {
  for (;;) call(CALL_POWER_OFF, MACHINE, 0, 0, 0, 0);
}

void require(int condition, const char *what) {
  if (condition) return;
  put("@@ {\"failure\":\"");
  put(what);
  put("\"}");
  send();
  stop();
}

static void print_line(const struct measurement *measurement) {
  put("@@ {\"case\":\"");
  put(measurement->name);
  put("\",\"metric\":\"");
  put(measurement->metric);
  put("\",\"operations\":");
  put_number(measurement->operations);
  put(",\"samples\":[");
  for (unsigned i = 0; i < measurement->count; i++) {
    if (i) put(",");
    put_hundredths(measurement->hundredths[i]);
  }
  put("]}");
  send();
}

void print_measurement(const struct measurement *measurement) {
  MARK_SUM;
  print_line(measurement);
}

void print_second_measurement(const struct measurement *measurement) {
  MARK_SUM_SECOND;
  print_line(measurement);
}

// ---- cases ----

static void measure_null(void) {
  struct measurement result = {.name = "null", .metric = "op"};
  SAMPLE(&result, 2000, call(CALL_NULL, 0, 0, 0, 0, 0));
  print_measurement(&result);
}

uint64_t exceptions;
void (*exception_handler)(void);
static void count_exception(void) { exceptions++; }

static void measure_exception(void) {
  enum { TURNS = 1000 };
  area->exception_stack = (uint64_t)exception_stack_top;
  exception_handler = count_exception;

  struct measurement full = {.name = "exception", .metric = "op"};
  area->exception_entry = (uint64_t)exception_full;
  SAMPLE(&full, TURNS, __asm__ volatile("int3" : : : "memory"));
  print_measurement(&full);
  struct measurement minimal = {.name = "exception", .metric = "minimal"};
  area->exception_entry = (uint64_t)exception_minimal;
  SAMPLE(&minimal, TURNS, __asm__ volatile("int3" : : : "memory"));
  print_measurement(&minimal);
  require(exceptions == 2 * TURNS * (samples + 1), "exceptions that were not delivered");
}

static const struct apus_environment *environments(void) {
  return (const struct apus_environment *)(APUS_INFORMATION_BASE + information->environment_table_offset);
}

const struct apus_environment *record_of(uint64_t handle) { return environments() + ((uint32_t)handle - 1); }

// The slot plus one, and its generation. At the start nobody else is there.
static uint64_t own;
uint64_t own_handle(void) { return own; }

static void find_own_handle(void) {
  uint64_t slot = 0;
  while (environments()[slot].state != APUS_ENVIRONMENT_RUNNABLE) slot++;
  own = (uint64_t)environments()[slot].generation << 32 | (slot + 1);
  root = environments()[slot].root;
}

static const struct {
  const char *name;
  void (*measure)(void);
} cases[] = {
    {"null", measure_null},     {"exception", measure_exception}, {"appel", measure_appel},
    {"map1", measure_map1},     {"map100", measure_map100},       {"unmap100", measure_unmap100},
    {"yield", measure_yield},   {"switch", measure_switch},       {"pct", measure_transfer},
    // The last leaves a reader behind, who would take the bytes of the one before.
    {"rpc", measure_call},      {"pipe", measure_transfer_pipe},  {"pipe", measure_pipe},
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
  find_own_handle();

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
