/* SPDX-License-Identifier: Apache-2.0 */
/* EntryMacros.h: what Entry.S and Guard.S do alike on the way into the LibOS and out of it. */
#ifndef APUS_ENTRY_MACROS_H
#define APUS_ENTRY_MACROS_H
#ifdef __ASSEMBLER__
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

/* Linux calls with a constant answer: goes back to the application, or on to `otherwise`. Nothing is written. */
  .macro ANSWER otherwise
  cmpl $128, %eax
  jae \otherwise
  movl %eax, %ecx
  leaq runtime_answers(%rip), %r11
  movzbl (%r11,%rcx), %ecx
  testl %ecx, %ecx
  jz \otherwise
  cmpb $0, G(UA_ANSWERS_ON)
  je \otherwise
  movq %gs:UA_ANSWERS(,%rcx,8), %rax
  movq G(APUS_UA_FOREIGN_RIP), %rcx
  movq %rsp, %r11
  movq G(UA_FOREIGN_FLAGS_ADDRESS), %rsp
  popfq
  movq %r11, %rsp
  jmp *%rcx
  .endm

/* A foreign system call: from the stack of the LibOS through Swift. */
  .macro PERFORM_FOREIGN_CALL
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
  .endm

/* An exception: of the application through Swift, of the LibOS to the end of the family. */
  .macro HANDLE_EXCEPTION
  movq SAVE(APUS_UA_EXCEPTION, APUS_SAVE_RIP), %rax
  shrq $40, %rax
  cmpl $(APUS_LIBOS_BASE >> 40), %eax
  je runtime_own_fault
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
  .endm

/* The registers of a frame but rax, rcx, rdx, rsi, rdi. */
  .macro POP_HIGH_REGISTERS
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
  .endm

/* At the begin of a slice: what the execution had, and where it goes on. */
  .macro BEGIN_SLICE leave
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xrstor64 UA_VECTORS(%rcx)
  movq G(UA_FS), %rax
  wrfsbase %rax
  movq G(UA_SAVED_RSP), %rsp
  cmpq $UA_MODE_SUSPENDED, G(UA_MODE)
  je runtime_resume_suspended
  cmpq $0, G(UA_ATTENTION)
  je \leave
  movq 16*8(%rsp), %rax                   /* rip: inside an entry the frame must go back there first */
  shrq $40, %rax
  cmpl $(APUS_LIBOS_BASE >> 40), %eax
  je \leave
  movq %rsp, %rdi
  call linux_attention
  jmp \leave
  .endm
#endif
#endif
