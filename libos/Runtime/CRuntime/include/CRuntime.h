/* SPDX-License-Identifier: Apache-2.0 */
/* CRuntime.h: system call stubs, instructions, and the words of the u-area that the LibOS keeps for itself. */
#ifndef APUS_CRUNTIME_H
#define APUS_CRUNTIME_H
#include "ApusABI.h"

/* ---- the LibOS's part of the u-area ---------------------------------------------------------------- */
#define UA_STACK 0x200          /* top of the LibOS stack */
#define UA_APPLICATION_RSP 0x208
#define UA_SAVED_RSP 0x210      /* where execution goes on at the next slice begin */
#define UA_MODE 0x218           /* how: UA_MODE_* */
#define UA_FS 0x220             /* FS base while not running */
#define UA_WAKE 0x228           /* the word that a suspended execution sleeps on */
#define UA_ATTENTION 0x230      /* nonzero: application code is to be interrupted by the LibOS */
#define UA_OWNER 0x238          /* the Execution object */
#define UA_MASK 0x240           /* extended state components, low and high half */
#define UA_PANICKED 0x248
#define UA_FOREIGN_FLAGS_ADDRESS 0x250 /* where APUS_UA_FOREIGN_FLAGS lies: POPF takes them from there */
#define UA_WAIT_WORD 0x258      /* suspended: what it waits for, as in runtime_suspend; 1: nothing */
#define UA_WAIT_VALUE 0x260
#define UA_WAIT_DEADLINE 0x268
#define UA_HEIR 0x270           /* who gets the CPU at a slice's end: the family's first environment; 0: nobody */
#define UA_ANSWERS_ON 0x278     /* nonzero: constant answers are served */
#define UA_ANSWERS 0x280        /* answers[9]; number 0 is not used */
#define UA_VECTORS 0x400        /* XSAVE area, 3,072 bytes */
#define UA_VECTORS_SIZE 3072

#define UA_MODE_SUSPENDED 0     /* in the LibOS: callee-saved registers and a return address are on the stack */
#define UA_MODE_APPLICATION 1   /* in the application: a register frame is on top of the stack */

/* A message of a protected control transfer in memory: nine words, then what the kernel says beside them. */
#define RUNTIME_MESSAGE_PEER 72
#define RUNTIME_MESSAGE_DEADLINE 80

#define APUS_USER_CODE_SELECTOR 0x2b
#define APUS_USER_DATA_SELECTOR 0x23

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

#define APUS_INLINE static inline __attribute__((always_inline))

/* The application's registers, as the entries push them. */
struct runtime_registers {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  uint64_t original_rax, rip, cs, flags, rsp, ss;
};

APUS_INLINE int64_t apus_call(uint32_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4) {
  uint64_t rax = APUS_CALL_BIT | number;
  register uint64_t r10 __asm__("r10") = a3;
  register uint64_t r8 __asm__("r8") = a4;
  __asm__ volatile("syscall"
                   : "+a"(rax), "+D"(a0), "+S"(a1), "+d"(a2), "+r"(r10), "+r"(r8)
                   :
                   : "rcx", "r11", "r9", "memory");
  return (int64_t)rax;
}

APUS_INLINE uint64_t runtime_word(uint32_t offset) {
  uint64_t value;
  __asm__ volatile("movq %%gs:(%q1), %0" : "=r"(value) : "r"((uint64_t)offset));
  return value;
}
APUS_INLINE void runtime_set_word(uint32_t offset, uint64_t value) {
  __asm__ volatile("movq %0, %%gs:(%q1)" ::"r"(value), "r"((uint64_t)offset) : "memory");
}
/* A word that the kernel or another environment changes. */
APUS_INLINE uint64_t runtime_load_shared(uint64_t address) { return *(const volatile uint64_t *)address; }
APUS_INLINE uint64_t runtime_rdtsc(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}
APUS_INLINE uint32_t runtime_features(void) {
  uint32_t eax = 1, ebx, ecx = 0, edx;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return edx;
}
/* The frame pointer of the function that this is part of, and where that returns to. */
APUS_INLINE uint64_t runtime_frame(void) { return (uint64_t)(uintptr_t)__builtin_frame_address(0); }
APUS_INLINE uint64_t runtime_return_address(void) { return (uint64_t)(uintptr_t)__builtin_return_address(0); }
APUS_INLINE uint64_t runtime_fs_base(void) { uint64_t v; __asm__ volatile("rdfsbase %0" : "=r"(v)); return v; }
APUS_INLINE void runtime_set_fs_base(uint64_t v) { __asm__ volatile("wrfsbase %0" ::"r"(v)); }
APUS_INLINE void runtime_xsave(void *_Nonnull area, uint64_t mask) {
  __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}
APUS_INLINE void runtime_xrstor(const void *_Nonnull area, uint64_t mask) {
  __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}
APUS_INLINE void runtime_zero_page(void *_Nonnull page) {
  uint64_t count = 512;
  __asm__ volatile("rep stosq" : "+D"(page), "+c"(count) : "a"(0ull) : "memory");
}

/* Entry.S */
extern uint8_t runtime_foreign_entry[], runtime_exception_entry[], runtime_nested_entry[], runtime_slice_begin_entry[],
    runtime_slice_end_entry[];
#define RUNTIME_ADDRESS_OF(symbol) \
  APUS_INLINE uint64_t symbol##_address(void) { return (uint64_t)(uintptr_t)symbol; }
RUNTIME_ADDRESS_OF(runtime_foreign_entry)
RUNTIME_ADDRESS_OF(runtime_exception_entry)
RUNTIME_ADDRESS_OF(runtime_nested_entry)
RUNTIME_ADDRESS_OF(runtime_slice_begin_entry)
RUNTIME_ADDRESS_OF(runtime_slice_end_entry)
extern uint8_t runtime_protected_entry[], runtime_reply_entry[];
RUNTIME_ADDRESS_OF(runtime_protected_entry)
RUNTIME_ADDRESS_OF(runtime_reply_entry)
extern uint8_t runtime_guarded_foreign_entry[], runtime_guarded_exception_entry[], runtime_guarded_nested_entry[],
    runtime_guarded_slice_begin_entry[], runtime_guarded_slice_end_entry[], runtime_guarded_protected_entry[],
    runtime_guarded_reply_entry[];
RUNTIME_ADDRESS_OF(runtime_guarded_foreign_entry)
RUNTIME_ADDRESS_OF(runtime_guarded_exception_entry)
RUNTIME_ADDRESS_OF(runtime_guarded_nested_entry)
RUNTIME_ADDRESS_OF(runtime_guarded_slice_begin_entry)
RUNTIME_ADDRESS_OF(runtime_guarded_slice_end_entry)
RUNTIME_ADDRESS_OF(runtime_guarded_protected_entry)
RUNTIME_ADDRESS_OF(runtime_guarded_reply_entry)
extern uint8_t runtime_system_start[], runtime_start_stack[], runtime_page_server_entry[];
RUNTIME_ADDRESS_OF(runtime_page_server_entry)
RUNTIME_ADDRESS_OF(runtime_system_start)
RUNTIME_ADDRESS_OF(runtime_start_stack)

/* Static memory of the LibOS (Memory.c). */
extern uint64_t runtime_frame_list[512], runtime_scratch[512], runtime_heap_lists[96];
APUS_INLINE void *_Nonnull runtime_heap_lists_address(void) { return runtime_heap_lists; }
APUS_INLINE void *_Nonnull runtime_frame_list_address(void) { return runtime_frame_list; }
APUS_INLINE void *_Nonnull runtime_scratch_address(void) { return runtime_scratch; }

/* Saves what a LibOS function keeps, then sleeps (word, value, deadline, target) or, with word 1, yields to the target.
 * Returns when the execution goes on. */
void runtime_suspend(uint64_t word, uint64_t value, uint64_t deadline, uint64_t target);

/* The same for any of up to four words: a list of struct apus_wait. */
void runtime_suspend_any(const struct apus_wait *_Nonnull list, uint64_t count, uint64_t deadline, uint64_t target);

/* Transfer.S */
struct runtime_message {
  uint64_t words[9];
  uint64_t peer;     /* handle of the environment at the other end, by the kernel's word */
  uint64_t deadline; /* until when the caller waits */
};
_Static_assert(offsetof(struct runtime_message, peer) == RUNTIME_MESSAGE_PEER, "message");
_Static_assert(offsetof(struct runtime_message, deadline) == RUNTIME_MESSAGE_DEADLINE, "message");
int64_t runtime_transfer(struct runtime_message *_Nonnull message, uint64_t target, uint64_t deadline);
uint64_t runtime_serve(struct runtime_message *_Nonnull message, uint64_t answers);

/* ApusLinux's side (libos/Linux/Entry.swift), or another LibOS's. */
__attribute__((noreturn)) void linux_start(void *_Nonnull image, uint64_t size);
void linux_system_call(void *_Nonnull registers);
void linux_fault(void *_Nonnull registers, uint64_t vector, uint64_t error_code, uint64_t address);
void linux_attention(void *_Nonnull registers);
#endif
#endif
