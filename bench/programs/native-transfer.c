// SPDX-License-Identifier: Apache-2.0
// native-transfer.c: protected control transfer between two families that share no memory but a page of pipes.
#include "native.h"

// native.S. Hidden: the linker need not make them reachable through a table.
#pragma GCC visibility push(hidden)
int64_t transfer(uint64_t environment, uint64_t message, uint64_t deadline);
int64_t transfer_bare(uint64_t environment);
void transfer_reply(void), transfer_bare_reply(void);
void entry_bare(void), entry_call(void), entry_pipe(void), answer_begin(void);
uint64_t serve(uint64_t message);
int serve_pipe(void);
#pragma GCC visibility pop

// What the other family does, on its own stack.
uint64_t serve(uint64_t message) { return message + 1; }

int serve_pipe(void) {
  uint8_t byte;
  return take_byte(there, &byte) == 1 && put_byte(back, byte) == 1;
}

static uint64_t shared_page(void) {
  static int done;
  populate();
  if (!done && !(entry_of(PIPES) & ENTRY_PRESENT)) {
    allocate(FAMILY, 1);
    map_frames(PIPES, 1);
  }
  done = 1;
  return PIPES;
}

// At a slice's end with somebody else waiting there is nothing to donate: a transfer is refused then.
static void wait_for_slice(void) {
  area->pending = 0;
  yield_to(0);
}

// Calls until the other family's answer has come. A second is more than it may take.
static inline __attribute__((always_inline)) int64_t call_other(uint64_t environment, uint64_t message) {
  int64_t answer;
  while ((answer = transfer(environment, message, counter() + information->ticks_per_second)) == -9) wait_for_slice();
  return answer;
}

// There and back are two.
void measure_transfer(void) {
  enum { TURNS = 2000 };
  uint64_t other = make_other_family(shared_page(), answer_begin, entry_bare);
  area->slice_begin_entry = (uint64_t)slice_begin;
  area->reply_entry = (uint64_t)transfer_bare_reply;
  struct measurement result = {.name = "pct", .metric = "op"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, {
    while (transfer_bare(other) != 0) wait_for_slice();
  });
  print_measurement(&result);
}

void measure_call(void) {
  enum { TURNS = 1000 };
  uint64_t other = make_other_family(shared_page(), answer_begin, entry_call), wrong = 0, number = 0;
  area->slice_begin_entry = (uint64_t)slice_begin;
  area->reply_entry = (uint64_t)transfer_reply;
  struct measurement result = {.name = "rpc", .metric = "op"};
  SAMPLE(&result, TURNS, {
    wrong += call_other(other, number) != (int64_t)number + 1;
    number++;
  });
  require(wrong == 0, "calls with a wrong answer");
  print_measurement(&result);
}

// A byte to the other family and one back.
void measure_transfer_pipe(void) {
  enum { TURNS = 1000 };
  uint64_t other = make_other_family(shared_page(), answer_begin, entry_pipe), wrong = 0;
  *there = *back = (struct pipe){0};
  area->slice_begin_entry = (uint64_t)slice_begin;
  area->reply_entry = (uint64_t)transfer_reply;
  uint8_t sent = 0, byte = 0;
  struct measurement result = {.name = "pipe", .metric = "transfer"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, {
    wrong += put_byte(there, ++sent) != 1;
    int taken;
    while ((taken = take_byte(back, &byte)) == 0) wrong += call_other(other, 0) != 1;
    wrong += taken != 1 || byte != sent;
  });
  require(wrong == 0, "bytes that got lost in calls");
  print_measurement(&result);
}
