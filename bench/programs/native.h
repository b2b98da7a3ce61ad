/* SPDX-License-Identifier: Apache-2.0 */
/* native.h: what the parts of the native bench program share: kernel calls, frames, mappings, output. */
#ifndef NATIVE_H
#define NATIVE_H
#include "ApusABI.h"
#include "measure.h"
#include <stddef.h>

enum { PAGE = 4096, BATCH = 100, samples = 5 };

/* Numbers of the kernel's calls (abi/ApusABI/SystemCall.swift). */
enum {
  CALL_NULL = 0x00,
  CALL_YIELD = 0x01,
  CALL_SLEEP = 0x02,
  CALL_TRANSFER = 0x03,
  CALL_SLICE_ALLOCATE = 0x08,
  CALL_FRAME_ALLOCATE = 0x10,
  CALL_FRAME_FREE = 0x11,
  CALL_TABLE_INSTALL = 0x18,
  CALL_TABLE_REMOVE = 0x19,
  CALL_PAGES_WRITE = 0x1a,
  CALL_PAGES_PROTECT = 0x1b,
  CALL_PAGES_FILL = 0x1c,
  CALL_PAGES_RELEASE = 0x1d,
  CALL_ENVIRONMENT_CREATE = 0x20,
  CALL_CAPABILITY_FORGE = 0x28,
  CALL_ACCOUNT_LIMIT = 0x2b,
  CALL_CONSOLE_WRITE = 0x30,
  CALL_POWER_OFF = 0x32,
};

/* The first environment's capabilities, by slot; OTHER is forged here, for a second family. */
enum { FAMILY = 0, CONSOLE = 1, MACHINE = 2, ROOT = 3, OTHER = 4 };

enum { ENTRY_PRESENT = 1, ENTRY_WRITABLE = 2, ENTRY_DIRTY = 64 };
#define ENTRY_NO_EXECUTE (1ull << 63)
#define ENTRY_FRAME 0x000ffffffffff000ull

/* A 2 MiB region of the LibOS's slot that nothing else uses; its first page stays mapped. */
#define REGION (APUS_LIBOS_BASE + 0x40000000)
#define HOLE (REGION + 0x100000)
/* One that has no page table until it is used. */
#define LONELY (REGION + 0x200000)

/* Everything is hidden: the linker need not make it reachable through a table. */
#pragma GCC visibility push(hidden)

/* native.S: an exception handler that may use every register and calls a function, and a minimal one. */
void exception_full(void), exception_minimal(void);
/* native.S: yields, and the slice-begin entry by which a yield or a sleep returns. */
void yield_to(uint64_t environment), slice_begin(void);
/* Sleeps until the word differs; the slice goes to an environment. */
void sleep_on(const volatile uint64_t *word, uint64_t value, uint64_t environment);
void partner_begin(void);
extern char exception_stack_top[];
extern uint64_t partner_target;
/* What exception_full calls. */
extern void (*exception_handler)(void);

extern uint64_t exceptions, root, frames[BATCH + 28], entries[BATCH];

/* native.c */
void require(int condition, const char *what);
void print_measurement(const struct measurement *measurement);
void print_second_measurement(const struct measurement *measurement);
uint64_t own_handle(void);
const struct apus_environment *record_of(uint64_t handle);

/* native-memory.c: frames taken into and given back from `frames`; pages mapped in this address space. */
void allocate(int capability, int count);
void release(int count);
void map_frames(uint64_t address, int count), unmap(uint64_t address, int count);
void write_entries(int tables, int owner, uint64_t space, uint64_t address, int count);
void populate(void);
void measure_map1(void), measure_map100(void), measure_unmap100(void), measure_appel(void);

/* native-control.c; a second family's environment, which begins its slices somewhere and has one, or has none and is
 * entered by transfers. */
void measure_yield(void), measure_switch(void), measure_pipe(void);
uint64_t make_other_family(uint64_t shared, void (*begin)(void), void (*entry)(void));

/* native-transfer.c */
void measure_transfer(void), measure_call(void), measure_transfer_pipe(void);

/* Two one-way pipes in a frame that both families map, and nothing else is shared but the program's text, read-only.
 * Each side owns one position and distrusts the other's: it is read once, and one that cannot be counts as broken. */
enum { PIPE_BYTES = 1024 };

struct pipe {
  volatile uint64_t written; /* by the writer: bytes since the beginning */
  uint64_t apart[7];
  volatile uint64_t taken;   /* by the reader */
  uint64_t apart_too[7];
  volatile uint8_t bytes[PIPE_BYTES];
};

/* In both address spaces; the stack is the other family's own. */
#define PIPES (APUS_LIBOS_BASE + 0x1fe000)
#define STACK (APUS_LIBOS_BASE + 0x1ff000)
static struct pipe *const there = (struct pipe *)PIPES, *const back = (struct pipe *)(PIPES + PAGE / 2);

static inline __attribute__((always_inline)) int put_byte(struct pipe *pipe, uint8_t byte) {
  uint64_t written = pipe->written, held = written - pipe->taken;
  if (held >= PIPE_BYTES) return held == PIPE_BYTES ? 0 : -1;
  pipe->bytes[written % PIPE_BYTES] = byte;
  __asm__ volatile("" : : : "memory"); /* x86 keeps stores in order */
  pipe->written = written + 1;
  return 1;
}

/* 1 with a byte, 0 when there is none, -1 when the writer's position is impossible. */
static inline __attribute__((always_inline)) int take_byte(struct pipe *pipe, uint8_t *byte) {
  uint64_t taken = pipe->taken, held = pipe->written - taken;
  if (held - 1 >= PIPE_BYTES) return held == 0 ? 0 : -1;
  *byte = pipe->bytes[taken % PIPE_BYTES];
  __asm__ volatile("" : : : "memory");
  pipe->taken = taken + 1;
  return 1;
}
#pragma GCC visibility pop

static struct apus_uarea *const area = (struct apus_uarea *)APUS_LIBOS_BASE;
static const struct apus_information *const information = (const struct apus_information *)APUS_INFORMATION_BASE;

static inline int64_t call(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
  register uint64_t fourth __asm__("r10") = d, fifth __asm__("r8") = e;
  uint64_t result = APUS_CALL_BIT | number;
  __asm__ volatile("syscall"
                   : "+a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth), "+r"(fifth)
                   :
                   : "rcx", "r11", "r9", "memory");
  return (int64_t)result;
}

/* The page-table entry of an address, read where every address space sees its own. */
static inline uint64_t entry_of(uint64_t address) {
  return ((const volatile uint64_t *)APUS_TABLES_BASE)[address >> 12 & 0xfffffffff];
}
#endif
