/* SPDX-License-Identifier: Apache-2.0 */
/* Entry.S: where the kernel's upcalls arrive in a LibOS, and the way back to the application, which needs no kernel.
 *
 * The GS base points at the u-area. While the critical word is set nothing interrupts; it is set by the first
 * instructions of each entry and cleared last. Three places can still be interrupted by a slice's end: the first
 * instructions of an entry (only registers have changed, so it is saved like application code), and two that
 * runtime_slice_end_entry knows by their addresses: the tail of the return path (registers are restored, the rest of the frame is
 * still on the stack) and the first instruction of slice begin (the saved state is still whole).
 *
 * Every entry builds the same frame, struct runtime_registers, at the top of the LibOS stack. */
#include "CRuntime.h"

#define G(offset) %gs:offset
#define SAVE(area, field) %gs:area+field

  .macro PUSH_LOW_REGISTERS rcx, rax
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq \rcx
  pushq \rax
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  .endm

  .text
  .globl runtime_entry_start
runtime_entry_start:

/* ---- foreign system calls --------------------------------------------------------------------------- */
  .globl runtime_foreign_entry
  .balign 64
runtime_foreign_entry:
  cmpl $128, %eax
  jae 1f
  movl %eax, %ecx
  leaq answers(%rip), %r11
  movzbl (%r11,%rcx), %ecx
  testl %ecx, %ecx
  jz 1f
  cmpb $0, G(UA_ANSWERS_ON)
  je 1f
  movq %gs:UA_ANSWERS(,%rcx,8), %rax
  movq G(APUS_UA_FOREIGN_RIP), %rcx
  movq %rsp, %r11
  movq G(APUS_UA_EXCEPTION_STACK), %rsp
  pushq G(APUS_UA_FOREIGN_FLAGS)
  popfq
  movq %r11, %rsp
  jmp *%rcx

1:movq $1, G(APUS_UA_CRITICAL)
  movq %rsp, G(UA_APPLICATION_RSP)
  movq G(UA_STACK), %rsp
  pushq $APUS_USER_DATA_SELECTOR
  pushq G(UA_APPLICATION_RSP)
  pushq G(APUS_UA_FOREIGN_FLAGS)
  pushq $APUS_USER_CODE_SELECTOR
  pushq G(APUS_UA_FOREIGN_RIP)
  pushq %rax
  PUSH_LOW_REGISTERS G(APUS_UA_FOREIGN_RIP), %rax
  movq %rsp, %rdi
  call linux_system_call

/* ---- back to the application ------------------------------------------------------------------------- */
return_to_application:
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  popq %r11
  popq %r10
  popq %r9
  popq %r8
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
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RIP), %rax
  shrq $40, %rax
  cmpl $(APUS_LIBOS_BASE >> 40), %eax
  je libos_fault
  movq G(UA_STACK), %rsp
  pushq $APUS_USER_DATA_SELECTOR
  pushq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RSP)
  pushq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_FLAGS)
  pushq $APUS_USER_CODE_SELECTOR
  pushq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RIP)
  pushq $-1
  PUSH_LOW_REGISTERS SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RCX), SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RAX)
  movq %rsp, %rdi
  movzbl SAVE(APUS_UA_EXCEPTION, APUS_SAVE_CAUSE), %esi
  movl SAVE(APUS_UA_EXCEPTION, APUS_SAVE_CAUSE + 4), %edx
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_ADDRESS), %rcx
  movq $0, SAVE(APUS_UA_EXCEPTION, APUS_SAVE_IN_USE)
  call linux_fault
  jmp return_to_application

/* A fault in the LibOS itself: its stack must stay as it is for the report. */
libos_fault:
  movzbl SAVE(APUS_UA_EXCEPTION, APUS_SAVE_CAUSE), %edi
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RIP), %rsi
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_ADDRESS), %rdx
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RSP), %rcx
  movq %rbp, %r8
  call runtime_libos_fault
  ud2

  .globl runtime_nested_entry
runtime_nested_entry:
  movq $1, G(APUS_UA_CRITICAL)
  movzbl SAVE(APUS_UA_NESTED, APUS_SAVE_CAUSE), %edi
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
  je give_up_slice                        /* what was saved before is still whole */
  movq G(UA_STACK), %rsp
  leaq return_tail(%rip), %rcx
  subq %rcx, %rax
  cmpq $(return_pending - return_tail), %rax
  jbe in_return_tail
  pushq $APUS_USER_DATA_SELECTOR
  pushq SAVE(APUS_UA_SLICE, APUS_SAVE_RSP)
  pushq SAVE(APUS_UA_SLICE, APUS_SAVE_FLAGS)
  pushq $APUS_USER_CODE_SELECTOR
  pushq SAVE(APUS_UA_SLICE, APUS_SAVE_RIP)
frame_of_slice_end:
  pushq $-1
  PUSH_LOW_REGISTERS SAVE(APUS_UA_SLICE, APUS_SAVE_RCX), SAVE(APUS_UA_SLICE, APUS_SAVE_RAX)
  movq %rsp, G(UA_SAVED_RSP)
  movq $UA_MODE_APPLICATION, G(UA_MODE)
  rdfsbase %rax
  movq %rax, G(UA_FS)
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xsave64 UA_VECTORS(%rcx)
give_up_slice:
  movq $0, SAVE(APUS_UA_SLICE, APUS_SAVE_IN_USE)
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $(APUS_CALL_BIT | 1), %eax         /* yield */
  xorl %edi, %edi
  syscall
  ud2
in_return_tail:                           /* the rest of the frame is on the stack already */
  subq $40, %rsp
  jmp frame_of_slice_end

  .globl runtime_slice_begin_entry
  .balign 64
runtime_slice_begin_entry:
  movq $1, G(APUS_UA_CRITICAL)
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xrstor64 UA_VECTORS(%rcx)
  movq G(UA_FS), %rax
  wrfsbase %rax
  movq G(UA_SAVED_RSP), %rsp
  cmpq $UA_MODE_SUSPENDED, G(UA_MODE)
  je resume_suspended
  cmpq $0, G(UA_ATTENTION)
  je return_to_application
  movq 16*8(%rsp), %rax                   /* rip: inside an entry the frame must go back there first */
  shrq $40, %rax
  cmpl $(APUS_LIBOS_BASE >> 40), %eax
  je return_to_application
  movq %rsp, %rdi
  call linux_attention
  jmp return_to_application
resume_suspended:
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

/* runtime_suspend(word, value, deadline, target); word 1: yield to the target */
  .globl runtime_suspend
runtime_suspend:
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
  cmpq $1, %rdi
  je 1f
  movl $(APUS_CALL_BIT | 2), %eax         /* sleep; comes back here only if what it waits for has happened */
  syscall
  jmp resume_suspended
1:movl $(APUS_CALL_BIT | 1), %eax
  movq %r10, %rdi
  syscall
  jmp resume_suspended

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
answers:
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
