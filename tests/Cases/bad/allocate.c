// SPDX-License-Identifier: Apache-2.0
// allocate.c: a program that takes memory without end is killed, as Linux's out-of-memory killer would.
//
// apus: memory: 64M
// apus: status: 137
// apus: stderr-has: out of memory
#include <stdlib.h>
#include <string.h>

int main(void) {
  for (;;) {
    char *piece = malloc(1 << 20);
    if (!piece) return 1;
    memset(piece, 1, 1 << 20);
  }
}
