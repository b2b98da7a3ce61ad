// SPDX-License-Identifier: Apache-2.0
// paging-relatives.c: a parent and three children share pages, each writes to some, and all of them are away and back
// again and again: nobody's page is another's.
//
// 150 frames are asked for twice a second, of a family that has fewer than its pages need.
//
// apus: compare: host
// apus: icount: yes
// apus: option: --pager clock --swap 8000 --revoke 150/500
// apus: memory: 48M
// apus: timeout: 300

#include "check.h"

enum { PAGE = 4096, PAGES = 1500, WORDS = PAGE / 8, CHILDREN = 3, STEPS = 60000 };

static uint64_t *memory;

static uint64_t pattern(unsigned page) { return page * 0x9e3779b97f4a7c15u; }

// Reads pages at random, and writes every fifth: the counter in a page's second word is the writer's own.
static unsigned wander(unsigned who) {
  static unsigned own[PAGES];
  uint32_t random = who + 1;
  unsigned wrong = 0;
  for (unsigned step = 0; step < STEPS; step++) {
    random = random * 1664525 + 1013904223;
    unsigned page = (random >> 8) % PAGES;
    uint64_t *words = memory + page * WORDS;
    if (words[0] != pattern(page) || words[1] != (own[page] ? own[page] * 4 + who : 0)) wrong++;
    if (step % 5 == 0) words[1] = ++own[page] * 4 + who;
  }
  return wrong;
}

int main(void) {
  memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (unsigned page = 0; page < PAGES; page++) memory[page * WORDS] = pattern(page);
  for (unsigned child = 1; child <= CHILDREN; child++)
    if (fork() == 0) _exit(wander(child) != 0);
  unsigned failed = 0;
  for (unsigned child = 0; child < CHILDREN; child++) {
    int status = 0;
    wait(&status);
    failed += status != 0;
  }
  say("children that saw another's words: %u\n", failed);
  unsigned wrong = 0;
  for (unsigned page = 0; page < PAGES; page++)
    if (memory[page * WORDS] != pattern(page) || memory[page * WORDS + 1] != 0) wrong++;
  say("pages of the parent that changed: %u\n", wrong);
  return 0;
}
