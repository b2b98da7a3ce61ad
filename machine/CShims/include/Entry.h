/* SPDX-License-Identifier: Apache-2.0 */
/* Entry.h: what the entry paths in assembly and the kernel's Swift share. */
#ifndef APUS_ENTRY_H
#define APUS_ENTRY_H

/* The processor's own record, reached through the GS base while in ring 0. */
#define APUS_CPU_UAREA 0x00        /* u-area of the running environment, kernel address */
#define APUS_CPU_ENVIRONMENT 0x08  /* its record */
#define APUS_CPU_STACK 0x10        /* top of the kernel stack */
#define APUS_CPU_USER_RSP 0x18
#define APUS_CPU_USER_RAX 0x20
#define APUS_CPU_SYSTEM_CALL 0x28  /* frame of the system call in progress */
#define APUS_CPU_SELF 0x30         /* kernel address of this record */
#define APUS_CPU_ENVIRONMENTS 0x40 /* the environment table, and how many slots it has */
#define APUS_CPU_ENVIRONMENT_COUNT 0x48
#define APUS_CPU_LOADED_ROOT 0x50  /* frame that CR3 names */
#define APUS_CPU_VECTORS_ACCOUNT 0x58 /* whose vector registers are there */
#define APUS_CPU_TRANSFER_LIMIT 0x60  /* a transfer whose deadline is not beyond is not for the fast path */
#define APUS_CPU_RETURN_SLOWLY 0x68   /* nonzero: nor is a return */
#define APUS_CPU_INITIAL_VECTORS 0x70 /* kernel address of an XSAVE area in its initial state */
#define APUS_CPU_DESCRIPTORS 0x80
#define APUS_CPU_TASK_STATE 0xc0
#define APUS_CPU_FLUSH_REQUESTED 0x128 /* flush epoch that others wait for */
#define APUS_CPU_FLUSH_DONE 0x130  /* the last one that this processor has passed */
#define APUS_CPU_STARTED 0x138
/* A processor's own memory: this record's page; the stack of debug exceptions, as large as the kernel stack, since a
 * second fault from there may end an environment and go on to the next; NMI's; double faults'; the kernel stack. */
#define APUS_CPU_DEBUG_TOP 0x5000
#define APUS_CPU_NMI_TOP 0x6000
#define APUS_CPU_DOUBLE_TOP 0x7000
#define APUS_CPU_MEMORY 0xb000

/* What Entry.S reads of struct apus_parked; checked below. */
#define APUS_PARKED_SELECTORS 0x08
#define APUS_PARKED_FS 0x10
#define APUS_PARKED_GS 0x18
#define APUS_PARKED_REGISTERS 0x20
#define APUS_PARKED_SIZE 256         /* an XSAVE area follows */

#define APUS_ENVIRONMENT_CALLS 80  /* checked against struct apus_environment below */
#define APUS_ENVIRONMENT_EXCEPTIONS 72

/* What Transfer.S reads and writes in struct apus_environment; checked below. */
#define APUS_ENVIRONMENT_SIZE 408
#define APUS_ENVIRONMENT_STATE 0x00
#define APUS_ENVIRONMENT_DEPTH 0x04
#define APUS_ENVIRONMENT_ACCOUNT 0x08
#define APUS_ENVIRONMENT_ROOT 0x0c
#define APUS_ENVIRONMENT_UAREA_ADDRESS 0x20
#define APUS_ENVIRONMENT_HANDLE 0xa0
#define APUS_ENVIRONMENT_UAREA_KERNEL 0xa8
#define APUS_ENVIRONMENT_RETURNS_TO 0xb0
#define APUS_ENVIRONMENT_TARGET 0xb8
#define APUS_ENVIRONMENT_DEADLINE 0xc0

#define APUS_SELECTOR_KERNEL_CODE 0x08
#define APUS_SELECTOR_KERNEL_DATA 0x10
#define APUS_SELECTOR_USER_DATA 0x23
#define APUS_SELECTOR_USER_CODE 0x2b
#define APUS_SELECTOR_TASK 0x30

/* Flags with which every upcall starts: interrupts on, all else clear. */
#define APUS_UPCALL_FLAGS 0x202

#define APUS_VECTOR_TIMER 0x20
#define APUS_VECTOR_CONSOLE 0x21
#define APUS_VECTOR_KICK 0x22        /* from another processor: look at what you run */
#define APUS_VECTOR_FLUSH 0x23       /* from another processor: forget cached translations */
#define APUS_VECTOR_NETWORK 0x24
#define APUS_VECTOR_SPURIOUS 0xff

/* Local APIC's end-of-interrupt register, through the device mapping (SDM vol. 3, 10.4.1: the usual base). */
#define APUS_LOCAL_APIC 0xfee00000
#define APUS_END_OF_INTERRUPT 0xfffffffffee000b0

/* Where the startup code of other processors is copied. */
#define APUS_STARTUP_PAGE 0x8000

#ifdef __ASSEMBLER__
/* The kernel's lock: a ticket is drawn and its turn awaited. Between the two an interrupt cannot come; a flush that
 * another processor asks for is answered when this one is back in ring 3, and nobody waits for the answer. */
  .macro TAKE_LOCK
  movl $1, %eax
  lock xaddl %eax, apus_kernel_lock(%rip)
  cmpl %eax, apus_kernel_lock + 4(%rip)
  je 76f
75:pause
  cmpl %eax, apus_kernel_lock + 4(%rip)
  jne 75b
76:
  .endm
  .macro RELEASE_LOCK
  incl apus_kernel_lock + 4(%rip)
  .endm
#else
#include <stdint.h>
#include "ApusABI.h"

struct apus_cpu {
  uint64_t uarea, environment; /* kernel addresses */
  uint64_t stack, user_rsp, user_rax;
  uint64_t system_call;        /* kernel address of its frame */
  uint64_t address;            /* kernel address of this record */
  uint64_t state;              /* kernel address of what Swift keeps for this processor */
  uint64_t environments, environment_count;
  uint64_t loaded_root, vectors_account;
  uint64_t transfer_limit, return_slowly;
  uint64_t initial_vectors;
  uint64_t reserved;
  uint64_t descriptors[8];
  uint8_t task_state[104];
  uint64_t flush_requested;    /* written by others, under the kernel's lock */
  uint64_t flush_done;
  uint64_t started;
};

/* What a system call left on the kernel stack. */
struct apus_call_frame { uint64_t rip, flags, rsp; };

/* The registers of a protected control transfer that took the slow path, as Transfer.S pushed them. */
struct apus_message {
  uint64_t rax, rdi, rsi;        /* what the kernel tells beside the message */
  uint64_t rdx, r8, r10, rbx, rbp, r12, r13, r14, r15;
};

/* What an exception or interrupt left on the kernel stack. */
struct apus_trap_frame {
  uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
  uint64_t vector, error;
  uint64_t rip, cs, flags, rsp, ss;
};

/* An environment that was stopped in the middle of anything, to go on there: everything of it but its memory. */
struct apus_parked {
  uint64_t is_parked;
  uint64_t selectors;          /* ds, es, fs, gs, 16 bits each */
  uint64_t fs, gs;             /* bases */
  struct apus_kept_registers { uint64_t r15, r14, r13, r12, rbp, rbx; } kept;
  struct apus_trap_frame frame;
};
_Static_assert(__builtin_offsetof(struct apus_parked, selectors) == APUS_PARKED_SELECTORS, "parked");
_Static_assert(__builtin_offsetof(struct apus_parked, fs) == APUS_PARKED_FS, "parked");
_Static_assert(__builtin_offsetof(struct apus_parked, gs) == APUS_PARKED_GS, "parked");
_Static_assert(__builtin_offsetof(struct apus_parked, kept) == APUS_PARKED_REGISTERS, "parked");
_Static_assert(sizeof(struct apus_parked) <= APUS_PARKED_SIZE && APUS_PARKED_SIZE % 64 == 0, "parked");

_Static_assert(__builtin_offsetof(struct apus_environment, calls) == APUS_ENVIRONMENT_CALLS, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, exception_upcalls) == APUS_ENVIRONMENT_EXCEPTIONS, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, state) == APUS_ENVIRONMENT_STATE, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, transfer_depth) == APUS_ENVIRONMENT_DEPTH, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, account) == APUS_ENVIRONMENT_ACCOUNT, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, root) == APUS_ENVIRONMENT_ROOT, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, uarea_address) == APUS_ENVIRONMENT_UAREA_ADDRESS, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, handle) == APUS_ENVIRONMENT_HANDLE, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, uarea_kernel) == APUS_ENVIRONMENT_UAREA_KERNEL, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, returns_to) == APUS_ENVIRONMENT_RETURNS_TO, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, transfer_target) == APUS_ENVIRONMENT_TARGET, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, transfer_deadline) == APUS_ENVIRONMENT_DEADLINE, "environment");
_Static_assert(sizeof(struct apus_environment) == APUS_ENVIRONMENT_SIZE, "environment");
_Static_assert(__builtin_offsetof(struct apus_environment, running_on) == APUS_ENVIRONMENT_DEPTH + 2, "environment");
_Static_assert(__builtin_offsetof(struct apus_cpu, initial_vectors) == APUS_CPU_INITIAL_VECTORS, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, transfer_limit) == APUS_CPU_TRANSFER_LIMIT, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, address) == APUS_CPU_SELF, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, flush_requested) == APUS_CPU_FLUSH_REQUESTED, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, flush_done) == APUS_CPU_FLUSH_DONE, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, descriptors) == APUS_CPU_DESCRIPTORS, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, task_state) == APUS_CPU_TASK_STATE, "cpu");
_Static_assert(__builtin_offsetof(struct apus_cpu, system_call) == APUS_CPU_SYSTEM_CALL, "cpu");

/* Symbols of the linker script; Swift asks for their addresses. */
extern uint8_t apus_kernel_start[], apus_text_end[], apus_rodata_end[], apus_kernel_end[];
extern uint8_t apus_system_call_entry[], apus_boot_pointers[];
extern uint8_t apus_startup_begin[], apus_startup_end[];
extern uint8_t apus_startup_root[], apus_startup_stack[], apus_startup_index[];

/* The kernel's lock: tickets, so that who comes first goes first. */
struct apus_kernel_lock { uint32_t next, serving; };
extern struct apus_kernel_lock apus_kernel_lock;
static inline __attribute__((always_inline)) void apus_take_lock(void) {
  uint32_t ticket = __atomic_fetch_add(&apus_kernel_lock.next, 1, __ATOMIC_ACQUIRE);
  while (__atomic_load_n(&apus_kernel_lock.serving, __ATOMIC_ACQUIRE) != ticket) __asm__ volatile("pause");
}
static inline __attribute__((always_inline)) void apus_release_lock(void) {
  __atomic_store_n(&apus_kernel_lock.serving, apus_kernel_lock.serving + 1, __ATOMIC_RELEASE);
}
extern uint64_t apus_kernel_root[512];
#define APUS_ADDRESS_OF(symbol) \
  static inline __attribute__((always_inline)) uint8_t *_Nonnull symbol##_address(void) { return (uint8_t *)symbol; }
APUS_ADDRESS_OF(apus_kernel_start)
APUS_ADDRESS_OF(apus_text_end)
APUS_ADDRESS_OF(apus_rodata_end)
APUS_ADDRESS_OF(apus_kernel_end)
APUS_ADDRESS_OF(apus_system_call_entry)
APUS_ADDRESS_OF(apus_startup_begin)
APUS_ADDRESS_OF(apus_startup_end)
APUS_ADDRESS_OF(apus_startup_root)
APUS_ADDRESS_OF(apus_startup_stack)
APUS_ADDRESS_OF(apus_startup_index)
APUS_ADDRESS_OF(apus_boot_pointers)
static inline __attribute__((always_inline)) uint64_t *_Nonnull apus_kernel_root_address(void) { return apus_kernel_root; }
static inline __attribute__((always_inline)) struct apus_cpu *_Nonnull apus_this_cpu(void) {
  struct apus_cpu *self;
  __asm__("movq %%gs:%c1, %0" : "=r"(self) : "i"(APUS_CPU_SELF));
  return self;
}

/* Loads the descriptor tables that belong to a processor's record. */
void apus_load_tables(uint64_t record);

/* Leaves ring 0 for where an environment was parked; abandons the kernel stack. */
__attribute__((noreturn)) void apus_resume(uint64_t parked);

/* Leaves ring 0 for `entry` on `stack` with every general register zero; abandons the kernel stack.
 * `gs` and `fs` become the GS and FS base. */
__attribute__((noreturn)) void apus_enter(uint64_t entry, uint64_t stack, uint64_t gs, uint64_t fs);

/* The same with the registers of a message; `message` is the kernel address of a struct apus_message. */
__attribute__((noreturn)) void apus_enter_with_message(uint64_t message, uint64_t entry, uint64_t stack, uint64_t gs);
/* The same with rax and rdi, all other registers zero: a call that came to no reply. */
__attribute__((noreturn)) void apus_enter_without_message(
    uint64_t rax, uint64_t rdi, uint64_t entry, uint64_t stack, uint64_t gs);
#endif
#endif
