// SPDX-License-Identifier: Apache-2.0
// paging.c: memory keeps what was written to it while the kernel asks for a part of it back, again and again.
//
// 512 frames are asked for twice a second; the program has 4,096 pages of its own and looks at all of them.
//
// apus: compare: host
// apus: icount: yes
// apus: option: --pager clock --swap 10000 --revoke 512/500
// apus: memory: 128M
// apus: timeout: 300

#include "check.h"

#include <pthread.h>

enum { PAGE = 4096, PAGES = 4096, WORDS = PAGE / 8 };

static uint64_t *memory;

// What word `word` of page `page` is in a generation; some pages stay zero.
static uint64_t pattern(unsigned page, unsigned word, unsigned generation) {
  if (page % 7 == 0) return 0;
  return (page * 0x9e3779b97f4a7c15u + word) ^ (uint64_t)generation << 40;
}

static void fill(unsigned page, unsigned generation) {
  if (page % 7 == 0) return;
  for (unsigned word = 0; word < WORDS; word++) memory[page * WORDS + word] = pattern(page, word, generation);
}

// How many words of a range of pages are not what they should be; `generation` says each page's.
static unsigned wrong(unsigned first, unsigned last, unsigned (*generation)(unsigned)) {
  unsigned count = 0;
  for (unsigned page = first; page < last; page++)
    for (unsigned word = 0; word < WORDS; word += page % 3 + 1)
      if (memory[page * WORDS + word] != pattern(page, word, generation(page))) count++;
  return count;
}

static unsigned pass;
static unsigned zero(unsigned page) { (void)page; return 0; }
static unsigned rewritten(unsigned page) {
  // Page p was rewritten in every pass that is p modulo 5.
  unsigned last = 0;
  for (unsigned p = 1; p <= pass; p++) if (p % 5 == page % 5) last = p;
  return last;
}
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}
static void rest(int milliseconds) {
  struct timespec time = {0, milliseconds * 1000000L};
  nanosleep(&time, NULL);
}

static void rounds(void) {
  double end = now() + 0.5;
  unsigned bad = 0;
  do {
    pass++;
    for (unsigned page = 0; page < PAGES; page++) if (page % 5 == pass % 5) fill(page, pass);
    bad += wrong(0, PAGES, rewritten);
  } while (now() < end);
  say("wrong words while frames are asked for: %u\n", bad);
  rest(250);
  say("wrong words after a rest: %u\n", wrong(0, PAGES, rewritten));
}

static void files(void) {
  int own = open("/proc/self/exe", O_RDONLY);
  size_t size = 64 * PAGE;
  unsigned char *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, own, 0);
  unsigned char *original = malloc(size);
  if (mapped == MAP_FAILED || pread(own, original, size, 0) != (ssize_t)size) say("no file\n");
  for (size_t at = 0; at < size; at += 3 * PAGE) mapped[at + 100] ^= 0x5a;
  // Written, but the same as before.
  for (size_t at = PAGE; at < size; at += 3 * PAGE) *(volatile unsigned char *)&mapped[at] = mapped[at];
  rest(250);
  unsigned bad = 0;
  for (size_t at = 0; at < size; at++) {
    unsigned char expected = original[at];
    if (at % (3 * PAGE) == 100) expected ^= 0x5a;
    if (mapped[at] != expected) bad++;
  }
  say("wrong bytes of a private mapping: %u\n", bad);
  munmap(mapped, size);
  free(original);
  close(own);
}

static void transfers(void) {
  char name[] = "/tmp/paging-XXXXXX";
  int file = mkstemp(name);
  unlink(name);
  rest(150);
  size_t size = (size_t)512 * PAGE;
  ssize_t out = write(file, memory, size);
  uint64_t *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(copy, 1, size);
  rest(150);
  ssize_t in = pread(file, copy, size, 0);
  say("written %zd, read %zd, equal %d\n", out, in, memcmp(copy, memory, size) == 0);
  munmap(copy, size);
  close(file);
}

static void moves(void) {
  rest(150);
  size_t size = (size_t)PAGES * PAGE;
  void *place = mremap(memory, size, size + 64 * PAGE, MREMAP_MAYMOVE);
  if (place == MAP_FAILED) say("not moved\n");
  memory = place;
  say("wrong words after a move: %u\n", wrong(0, PAGES, rewritten));
}

static void *half(void *argument) {
  unsigned first = argument ? PAGES / 2 : 0;
  uintptr_t bad = 0;
  double end = now() + 0.3;
  do bad += wrong(first, first + PAGES / 2, rewritten); while (now() < end);
  return (void *)bad;
}

static void threads(void) {
  pthread_t threads[2];
  void *bad[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, half, (void *)(uintptr_t)i);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], &bad[i]);
  say("wrong words for two threads: %u\n", (unsigned)((uintptr_t)bad[0] + (uintptr_t)bad[1]));
}

int main(void) {
  memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (unsigned page = 0; page < PAGES; page++) fill(page, 0);
  say("wrong words at first: %u\n", wrong(0, PAGES, zero));
  rounds();
  files();
  transfers();
  moves();
  threads();
  return 0;
}
