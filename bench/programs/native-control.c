// SPDX-License-Identifier: Apache-2.0
// native-control.c: control that passes between environments: yields, switches, a pipe between two families.
#include "native.h"

// Room for partners' u-areas in the populated region, behind its first page.
static uint64_t next_window = REGION + PAGE;

static void prepare(struct apus_uarea *partner, void (*begin)(void)) {
  partner->critical = 1;
  partner->slice_begin_entry = (uint64_t)begin;
}

// A second environment of this family, in an address space of its own that shares the program's memory, or in this
// one. Every slice of it goes back at once.
static uint64_t make_partner(int in_own_space) {
  uint64_t address = next_window, space = root;
  next_window += PAGE;
  allocate(FAMILY, 2);
  uint64_t uarea = frames[0], top = frames[1];
  if (in_own_space) {
    const uint64_t *tables = (const uint64_t *)(0xffff000000000000 | (uint64_t)APUS_TABLES_SLOT << 39 |
                                                (uint64_t)APUS_TABLES_SLOT << 30 | (uint64_t)APUS_TABLES_SLOT << 21 |
                                                (uint64_t)APUS_TABLES_SLOT << 12);
    uint64_t shared = (tables[APUS_LIBOS_BASE >> 39 & 511] & ENTRY_FRAME) >> 12;
    space = top;
    require(call(CALL_TABLE_INSTALL, FAMILY, 0, 0, 4, space) == 0, "a second address space");
    require(call(CALL_TABLE_INSTALL, FAMILY, space, APUS_LIBOS_BASE, 3, shared) == 0, "sharing");
  }
  map_frames(address, 1);
  prepare((struct apus_uarea *)address, partner_begin);
  partner_target = own_handle();
  int64_t handle = call(CALL_ENVIRONMENT_CREATE, FAMILY, space, uarea, address, 0);
  require(handle > 0, "a second environment");
  require(call(CALL_SLICE_ALLOCATE, FAMILY, ~0ull, (uint64_t)handle, 0, 0) >= 0, "a slice");
  return (uint64_t)handle;
}

static void measure_yields(const char *name, int in_own_space) {
  enum { TURNS = 2000 };
  populate();
  uint64_t partner = make_partner(in_own_space);
  area->slice_begin_entry = (uint64_t)slice_begin;
  const struct apus_environment *record = record_of(partner);
  uint64_t begun = record->slice_upcalls;
  struct measurement result = {.name = name, .metric = "op"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, yield_to(partner));
  // At a slice's end the timeline decides who is next, once.
  uint64_t turns = record->slice_upcalls - begun, own = TURNS * (samples + 1);
  require(turns + own / 10 >= own && turns <= own + own / 10, "yields that do not alternate");
  print_measurement(&result);
}

void measure_yield(void) { measure_yields("yield", 0); }
void measure_switch(void) { measure_yields("switch", 1); }

// ---- a pipe between two families ----
//
// A reader that finds nothing sleeps on the writer's position and gives its slice to the writer.

// The other family's whole program: native.S enters it at each of its slices, on its own stack.
__attribute__((visibility("hidden"))) void echo(void);
void echo(void) {
  uint64_t first = area->libos[0];
  uint8_t byte;
  for (;;) {
    int taken = take_byte(there, &byte);
    if (taken < 0 || (taken > 0 && put_byte(back, byte) <= 0)) area->libos[1] = 1;
    if (taken > 0) continue;
    // Returns only when there is a byte by now; otherwise this function begins anew.
    call(CALL_SLEEP, (uint64_t)&there->written, there->taken, ~0ull, first, 0);
  }
}
extern __attribute__((visibility("hidden"))) void other_begin(void);

static uint64_t take_frame(int capability) {
  allocate(capability, 1);
  return frames[0];
}

uint64_t make_other_family(uint64_t shared, void (*begin)(void), void (*entry)(void)) {
  extern __attribute__((visibility("hidden"))) char __executable_start[], _end[];
  require(call(CALL_CAPABILITY_FORGE, ROOT, OTHER, 2 | 7 << 8, 2ull << 48, 0) == 0, "another family's capability");
  // Of frames, environments and slices, what the cases together take.
  static const uint64_t budget[] = {64, 8, 8};
  for (uint64_t kind = 0; kind < 3; kind++)
    require(call(CALL_ACCOUNT_LIMIT, ROOT, 2, kind, budget[kind], 0) == 0, "its budget");
  uint64_t space = take_frame(OTHER);
  require(call(CALL_TABLE_INSTALL, OTHER, 0, 0, 4, space) == 0, "its address space");
  for (uint64_t level = 3; level > 0; level--)
    require(call(CALL_TABLE_INSTALL, OTHER, space, APUS_LIBOS_BASE, level, take_frame(OTHER)) == 0, "its tables");
  for (uint64_t page = (uint64_t)__executable_start & ~(uint64_t)(PAGE - 1); page < (uint64_t)_end; page += PAGE) {
    entries[0] = entry_of(page);
    if ((entries[0] & (ENTRY_PRESENT | ENTRY_WRITABLE)) == ENTRY_PRESENT) write_entries(OTHER, FAMILY, space, page, 1);
  }
  entries[0] = entry_of(shared);
  write_entries(OTHER, FAMILY, space, PIPES, 1);
  entries[0] = take_frame(OTHER) << 12 | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE;
  write_entries(OTHER, OTHER, space, STACK, 1);

  uint64_t uarea = take_frame(OTHER);
  entries[0] = uarea << 12 | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE;
  write_entries(OTHER, OTHER, space, APUS_LIBOS_BASE, 1);
  // Filled in through a mapping here that goes again.
  write_entries(FAMILY, OTHER, root, next_window, 1);
  struct apus_uarea *its = (struct apus_uarea *)next_window;
  prepare(its, begin);
  its->protected_entry = (uint64_t)entry;
  its->protected_stack = STACK + PAGE;
  its->accepting = 1;
  its->libos[0] = own_handle();
  its->libos[2] = STACK + PAGE;
  unmap(next_window, 1);
  int64_t handle = call(CALL_ENVIRONMENT_CREATE, OTHER, space, uarea, APUS_LIBOS_BASE, 0);
  require(handle > 0, "its environment");
  if (!entry) require(call(CALL_SLICE_ALLOCATE, OTHER, ~0ull, (uint64_t)handle, 0, 0) >= 0, "its slice");
  return (uint64_t)handle;
}

// A byte to the other family and one back: two operations.
void measure_pipe(void) {
  enum { TURNS = 500 };
  populate();
  allocate(FAMILY, 1);
  map_frames(PIPES, 1);
  area->slice_begin_entry = (uint64_t)slice_begin;
  uint64_t other = make_other_family(PIPES, other_begin, 0), wrong = 0;
  uint8_t sent = 0, byte = 0;
  struct measurement result = {.name = "pipe", .metric = "protected"};
  SAMPLE_OF(&result, TURNS, 2 * TURNS, {
    wrong += put_byte(there, ++sent) != 1;
    int taken;
    while ((taken = take_byte(back, &byte)) == 0) sleep_on(&back->written, back->taken, other);
    wrong += taken != 1 || byte != sent;
  });
  require(wrong == 0, "bytes that got lost between families");
  print_measurement(&result);
}
