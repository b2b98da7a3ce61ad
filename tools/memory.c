/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c: the memory functions that compilers call on their own. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  void *result = to;
  size_t quads = count >> 3;
  count &= 7;
  __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(quads)::"memory");
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
  return result;
}

void *memmove(void *to, const void *from, size_t count) {
  if ((uintptr_t)to - (uintptr_t)from >= count) return memcpy(to, from, count);
  uint8_t *t = (uint8_t *)to + count;
  const uint8_t *f = (const uint8_t *)from + count;
  while (count & 7) { *--t = *--f; count--; }
  while (count) {
    t -= 8, f -= 8, count -= 8;
    *(uint64_t *)t = *(const uint64_t *)f;
  }
  return to;
}

void *memset(void *to, int value, size_t count) {
  void *result = to;
  uint64_t pattern = (uint8_t)value * 0x0101010101010101u;
  size_t quads = count >> 3;
  count &= 7;
  __asm__ volatile("rep stosq" : "+D"(to), "+c"(quads) : "a"(pattern) : "memory");
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(pattern) : "memory");
  return result;
}

int memcmp(const void *a, const void *b, size_t count) {
  const uint8_t *x = a, *y = b;
  for (; count; count--, x++, y++)
    if (*x != *y) return *x - *y;
  return 0;
}
