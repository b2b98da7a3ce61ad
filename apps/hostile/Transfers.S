/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers.S: both ends of protected control transfers. */
#include "Layout.h"

#define G(offset) %gs:offset

  .text
/* A protected entry that answers at once. If its slice has ended it has nothing to save: what it was before is. */
  .globl hostile_quick_entry
hostile_quick_entry:
  movl $(APUS_CALL_BIT | CALL_TRANSFER_RETURN), %eax
  syscall
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $(APUS_CALL_BIT | CALL_YIELD), %eax
  xorl %edi, %edi
  syscall
  ud2

  .macro STORE_ALL file
  movq %rax, \file + REGISTER_RAX(%rip)
  movq %rcx, \file + REGISTER_RCX(%rip)
  movq %rdx, \file + REGISTER_RDX(%rip)
  movq %rbx, \file + REGISTER_RBX(%rip)
  movq %rsp, \file + REGISTER_RSP(%rip)
  movq %rbp, \file + REGISTER_RBP(%rip)
  movq %rsi, \file + REGISTER_RSI(%rip)
  movq %rdi, \file + REGISTER_RDI(%rip)
  movq %r8, \file + REGISTER_R8(%rip)
  movq %r9, \file + REGISTER_R9(%rip)
  movq %r10, \file + REGISTER_R10(%rip)
  movq %r11, \file + REGISTER_R11(%rip)
  movq %r12, \file + REGISTER_R12(%rip)
  movq %r13, \file + REGISTER_R13(%rip)
  movq %r14, \file + REGISTER_R14(%rip)
  movq %r15, \file + REGISTER_R15(%rip)
  .endm

  /* All but the stack pointer and what SYSCALL itself takes. */
  .macro LOAD_ALL file, rest:vararg
  movq \file + REGISTER_RDX\rest, %rdx
  movq \file + REGISTER_R8\rest, %r8
  movq \file + REGISTER_R9\rest, %r9
  movq \file + REGISTER_R10\rest, %r10
  movq \file + REGISTER_RBX\rest, %rbx
  movq \file + REGISTER_RBP\rest, %rbp
  movq \file + REGISTER_R12\rest, %r12
  movq \file + REGISTER_R13\rest, %r13
  movq \file + REGISTER_R14\rest, %r14
  movq \file + REGISTER_R15\rest, %r15
  .endm

  .macro STORE_STATE file, bases, vectors
  STORE_ALL \file
  pushfq
  popq \file + REGISTER_FLAGS(%rip)
  rdfsbase %rax
  movq %rax, \bases(%rip)
  rdgsbase %rax
  movq %rax, \bases + 8(%rip)
  movl $7, %eax
  xorl %edx, %edx
  xsave64 \vectors(%rip)
  .endm

/* The protected entry of a child: writes everything down, does what its UA_SERVICE says, and answers with the registers
 * of hostile_reply, those that are no message too. */
  .globl hostile_protected_entry
hostile_protected_entry:
  STORE_STATE hostile_entered, hostile_entered_bases, hostile_entered_vectors
  incq G(UA_SERVED)
  movq G(APUS_UA_SELF), %rdi
  call hostile_serve
  cmpq $SERVICE_KEEP, G(UA_SERVICE)
  je keep
  cmpq $SERVICE_VECTORS, G(UA_SERVICE)
  jne answer
  movl $7, %eax
  xorl %edx, %edx
  xrstor64 hostile_holder_vectors(%rip)
  movq hostile_holder_fs(%rip), %rax
  wrfsbase %rax
answer:
  LOAD_ALL hostile_reply, (%rip)
  movq hostile_reply + REGISTER_RSI(%rip), %rsi
  movq hostile_reply + REGISTER_RDI(%rip), %rdi
  movl $(APUS_CALL_BIT | CALL_TRANSFER_RETURN), %eax
  syscall
  movq %rax, G(UA_ANSWER)
  incq G(UA_REFUSED)
  movl $CALL_YIELD, %edi
  xorl %esi, %esi
  call hostile_suspend
  jmp answer

keep:
  movl $7, %eax
  xorl %edx, %edx
  xrstor64 hostile_holder_vectors(%rip)
  movl $(APUS_CALL_BIT | CALL_YIELD), %eax
  xorl %edi, %edi
  syscall
  ud2

/* hostile_transfer(file, target, deadline): calls with the registers of the file, with patterns in the vector registers
 * if the file's flags are not zero. Returns RESUMED when control came back at the reply entry, or the refusal. */
  .globl hostile_transfer, hostile_reply_entry
hostile_transfer:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, G(APUS_UA_REPLY_STACK)
  leaq hostile_reply_entry(%rip), %rax
  movq %rax, G(APUS_UA_REPLY_ENTRY)
  movq %rdi, %r11
  movq %rsi, %rdi
  movq %rdx, %rsi
  cmpq $0, REGISTER_FLAGS(%r11)
  je 1f
  movl $7, %eax
  xorl %edx, %edx
  xrstor64 hostile_holder_vectors(%rip)
  movq hostile_holder_fs(%rip), %rax
  wrfsbase %rax
1:LOAD_ALL 0, (%r11)
  movl $(APUS_CALL_BIT | CALL_TRANSFER), %eax
  syscall
  jmp 2f
hostile_reply_entry:
  STORE_STATE hostile_replied, hostile_replied_bases, hostile_replied_vectors
  movq $RESUMED, %rax
2:popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

  .section .bss
  .balign 64
  .globl hostile_entered, hostile_entered_bases, hostile_entered_vectors
  .globl hostile_reply, hostile_replied, hostile_replied_bases, hostile_replied_vectors
hostile_entered_vectors: .skip 1088
hostile_replied_vectors: .skip 1088
hostile_entered: .skip REGISTER_FILE_SIZE
hostile_reply: .skip REGISTER_FILE_SIZE
hostile_replied: .skip REGISTER_FILE_SIZE
hostile_entered_bases: .skip 16
hostile_replied_bases: .skip 16
