/* SPDX-License-Identifier: Apache-2.0
   ready.c: a wakeup predicate: one of three queues is not empty, or the alarm has rung. */
#include "apus.h"

struct words {
  struct {
    u64 written, read;
  } queue[3];
  u64 alarm; /* 0: none is set */
};

PROGRAM u64 ready(const struct words *words, u64 now) {
  for (int i = 0; i < 3; i++)
    if (words->queue[i].written != words->queue[i].read) return 1;
  return words->alarm && now >= words->alarm;
}
