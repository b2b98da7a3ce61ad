/* SPDX-License-Identifier: Apache-2.0 */
/* measure.h: how a bench program reads the counter, takes its samples and prints them.
 *
 * The counter is the time stamp counter. Under QEMU's -icount shift=0 it advances by one for each guest
 * instruction, kernel and program together, so a sample is instructions per operation; without icount it is
 * time, and the "clock" line at the end says how fast it ran. bench/README.md has the line format.
 */
#ifndef MEASURE_H
#define MEASURE_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SAMPLE_LIMIT 64

struct measurement {
  const char *name, *metric;
  unsigned count;
  uint64_t hundredths[SAMPLE_LIMIT]; /* ticks per operation, times 100 */
};

static inline uint64_t counter(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}

static inline uint64_t monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void add_sample(struct measurement *measurement, uint64_t ticks, uint64_t operations) {
  if (measurement->count < SAMPLE_LIMIT)
    measurement->hundredths[measurement->count++] = ticks * 100 / operations;
}

static int order(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return a < b ? -1 : a > b;
}

static inline void print_hundredths(uint64_t value) {
  printf("%llu.%02llu", (unsigned long long)(value / 100), (unsigned long long)(value % 100));
}

/* One line for the host. "instructions" is the median sample. */
static inline void print_measurement(const struct measurement *measurement) {
  uint64_t sorted[SAMPLE_LIMIT];
  unsigned count = measurement->count;
  if (count == 0) return;
  for (unsigned i = 0; i < count; i++) sorted[i] = measurement->hundredths[i];
  qsort(sorted, count, sizeof *sorted, order);
  printf("@@ {\"case\":\"%s\",\"metric\":\"%s\",\"instructions\":", measurement->name, measurement->metric);
  print_hundredths((sorted[(count - 1) / 2] + sorted[count / 2]) / 2);
  printf(",\"samples\":[");
  for (unsigned i = 0; i < count; i++) {
    if (i) putchar(',');
    print_hundredths(measurement->hundredths[i]);
  }
  printf("]}\n");
  fflush(stdout);
}
#endif
