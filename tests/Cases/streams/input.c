// SPDX-License-Identifier: Apache-2.0
// input.c: input arrives whole whatever the sizes of the reads, and then its end, which stays.
//
// apus: compare: host
// apus: stdin: input.data
#include <stdio.h>
#include <unistd.h>

int main(void) {
  unsigned long count = 0, sum = 0, position = 0;
  unsigned char piece[977];
  for (;;) {
    ssize_t got = read(0, piece, 1 + count % sizeof piece);
    if (got < 0) return 1;
    if (got == 0) break;
    for (ssize_t index = 0; index < got; index++) sum += ++position * piece[index];
    count += (unsigned long)got;
  }
  printf("%lu bytes, sum %lu, then %zd\n", count, sum, read(0, piece, 1));
  return 0;
}
