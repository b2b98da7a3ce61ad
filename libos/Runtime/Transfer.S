/* SPDX-License-Identifier: Apache-2.0 */
/* Transfer.S: both ends of a protected control transfer, as functions of the LibOS.
 *
 * All of it runs with the critical word set, as the LibOS does. A message lies in memory as struct runtime_message; its
 * nine words travel in rdx, r8, r10, rbx, rbp, r12-r15. What is no message is the LibOS's own: callee-saved registers and
 * the application's FS base and vector registers wait here. */
#include "CRuntime.h"

#define G(offset) %gs:offset

  .macro LOAD_MESSAGE from
  movq 0(\from), %rdx
  movq 8(\from), %r8
  movq 16(\from), %r10
  movq 24(\from), %rbx
  movq 32(\from), %rbp
  movq 40(\from), %r12
  movq 48(\from), %r13
  movq 56(\from), %r14
  movq 64(\from), %r15
  .endm

  .macro STORE_MESSAGE to
  movq %rdx, 0(\to)
  movq %r8, 8(\to)
  movq %r10, 16(\to)
  movq %rbx, 24(\to)
  movq %rbp, 32(\to)
  movq %r12, 40(\to)
  movq %r13, 48(\to)
  movq %r14, 56(\to)
  movq %r15, 64(\to)
  movq %rdi, RUNTIME_MESSAGE_PEER(\to)
  movq %rsi, RUNTIME_MESSAGE_DEADLINE(\to)
  .endm

  .macro PUSH_KEPT
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  .endm

  .macro POP_KEPT
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  .endm

  .text
/* runtime_transfer(message, target, deadline): calls; the reply takes the message's place. Returns how the call ended,
 * APUS_TRANSFER_*, or minus the error with which it was refused. */
  .globl runtime_transfer
runtime_transfer:
  PUSH_KEPT
  pushq %rdi
  rdfsbase %rax
  pushq %rax
  movq %rsp, G(APUS_UA_REPLY_STACK)
  movq %rdi, %r11
  movq %rsi, %rdi
  movq %rdx, %rsi
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xsave64 UA_VECTORS(%rcx)
  LOAD_MESSAGE %r11
  movl $(APUS_CALL_BIT | 3), %eax
  syscall
  addq $16, %rsp                          /* refused: everything is as it was */
  POP_KEPT
  ret

  .globl runtime_reply_entry
runtime_reply_entry:
  movq 8(%rsp), %rcx
  STORE_MESSAGE %rcx
  movq %rax, %r12
  movq G(APUS_UA_SELF), %rcx
  movl G(UA_MASK), %eax
  movl G(UA_MASK + 4), %edx
  xrstor64 UA_VECTORS(%rcx)
  popq %rax
  wrfsbase %rax
  addq $8, %rsp
  movq %r12, %rax
  POP_KEPT
  ret

/* runtime_serve(message, answers): answers with the message if there is anybody to be answered, then waits to be entered
 * and returns with the new message in its place: APUS_TRANSFER_CALL or APUS_TRANSFER_ASYNCHRONOUS.
 *
 * It waits in two ways at once. A call enters at runtime_protected_entry, on the stack as runtime_serve left it. A slice
 * of its own begins as after any suspension, just below, and finds that there is nothing to do but sleep. */
  .globl runtime_serve
runtime_serve:
  PUSH_KEPT
  pushq %rdi
  pushq %rsi
  movq %rsp, G(APUS_UA_PROTECTED_STACK)
  movq $UA_MODE_SUSPENDED, G(UA_MODE)
  testl %esi, %esi
  jz serve_accept
serve_answer:
  call serve_frame                        /* a slice of its own, which comes after the answer */
  movq 8(%rsp), %r11
  LOAD_MESSAGE %r11
  xorl %esi, %esi
  movl $(APUS_CALL_BIT | 4), %eax
  syscall
  /* The slice has ended: whoever waits gets its answer in the next one. */
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $1, %edi
  xorl %ecx, %ecx
  call runtime_suspend
  jmp serve_answer

/* Leaves below the stack what `runtime_suspend` would: six registers and a return address. */
serve_frame:
  leaq serve_sleep(%rip), %rax
  movq %rax, -16(%rsp)
  leaq -64(%rsp), %rax
  movq %rax, G(UA_SAVED_RSP)
  movq $UA_MODE_SUSPENDED, G(UA_MODE)
  ret

serve_sleep:                              /* from a slice: below the frame that serve_frame made */
  addq $16, %rsp
serve_accept:
  movq $1, G(APUS_UA_ACCEPTING)
1:call serve_frame
  andq $~(APUS_PENDING_SLICE_END | APUS_PENDING_CALLER_GONE), G(APUS_UA_PENDING)
  xorl %edi, %edi
  xorl %esi, %esi
  movq $-1, %rdx
  xorl %r10d, %r10d
  movl $(APUS_CALL_BIT | 2), %eax
  syscall
  jmp 1b

  .globl runtime_protected_entry
runtime_protected_entry:
  movq $1, G(APUS_UA_CRITICAL)
  movq 8(%rsp), %rcx
  STORE_MESSAGE %rcx
  addq $16, %rsp
  POP_KEPT
  ret
