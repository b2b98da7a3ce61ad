/* SPDX-License-Identifier: Apache-2.0 */
/* measure.h: how a bench program, on either system, reads the counter and takes its samples.
 *
 * The counter is the time stamp counter. Under QEMU's -icount shift=0 it advances by one for each guest
 * instruction, kernel and program together, so a sample is instructions per operation; without icount it is
 * time, and the "clock" line at the end says how fast it ran. bench/README.md has the line format.
 *
 * Around each sample stand markers: no-ops by which ../plugin/events.c, when it is there, knows what to count.
 */
#ifndef MEASURE_H
#define MEASURE_H
#include <stdint.h>

#define SAMPLE_LIMIT 64

/* nopl 0x415000NN(%rax) */
#define MARK(code) __asm__ volatile(".byte 0x0f, 0x1f, 0x80, " #code ", 0x00, 0x50, 0x41" : : : "memory")
/* Spans of a measurement; two measurements that take turns use a channel each. */
#define MARK_BEGIN MARK(0x10)
#define MARK_END MARK(0x20)
#define MARK_BEGIN_SECOND MARK(0x11)
#define MARK_END_SECOND MARK(0x21)
/* The sums of a channel's spans; then the sums since power-on. One of them before each line of a measurement. */
#define MARK_SUM MARK(0x30)
#define MARK_SUM_SECOND MARK(0x31)
#define MARK_SUM_OF_ALL MARK(0x40)

struct measurement {
  const char *name, *metric;
  unsigned count;
  uint64_t operations;               /* in all samples together */
  uint64_t hundredths[SAMPLE_LIMIT]; /* ticks per operation, times 100 */
};

static inline uint64_t counter(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}

static inline void add_sample(struct measurement *measurement, uint64_t ticks, uint64_t operations) {
  if (measurement->count == SAMPLE_LIMIT) return;
  measurement->hundredths[measurement->count++] = ticks * 100 / operations;
  measurement->operations += operations;
}

/* Takes `samples` samples of a statement repeated `turns` times, which is so many operations, after one round that is
 * thrown away. */
#define SAMPLE_OF(measurement, turns, operations, statement)                \
  for (unsigned round = 0; round <= samples; round++) {                     \
    if (round > 0) MARK_BEGIN;                                              \
    uint64_t before = counter();                                            \
    for (int turn = 0; turn < (turns); turn++) { statement; }               \
    uint64_t ticks = counter() - before;                                    \
    if (round == 0) continue;                                               \
    MARK_END;                                                               \
    add_sample(measurement, ticks, (uint64_t)(operations));                 \
  }
#define SAMPLE(measurement, turns, statement) SAMPLE_OF(measurement, turns, turns, statement)

/* A permutation of the pages of a batch of 100: 37 has no factor in common with 100. */
static inline int scattered(int index) { return (index * 37 + 11) % 100; }
#endif
