/* SPDX-License-Identifier: Apache-2.0 */
/* Entry.S: where the kernel's upcalls arrive in a LibOS, and the way back to the application, which needs no kernel.
 *
 * The GS base points at the u-area. (Guard.S has the entries of a guarded family.) While the critical word is set nothing interrupts; it is set by the first
 * instructions of each entry and cleared last. Three places can still be interrupted by a slice's end: the first
 * instructions of an entry (only registers have changed, so it is saved like application code), and two that
 * runtime_slice_end_entry knows by their addresses: the tail of the return path (registers are restored, the rest of the frame is
 * still on the stack) and the first instruction of slice begin (the saved state is still whole).
 *
 * Every entry builds the same frame, struct runtime_registers, at the top of the LibOS stack. */
#include "EntryMacros.h"

  .text
  .globl runtime_entry_start
runtime_entry_start:

/* ---- foreign system calls --------------------------------------------------------------------------- */
  .globl runtime_foreign_entry
  .balign 64
runtime_foreign_entry:
  ANSWER 1f
1:movq $1, G(APUS_UA_CRITICAL)
  PERFORM_FOREIGN_CALL

/* ---- back to the application ------------------------------------------------------------------------- */
return_to_application:
  POP_HIGH_REGISTERS
  popq %rax
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  addq $8, %rsp
  movq $0, G(APUS_UA_CRITICAL)
return_tail:                             /* interruptible from here to return_iret */
  cmpq $0, G(APUS_UA_PENDING)
  jne return_pending
return_iret:
  iretq
return_pending:
  movq $1, G(APUS_UA_CRITICAL)
return_pending_critical:
  pushq $-1
  PUSH_LOW_REGISTERS %rcx, %rax
  movq %rsp, %rdi
  call runtime_pending
  jmp return_to_application

/* ---- exceptions -------------------------------------------------------------------------------------- */
  .globl runtime_exception_entry
  .balign 64
runtime_exception_entry:
  movq $1, G(APUS_UA_CRITICAL)
  HANDLE_EXCEPTION
  jmp return_to_application

/* A fault in the LibOS itself: its stack must stay as it is for the report. */
  .globl runtime_own_fault
runtime_own_fault:
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_CAUSE), %rdi
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RIP), %rsi
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_ADDRESS), %rdx
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RSP), %rcx
  movq %rbp, %r8
  call runtime_libos_fault
  ud2

  .globl runtime_nested_entry
runtime_nested_entry:
  movq $1, G(APUS_UA_CRITICAL)
  .globl runtime_nested_fault
runtime_nested_fault:
  movq SAVE(APUS_UA_NESTED, APUS_SAVE_CAUSE), %rdi
  movq SAVE(APUS_UA_NESTED, APUS_SAVE_RIP), %rsi
  movq SAVE(APUS_UA_NESTED, APUS_SAVE_ADDRESS), %rdx
  movq SAVE(APUS_UA_NESTED, APUS_SAVE_RSP), %rcx
  movq %rbp, %r8
  call runtime_libos_fault
  ud2

/* ---- slices ------------------------------------------------------------------------------------------ */
  .globl runtime_slice_end_entry
  .balign 64
runtime_slice_end_entry:
  movq $1, G(APUS_UA_CRITICAL)
  movq SAVE(APUS_UA_SLICE, APUS_SAVE_RIP), %rax
  leaq runtime_slice_begin_entry(%rip), %rcx
  cmpq %rcx, %rax
  je runtime_give_up_slice                /* what was saved before is still whole */
  movq G(UA_STACK), %rsp
  leaq return_tail(%rip), %rcx
  subq %rcx, %rax
  cmpq $(return_pending - return_tail), %rax
  jbe in_return_tail
  .globl runtime_interrupted
runtime_interrupted:
  pushq $APUS_USER_DATA_SELECTOR
  pushq SAVE(APUS_UA_SLICE, APUS_SAVE_RSP)
  pushq SAVE(APUS_UA_SLICE, APUS_SAVE_FLAGS)
  pushq $APUS_USER_CODE_SELECTOR
  pushq SAVE(APUS_UA_SLICE, APUS_SAVE_RIP)
frame_of_slice_end:
  pushq $-1
  PUSH_LOW_REGISTERS SAVE(APUS_UA_SLICE, APUS_SAVE_RCX), SAVE(APUS_UA_SLICE, APUS_SAVE_RAX)
  .globl runtime_save_frame
runtime_save_frame:
  movq %rsp, G(UA_SAVED_RSP)
  movq $UA_MODE_APPLICATION, G(UA_MODE)
  rdfsbase %rax
  movq %rax, G(UA_FS)
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xsave64 UA_VECTORS(%rcx)
  .globl runtime_give_up_slice
runtime_give_up_slice:
  movq $0, SAVE(APUS_UA_SLICE, APUS_SAVE_IN_USE)
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movq G(UA_HEIR), %rdi
yield_slice:
  movl $(APUS_CALL_BIT | 1), %eax         /* yield */
  syscall
  xorl %edi, %edi                         /* the heir has ended: to nobody */
  jmp yield_slice
in_return_tail:                           /* the rest of the frame is on the stack already */
  subq $40, %rsp
  jmp frame_of_slice_end

  .globl runtime_slice_begin_entry
  .balign 64
runtime_slice_begin_entry:
  movq $1, G(APUS_UA_CRITICAL)
  BEGIN_SLICE return_to_application
  .globl runtime_resume_suspended
runtime_resume_suspended:
  movq $1, G(UA_WAIT_WORD)
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

/* What a suspended execution keeps; rcx, the target, goes where the call takes it. */
  .macro SAVE_SUSPENDED
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, G(UA_SAVED_RSP)
  movq $UA_MODE_SUSPENDED, G(UA_MODE)
  movq %rdx, %r8
  rdfsbase %rax
  movq %rax, G(UA_FS)
  movq %rcx, %r10
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xsave64 UA_VECTORS(%rcx)
  movq %r8, %rdx
  .endm

/* runtime_suspend_any(list, count, deadline, target) */
  .globl runtime_suspend_any
runtime_suspend_any:
  SAVE_SUSPENDED
  movl $(APUS_CALL_BIT | 0x0c), %eax      /* waitAny */
  syscall
  jmp runtime_resume_suspended

/* runtime_suspend(word, value, deadline, target); word 1: yield to the target */
  .globl runtime_suspend
runtime_suspend:
  movq %rdi, G(UA_WAIT_WORD)
  movq %rsi, G(UA_WAIT_VALUE)
  movq %rdx, G(UA_WAIT_DEADLINE)
  SAVE_SUSPENDED
  cmpq $1, %rdi
  je 1f
  movl $(APUS_CALL_BIT | 2), %eax         /* sleep; comes back here only if what it waits for has happened */
  syscall
  jmp runtime_resume_suspended
1:movl $(APUS_CALL_BIT | 1), %eax
  movq %r10, %rdi
  syscall
  jmp runtime_resume_suspended

/* The first thing that a system execution does. */
  .globl runtime_system_start
runtime_system_start:
  xorl %ebp, %ebp
  call runtime_system_body
  ud2

/* The page server's environment, in another family: each slice begins at the top. */
  .globl runtime_page_server_entry
runtime_page_server_entry:
  xorl %ebp, %ebp
  call runtime_page_server
  ud2

/* ---- start ------------------------------------------------------------------------------------------- */
  .globl runtime_start
runtime_start:
  movq $1, G(APUS_UA_CRITICAL)
  leaq runtime_start_stack(%rip), %rsp
  leaq runtime_exception_entry(%rip), %rax
  movq %rax, G(APUS_UA_EXCEPTION_ENTRY)
  leaq start_fault_stack(%rip), %rax
  movq %rax, G(APUS_UA_EXCEPTION_STACK)
  xorl %ebp, %ebp
  call runtime_main
  ud2

  .section .rodata
/* Linux numbers with constant answers: getpid, getuid, getgid, geteuid, getegid, getppid, getpgrp */
  .globl runtime_answers
runtime_answers:
  .skip 39
  .byte 1
  .skip 62
  .byte 2, 0, 3, 0, 0, 4, 5, 0, 6, 7
  .skip 16

  .section .bss
  .balign 4096
  .skip 8192
start_fault_stack:
  .skip 65536
  .globl runtime_start_stack
runtime_start_stack:
