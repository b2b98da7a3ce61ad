// SPDX-License-Identifier: Apache-2.0
// binary.c: every byte value passes, in every order of two, on standard output and standard error apart.
//
// apus: compare: host
// apus: stderr-has: only this
#include <unistd.h>

int main(void) {
  unsigned char pairs[512];
  for (int first = 0; first < 256; first++) {
    for (int second = 0; second < 256; second++) {
      pairs[2 * second] = (unsigned char)first;
      pairs[2 * second + 1] = (unsigned char)second;
    }
    if (write(1, pairs, sizeof pairs) != (ssize_t)sizeof pairs) return 1;
  }
  return write(2, "only this\n", 10) != 10;
}
