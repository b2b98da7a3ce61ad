// SPDX-License-Identifier: Apache-2.0
// paging-hidden.c: pages that mprotect made inaccessible go when frames are asked back, and are what they were when they
// come back, for a child, too.
//
// 150 frames are asked for twice a second; the program has little but such pages.
//
// apus: compare: host
// apus: icount: yes
// apus: option: --pager clock --swap 10000 --revoke 150/500
// apus: memory: 128M
// apus: timeout: 300

#include "check.h"

enum { PAGE = 4096, PAGES = 1500, WORDS = PAGE / 8 };

static uint64_t *memory;

static uint64_t pattern(unsigned page, unsigned word, unsigned who) {
  if (page % 7 == 0) return 0;
  return (page * 0x9e3779b97f4a7c15u + word) ^ (uint64_t)who << 40;
}
static void fill(unsigned page, unsigned who) {
  for (unsigned word = 0; word < WORDS; word++) memory[page * WORDS + word] = pattern(page, word, who);
}
static unsigned wrong(unsigned who, unsigned step) {
  unsigned count = 0;
  for (unsigned page = 0; page < PAGES; page++)
    for (unsigned word = 0; word < WORDS; word += page % 5 + 1)
      if (memory[page * WORDS + word] != pattern(page, word, step && page % step == 0 ? who : 0)) count++;
  return count;
}
static void rest(int milliseconds) {
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L}, left;
  while (nanosleep(&time, &left) != 0) time = left;
}

// Nobody uses the pages while they are inaccessible; a child has them, too.
static void inaccessible(void) {
  size_t size = (size_t)PAGES * PAGE;
  mprotect(memory, size, PROT_NONE);
  rest(1800);
  pid_t child = fork();
  if (child == 0) {
    rest(800);
    mprotect(memory, size, PROT_READ);
    _exit(wrong(0, 0) == 0 ? 21 : 1);
  }
  // A part moves while it is away.
  void *moved = mremap((char *)memory + size / 2, size / 2, size / 2, MREMAP_MAYMOVE | MREMAP_FIXED,
                       (char *)memory + 2 * size);
  mremap(moved, size / 2, size / 2, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)memory + size / 2);
  rest(600);
  mprotect(memory, size, PROT_READ | PROT_WRITE);
  say("wrong words behind PROT_NONE: %u\n", wrong(0, 0));
  int status = 0;
  waitpid(child, &status, 0);
  say("and in the child: status %d\n", WEXITSTATUS(status));
}

int main(void) {
  size_t size = (size_t)PAGES * PAGE;
  char *place = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memory = mmap(place, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  for (unsigned page = 0; page < PAGES; page++) fill(page, 0);
  inaccessible();
  return 0;
}
