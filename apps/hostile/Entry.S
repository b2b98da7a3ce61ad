/* SPDX-License-Identifier: Apache-2.0 */
/* Entry.S: where the kernel's upcalls arrive in hostile, and the ways back, none of which enters the kernel.
 *
 * The GS base points at the u-area of whichever environment runs. Every environment uses these entries. Preemption is
 * on nearly always: only where the context of a slice's end is written or read is the critical word set, and it stays
 * set across the yield, so that the slice begins with it.
 *
 * The way back from an exception and from a slice's end is the same: the last registers move below the
 * interrupted stack's red zone, where nothing else writes, so every instruction of it may itself be interrupted. The
 * last instruction is IRETQ, as only that sets the trap flag without a trap before the next instruction. */
#include "Layout.h"

#define G(offset) %gs:offset
#define SAVE(area, field) %gs:area+field

  /* All registers that an upcall leaves alone. */
  .macro STORE_REGISTERS file
  movq %rdx, G(\file + REGISTER_RDX)
  movq %rbx, G(\file + REGISTER_RBX)
  movq %rbp, G(\file + REGISTER_RBP)
  movq %rsi, G(\file + REGISTER_RSI)
  movq %rdi, G(\file + REGISTER_RDI)
  movq %r8, G(\file + REGISTER_R8)
  movq %r9, G(\file + REGISTER_R9)
  movq %r10, G(\file + REGISTER_R10)
  movq %r11, G(\file + REGISTER_R11)
  movq %r12, G(\file + REGISTER_R12)
  movq %r13, G(\file + REGISTER_R13)
  movq %r14, G(\file + REGISTER_R14)
  movq %r15, G(\file + REGISTER_R15)
  .endm

  /* Those that the kernel put into a save area. */
  .macro COPY_SAVED area, file
  movq SAVE(\area, APUS_SAVE_RAX), %rax
  movq %rax, G(\file + REGISTER_RAX)
  movq SAVE(\area, APUS_SAVE_RCX), %rax
  movq %rax, G(\file + REGISTER_RCX)
  movq SAVE(\area, APUS_SAVE_RIP), %rax
  movq %rax, G(\file + REGISTER_RIP)
  movq SAVE(\area, APUS_SAVE_FLAGS), %rax
  movq %rax, G(\file + REGISTER_FLAGS)
  movq SAVE(\area, APUS_SAVE_RSP), %rax
  movq %rax, G(\file + REGISTER_RSP)
  .endm

  /* Loads a register file but for what RETURN loads, which it puts below the red zone. */
  .macro LOAD_REGISTERS file
  movq G(\file + REGISTER_RDX), %rdx
  movq G(\file + REGISTER_RBX), %rbx
  movq G(\file + REGISTER_RBP), %rbp
  movq G(\file + REGISTER_RSI), %rsi
  movq G(\file + REGISTER_RDI), %rdi
  movq G(\file + REGISTER_R8), %r8
  movq G(\file + REGISTER_R9), %r9
  movq G(\file + REGISTER_R10), %r10
  movq G(\file + REGISTER_R11), %r11
  movq G(\file + REGISTER_R12), %r12
  movq G(\file + REGISTER_R13), %r13
  movq G(\file + REGISTER_R14), %r14
  movq G(\file + REGISTER_R15), %r15
  movq G(\file + REGISTER_RSP), %rcx
  subq $(128 + 56), %rcx
  movq G(\file + REGISTER_RAX), %rax
  movq %rax, (%rcx)
  movq G(\file + REGISTER_RCX), %rax
  movq %rax, 8(%rcx)
  movq G(\file + REGISTER_RIP), %rax
  movq %rax, 16(%rcx)
  movq $USER_CODE_SELECTOR, 24(%rcx)
  movq G(\file + REGISTER_FLAGS), %rax
  movq %rax, 32(%rcx)
  movq G(\file + REGISTER_RSP), %rax
  movq %rax, 40(%rcx)
  movq $USER_DATA_SELECTOR, 48(%rcx)
  movq %rcx, %rsp
  .endm

  .macro RETURN
  popq %rax
  popq %rcx
  iretq
  .endm

  .text
/* ---- start ---- */
  .globl hostile_start
hostile_start:
  movq $1, G(APUS_UA_CRITICAL)            /* no entry is set up yet */
  leaq main_stack_top(%rip), %rsp
  xorl %ebp, %ebp
  call hostile_main
  ud2

/* ---- exceptions ---- */
  .macro EXCEPTION_ENTRY name, area, record, counter, handler
  .globl \name
  .balign 64
\name:
  movq %rax, G(\record + RECORD_ENTRY_RAX)
  movq %rcx, G(\record + RECORD_ENTRY_RCX)
  movq %rsp, G(\record + RECORD_ENTRY_RSP)
  pushfq
  popq G(\record + RECORD_ENTRY_FLAGS)
  STORE_REGISTERS \record
  COPY_SAVED \area, \record
  movq SAVE(\area, APUS_SAVE_CAUSE), %rax
  movq %rax, G(\record + RECORD_CAUSE)
  movq SAVE(\area, APUS_SAVE_ADDRESS), %rax
  movq %rax, G(\record + RECORD_ADDRESS)
  incq G(\counter)
  movq G(APUS_UA_SELF), %rdi
  leaq \record(%rdi), %rsi
  call \handler
  .endm

  EXCEPTION_ENTRY hostile_exception_entry, APUS_UA_EXCEPTION, UA_RECORD, UA_EXCEPTIONS, hostile_exception
  cmpq $0, G(UA_STEPS_RESUME)
  je 1f
  movq $0, G(UA_STEPS_RESUME)
  pushfq
  orq $FLAG_TRAP, (%rsp)
  popfq                                   /* the trap comes after the next instruction */
  .globl hostile_resume, hostile_resume_released, hostile_resume_end
hostile_resume:
1:LOAD_REGISTERS UA_RECORD
  movq $0, SAVE(APUS_UA_EXCEPTION, APUS_SAVE_IN_USE)
hostile_resume_released:
  RETURN
hostile_resume_end:

  EXCEPTION_ENTRY hostile_nested_entry, APUS_UA_NESTED, UA_NESTED_RECORD, UA_NESTED_EXCEPTIONS, hostile_nested
  LOAD_REGISTERS UA_NESTED_RECORD
  movq $0, SAVE(APUS_UA_NESTED, APUS_SAVE_IN_USE)
  RETURN

/* hostile_fault_here(): faults, in the middle of a handler. */
  .globl hostile_fault_here, hostile_fault_here_next
hostile_fault_here:
  ud2
hostile_fault_here_next:
  ret

/* Entries of a child that handles nothing: each faults again. */
  .globl hostile_faulting_entry, hostile_faulting_nested_entry
hostile_faulting_entry:
  ud2
hostile_faulting_nested_entry:
  ud2

/* A slice begin that needs no stack and no u-area of its own: sleeps until the last of hostile_globals changes. */
  .globl hostile_sleeper_entry
hostile_sleeper_entry:
  leaq hostile_globals + 248(%rip), %rdi
  movq (%rdi), %rsi
  movq $-1, %rdx
  xorl %r10d, %r10d
  movl $(APUS_CALL_BIT | CALL_SLEEP), %eax
  syscall
  jmp hostile_sleeper_entry

/* ---- foreign calls ---- */
  .globl hostile_foreign_entry
hostile_foreign_entry:
  movq %rax, foreign_number(%rip)
  movabsq $FOREIGN_ANSWER, %rax
  movq G(APUS_UA_FOREIGN_FLAGS), %r11
  movq G(APUS_UA_FOREIGN_RIP), %rcx
  jmp *%rcx

/* ---- slices ---- */
  .globl hostile_slice_end_entry
  .balign 64
hostile_slice_end_entry:
  movq $1, G(APUS_UA_CRITICAL)
  incq G(UA_SLICE_ENDS)
slice_end_saved:
  STORE_REGISTERS UA_CONTEXT
  COPY_SAVED APUS_UA_SLICE, UA_CONTEXT
  rdfsbase %rax
  movq %rax, G(UA_CONTEXT_FS)
  movq G(APUS_UA_SELF), %rcx
  movl $-1, %eax
  movl $-1, %edx
  xsave64 UA_VECTORS(%rcx)
  movq $0, SAVE(APUS_UA_SLICE, APUS_SAVE_IN_USE)
give_up_slice:
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $(APUS_CALL_BIT | CALL_YIELD), %eax
  xorl %edi, %edi
  syscall
  ud2

/* A slice-end entry outside of any critical section that dawdles once, past its bound and a further slice; how long is
 * UA_WORD3. Nobody else may be ready meanwhile. */
  .globl hostile_slow_slice_end_entry
hostile_slow_slice_end_entry:
  cmpq $0, G(UA_WORD2)
  jne hostile_slice_end_entry
  pushq %rdx
  rdtsc
  shlq $32, %rdx
  leaq (%rax,%rdx), %rcx
1:rdtsc
  shlq $32, %rdx
  addq %rdx, %rax
  subq %rcx, %rax
  shrq $10, %rax
  cmpq G(UA_WORD3), %rax
  jb 1b
  popq %rdx
  movq $1, G(UA_WORD2)
  jmp hostile_slice_end_entry

/* The kernel asks for something back: the slice begins here instead. */
  .globl hostile_revocation_entry
  .balign 64
hostile_revocation_entry:
  incq G(UA_REVOCATIONS)
  andq $~APUS_PENDING_REVOCATION, G(APUS_UA_PENDING)
  jmp hostile_slice_begin_entry

  .globl hostile_slice_begin_entry
  .balign 64
hostile_slice_begin_entry:
  incq G(UA_SLICE_BEGINS)
  movq G(APUS_UA_SELF), %rcx
  movl $-1, %eax
  movl $-1, %edx
  xrstor64 UA_VECTORS(%rcx)
  movq G(UA_CONTEXT_FS), %rax
  wrfsbase %rax
  testq $APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  jnz give_up_slice                       /* the context is still whole */
  LOAD_REGISTERS UA_CONTEXT
  movq $0, G(APUS_UA_CRITICAL)
  testq $APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  jnz late_slice_end
slice_return:
  RETURN
late_slice_end:                           /* the slice ended between the question and the end of the critical section */
  movq $1, G(APUS_UA_CRITICAL)
  leaq slice_return(%rip), %rax
  movq %rax, SAVE(APUS_UA_SLICE, APUS_SAVE_RIP)
  movq $0x202, SAVE(APUS_UA_SLICE, APUS_SAVE_FLAGS)
  movq %rsp, SAVE(APUS_UA_SLICE, APUS_SAVE_RSP)
  jmp slice_end_saved

/* hostile_suspend(call, a0, a1, a2, a3): yields or sleeps. Returns RESUMED when a slice begins, or what the call
 * returned at once. */
  .globl hostile_suspend
hostile_suspend:
  movq $1, G(APUS_UA_CRITICAL)
  movq %rbx, G(UA_CONTEXT + REGISTER_RBX)
  movq %rbp, G(UA_CONTEXT + REGISTER_RBP)
  movq %r12, G(UA_CONTEXT + REGISTER_R12)
  movq %r13, G(UA_CONTEXT + REGISTER_R13)
  movq %r14, G(UA_CONTEXT + REGISTER_R14)
  movq %r15, G(UA_CONTEXT + REGISTER_R15)
  popq G(UA_CONTEXT + REGISTER_RIP)
  movq %rsp, G(UA_CONTEXT + REGISTER_RSP)
  movq $0x202, G(UA_CONTEXT + REGISTER_FLAGS)
  movq $RESUMED, G(UA_CONTEXT + REGISTER_RAX)
  movq %rdi, %r9
  movq %rsi, %rdi
  movq %rdx, %rsi
  movq %rcx, %r11
  movq %r8, %r10
  rdfsbase %rax
  movq %rax, G(UA_CONTEXT_FS)
  movq G(APUS_UA_SELF), %rcx
  movl $-1, %eax
  movl $-1, %edx
  xsave64 UA_VECTORS(%rcx)
  movq %r11, %rdx
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $APUS_CALL_BIT, %eax
  orl %r9d, %eax
  syscall
  movq %rax, G(UA_CONTEXT + REGISTER_RAX)
  testq $APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  jnz give_up_slice
  movq $0, G(APUS_UA_CRITICAL)
  jmp *G(UA_CONTEXT + REGISTER_RIP)

/* ---- probes ----
 * hostile_probe(file): loads every register of the file and goes to its rip. Whatever jumps to hostile_probe_end then
 * leaves all registers in hostile_after and returns to the caller. One at a time. */
  .globl hostile_probe
hostile_probe:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, probe_caller(%rip)
  movq REGISTER_RDX(%rdi), %rdx
  movq REGISTER_RBX(%rdi), %rbx
  movq REGISTER_RBP(%rdi), %rbp
  movq REGISTER_RSI(%rdi), %rsi
  movq REGISTER_R8(%rdi), %r8
  movq REGISTER_R9(%rdi), %r9
  movq REGISTER_R10(%rdi), %r10
  movq REGISTER_R11(%rdi), %r11
  movq REGISTER_R12(%rdi), %r12
  movq REGISTER_R13(%rdi), %r13
  movq REGISTER_R14(%rdi), %r14
  movq REGISTER_R15(%rdi), %r15
  movq REGISTER_RCX(%rdi), %rcx
  movq REGISTER_RSP(%rdi), %rsp
  pushq REGISTER_RIP(%rdi)
  pushq REGISTER_FLAGS(%rdi)
  movq REGISTER_RAX(%rdi), %rax
  movq REGISTER_RDI(%rdi), %rdi
  popfq
  ret

  .globl hostile_probe_end
hostile_probe_end:
  movq %rax, hostile_after + REGISTER_RAX(%rip)
  movq %rcx, hostile_after + REGISTER_RCX(%rip)
  movq %rdx, hostile_after + REGISTER_RDX(%rip)
  movq %rbx, hostile_after + REGISTER_RBX(%rip)
  movq %rsp, hostile_after + REGISTER_RSP(%rip)
  movq %rbp, hostile_after + REGISTER_RBP(%rip)
  movq %rsi, hostile_after + REGISTER_RSI(%rip)
  movq %rdi, hostile_after + REGISTER_RDI(%rip)
  movq %r8, hostile_after + REGISTER_R8(%rip)
  movq %r9, hostile_after + REGISTER_R9(%rip)
  movq %r10, hostile_after + REGISTER_R10(%rip)
  movq %r11, hostile_after + REGISTER_R11(%rip)
  movq %r12, hostile_after + REGISTER_R12(%rip)
  movq %r13, hostile_after + REGISTER_R13(%rip)
  movq %r14, hostile_after + REGISTER_R14(%rip)
  movq %r15, hostile_after + REGISTER_R15(%rip)
  movq probe_caller(%rip), %rsp
  pushfq
  popq hostile_after + REGISTER_FLAGS(%rip)
  pushq $0x202
  popfq
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

  .section .bss
  .balign 4096
  .skip 65536
main_stack_top:
  .skip 16384
  .globl hostile_exception_stack, hostile_nested_stack, hostile_slice_stack, hostile_probe_stack
hostile_exception_stack:
  .skip 16384
hostile_nested_stack:
  .skip 4096
hostile_slice_stack:
  .skip 16384
hostile_probe_stack:
  .skip 4096
  .globl hostile_after, hostile_file, hostile_text, hostile_words, hostile_globals
hostile_after: .skip REGISTER_FILE_SIZE
hostile_file: .skip REGISTER_FILE_SIZE
probe_caller: .skip 8
  .globl foreign_number
foreign_number: .skip 8
hostile_globals: .skip 256
  .balign 4096
hostile_text: .skip 8192
hostile_words: .skip 8192                 /* lists for calls: two pages */
