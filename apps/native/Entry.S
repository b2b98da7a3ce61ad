/* SPDX-License-Identifier: Apache-2.0 */
/* Entry.S: where the kernel's upcalls arrive in a small native program, and the ways back.
 *
 * All environments of the program share one address space and these entries; the GS base points at the u-area of the
 * one that runs. While a context is written or read the critical word is set, and it stays set across a yield, so that
 * the slice begins with it. The program uses no vector registers and no FS base, so its context is the general ones. */
#include "Native.h"

#define G(offset) %gs:offset
#define SAVED(field) %gs:APUS_UA_SLICE+field
#define FAULTED(field) %gs:APUS_UA_EXCEPTION+field

  .text
  .globl native_start
native_start:
  movq $1, G(APUS_UA_CRITICAL)            /* no entry is set up yet */
  leaq native_stack(%rip), %rsp
  xorl %ebp, %ebp
  call native_main
  ud2

/* An exception goes to the program's native_fault(cause, address), if it has one: a function that may use every general
 * register, and says whether the program can go on. The way back needs no kernel: the frame is IRETQ's. The handler is
 * compiled without vector registers, so these are still the program's. Otherwise the program says where and why, and
 * ends. */
  .weak native_fault
  .globl native_exception_entry
native_exception_entry:
  pushq %rdx
  movabsq $native_fault, %rdx
  testq %rdx, %rdx
  jz failed
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  subq $8, %rsp
  movq FAULTED(APUS_SAVE_CAUSE), %rdi
  movq FAULTED(APUS_SAVE_ADDRESS), %rsi
  call *%rdx
  testb $1, %al
  jz failed
  addq $8, %rsp
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rdx
  pushq $USER_DATA_SELECTOR
  pushq FAULTED(APUS_SAVE_RSP)
  pushq FAULTED(APUS_SAVE_FLAGS)
  pushq $USER_CODE_SELECTOR
  pushq FAULTED(APUS_SAVE_RIP)
  movq FAULTED(APUS_SAVE_RCX), %rcx
  movq FAULTED(APUS_SAVE_RAX), %rax
  movq $0, FAULTED(APUS_SAVE_IN_USE)
  iretq
  .globl native_nested_entry
native_nested_entry:                      /* a fault while one is handled: in the handler itself */
failed:
  movq FAULTED(APUS_SAVE_CAUSE), %rdi
  movq FAULTED(APUS_SAVE_RIP), %rsi
  movq FAULTED(APUS_SAVE_ADDRESS), %rdx
  andq $~15, %rsp
  call native_failed
  ud2

/* ---- the end of a slice ---- */
  .globl native_slice_end_entry
native_slice_end_entry:
  movq $1, G(APUS_UA_CRITICAL)
  movq %rdx, G(UA_RDX)
  movq %rbx, G(UA_RBX)
  movq %rbp, G(UA_RBP)
  movq %rsi, G(UA_RSI)
  movq %rdi, G(UA_RDI)
  movq %r8, G(UA_R8)
  movq %r9, G(UA_R8 + 8)
  movq %r10, G(UA_R8 + 16)
  movq %r11, G(UA_R8 + 24)
  movq %r12, G(UA_R8 + 32)
  movq %r13, G(UA_R8 + 40)
  movq %r14, G(UA_R8 + 48)
  movq %r15, G(UA_R8 + 56)
  movq SAVED(APUS_SAVE_RAX), %rax
  movq %rax, G(UA_RAX)
  movq SAVED(APUS_SAVE_RCX), %rax
  movq %rax, G(UA_RCX)
  movq SAVED(APUS_SAVE_RIP), %rax
  movq %rax, G(UA_RIP)
  movq SAVED(APUS_SAVE_FLAGS), %rax
  movq %rax, G(UA_FLAGS)
  movq SAVED(APUS_SAVE_RSP), %rax
  movq %rax, G(UA_RSP)
  movq $0, SAVED(APUS_SAVE_IN_USE)
give_up:                                  /* the context is whole */
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $(APUS_CALL_BIT | CALL_YIELD), %eax
  xorl %edi, %edi
  syscall
  ud2

/* ---- the begin of a slice ---- */
  .globl native_slice_begin_entry
native_slice_begin_entry:
  testq $APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  jnz give_up
  movq G(UA_RDX), %rdx
  movq G(UA_RBX), %rbx
  movq G(UA_RBP), %rbp
  movq G(UA_RSI), %rsi
  movq G(UA_RDI), %rdi
  movq G(UA_R8), %r8
  movq G(UA_R8 + 8), %r9
  movq G(UA_R8 + 16), %r10
  movq G(UA_R8 + 24), %r11
  movq G(UA_R8 + 32), %r12
  movq G(UA_R8 + 40), %r13
  movq G(UA_R8 + 48), %r14
  movq G(UA_R8 + 56), %r15
  /* The rest goes onto the interrupted stack, so that the next end of a slice may find the context in use again. */
  movq G(UA_RSP), %rsp
  pushq $USER_DATA_SELECTOR
  pushq G(UA_RSP)
  pushq G(UA_FLAGS)
  pushq $USER_CODE_SELECTOR
  pushq G(UA_RIP)
  pushq G(UA_RCX)
  pushq G(UA_RAX)
  movq $0, G(APUS_UA_CRITICAL)
  testq $APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  jnz ended_meanwhile
resume:
  popq %rax
  popq %rcx
  iretq
ended_meanwhile:                          /* as if the slice had ended at `resume` */
  movq $1, G(APUS_UA_CRITICAL)
  leaq resume(%rip), %rax
  movq %rax, G(UA_RIP)
  movq $0x202, G(UA_FLAGS)
  movq %rsp, G(UA_RSP)
  jmp give_up                             /* what is popped there needs no place in the context */

/* native_suspend(call, a0, a1, a2, a3): yields or sleeps. Returns NATIVE_RESUMED when a slice begins, or what the call
 * returned at once. */
  .globl native_suspend
native_suspend:
  movq $1, G(APUS_UA_CRITICAL)
  movq %rbx, G(UA_RBX)
  movq %rbp, G(UA_RBP)
  movq %r12, G(UA_R8 + 32)
  movq %r13, G(UA_R8 + 40)
  movq %r14, G(UA_R8 + 48)
  movq %r15, G(UA_R8 + 56)
  popq G(UA_RIP)
  movq %rsp, G(UA_RSP)
  movq $0x202, G(UA_FLAGS)
  movabsq $NATIVE_RESUMED, %rax
  movq %rax, G(UA_RAX)
  movl $APUS_CALL_BIT, %eax
  orl %edi, %eax
  movq %rsi, %rdi
  movq %rdx, %rsi
  movq %rcx, %rdx
  movq %r8, %r10
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  syscall
  movq %rax, G(UA_RAX)
  testq $APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  jnz give_up
  movq $0, G(APUS_UA_CRITICAL)
  jmp *G(UA_RIP)

/* The body of an environment that only uses time. An emulator is fast where jumps are rare. */
  .globl native_spin
native_spin:
  .rept 250
  incq %rax
  .endr
  jmp native_spin

  .section .bss
  .balign 4096
  .skip 65536
native_stack:
  .globl native_entry_stacks, native_nested_stack, native_places, native_text, native_words
  .skip 16384
native_entry_stacks:
  .skip 4096
native_nested_stack:
  .balign 4096
native_places: .skip NATIVE_PLACES * NATIVE_PLACE_SIZE
native_text: .skip 4096
native_words: .skip 4096
