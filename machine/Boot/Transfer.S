/* SPDX-License-Identifier: Apache-2.0 */
/* Transfer.S: protected control transfer, as one environment calls another and is answered.
 *
 * The registers are the message: rdx, r8, r10, rbx, rbp, r12-r15 pass through as they stand and nothing else does. The
 * kernel saves none: the caller goes on at its reply entry, where it finds its own on the stack that it named. What
 * the kernel keeps is whose return ends the wait: links between the two records (EnvironmentTable+Transfer.swift has the
 * rules, and does the same where anything stands against the fast path; kernel/ProtectedTransfer.swift calls it).
 *
 * Time needs no book here: what is left of a slice is charged to whoever it was begun for. */
#include "ApusABI.h"
#include "Entry.h"

  .text
  .code64

/* Out of ring 0 into the environment whose record is rax and whose u-area rcx. Between two address spaces the vector
 * registers go back to their initial state; XCR0's upper half is zero, so what edx holds is no matter to XRSTOR. The
 * selectors stay: in ring 3 they hold null or the user's own, and mean nothing. */
  .macro ENTER entry, stack
  movl APUS_ENVIRONMENT_ROOT(%rax), %r11d
  movq APUS_ENVIRONMENT_UAREA_ADDRESS(%rax), %r9
  cmpl %gs:APUS_CPU_LOADED_ROOT, %r11d
  je 1f
  movl %r11d, %gs:APUS_CPU_LOADED_ROOT
  shlq $12, %r11
  movq %r11, %cr3
  movzwl APUS_ENVIRONMENT_ACCOUNT(%rax), %r11d
  movl %r11d, %gs:APUS_CPU_VECTORS_ACCOUNT
  movq %gs:APUS_CPU_INITIAL_VECTORS, %r11
  movl $-1, %eax
  xrstor64 (%r11)
1:movq \stack(%rcx), %rsp
  movq \entry(%rcx), %rcx
  andq lower_half(%rip), %rcx
  RELEASE_LOCK
  xorl %eax, %eax
  wrfsbase %rax
  movl $APUS_UPCALL_FLAGS, %r11d
  swapgs
  wrgsbase %r9                            /* and r9 has the address of its own u-area */
  sysretq
  .endm

/* transfer(rdi = target, rsi = deadline): the caller waits. Until the branch after BTR nothing has changed. */
  .globl apus_transfer_call
  .balign 64
apus_transfer_call:
  TAKE_LOCK
  movq %rcx, %gs:APUS_CPU_USER_RAX
  leal -1(%rdi), %eax
  cmpl %gs:APUS_CPU_ENVIRONMENT_COUNT, %eax
  jae 2f
  imulq $APUS_ENVIRONMENT_SIZE, %rax, %rax
  addq %gs:APUS_CPU_ENVIRONMENTS, %rax
  cmpq %rdi, APUS_ENVIRONMENT_HANDLE(%rax)
  jne 2f
  cmpq $APUS_ENVIRONMENT_RUNNABLE, APUS_ENVIRONMENT_STATE(%rax) /* it serves nobody and runs nowhere, or differs */
  jne 2f
  cmpq %gs:APUS_CPU_TRANSFER_LIMIT, %rsi
  jbe 2f
  movq %gs:APUS_CPU_ENVIRONMENT, %r9
  cmpw $APUS_TRANSFER_CHAIN, APUS_ENVIRONMENT_DEPTH(%r9)
  jae 2f
  movq APUS_ENVIRONMENT_UAREA_KERNEL(%rax), %rcx
  btrq $0, APUS_UA_ACCEPTING(%rcx)
  jnc 2f
  movq %rcx, %gs:APUS_CPU_UAREA
  movq %rax, %gs:APUS_CPU_ENVIRONMENT
  movq %rsi, APUS_ENVIRONMENT_DEADLINE(%r9)
  movq %rdi, APUS_ENVIRONMENT_TARGET(%r9)
  movq APUS_ENVIRONMENT_STATE(%r9), %r11
  addq one_deeper(%rip), %r11
  movq %r11, APUS_ENVIRONMENT_STATE(%rax)
  movq $APUS_ENVIRONMENT_CALLING, APUS_ENVIRONMENT_STATE(%r9)
  movq APUS_ENVIRONMENT_HANDLE(%r9), %rdi
  movq %rdi, APUS_ENVIRONMENT_RETURNS_TO(%rax)
  ENTER APUS_UA_PROTECTED_ENTRY, APUS_UA_PROTECTED_STACK
2:movq %gs:APUS_CPU_USER_RAX, %rcx
  movl $(APUS_CALL_BIT | 3), %eax
  jmp 3f

/* transferReturn(): the caller accepts again, and whom it served goes on. */
  .globl apus_transfer_return
  .balign 64
apus_transfer_return:
  TAKE_LOCK
  movq %gs:APUS_CPU_ENVIRONMENT, %r9
  movq APUS_ENVIRONMENT_RETURNS_TO(%r9), %rdi
  testq %rdi, %rdi
  jz 4f
  cmpq $0, %gs:APUS_CPU_RETURN_SLOWLY
  jne 4f
  leal -1(%rdi), %eax
  imulq $APUS_ENVIRONMENT_SIZE, %rax, %rax
  addq %gs:APUS_CPU_ENVIRONMENTS, %rax
  movq APUS_ENVIRONMENT_STATE(%r9), %r11
  subq one_deeper(%rip), %r11
  movq %r11, APUS_ENVIRONMENT_STATE(%rax)
  movq $APUS_ENVIRONMENT_RUNNABLE, APUS_ENVIRONMENT_STATE(%r9)
  movq $0, APUS_ENVIRONMENT_RETURNS_TO(%r9)
  movq $0, APUS_ENVIRONMENT_TARGET(%rax)
  movq %gs:APUS_CPU_UAREA, %rcx
  movq $1, APUS_UA_ACCEPTING(%rcx)
  movq APUS_ENVIRONMENT_HANDLE(%r9), %rdi
  movq APUS_ENVIRONMENT_UAREA_KERNEL(%rax), %rcx
  movq %rcx, %gs:APUS_CPU_UAREA
  movq %rax, %gs:APUS_CPU_ENVIRONMENT
  xorl %esi, %esi
  ENTER APUS_UA_REPLY_ENTRY, APUS_UA_REPLY_STACK

/* Whatever the fast path leaves alone: Swift decides. It returns only to refuse. eax has the call's number. */
4:movl $(APUS_CALL_BIT | 4), %eax
  jmp 3f
  .globl apus_transfer_slow
apus_transfer_slow:
  movl %eax, %r9d
  TAKE_LOCK
  movl %r9d, %eax
3:movq %rsp, %gs:APUS_CPU_USER_RSP
  movq %gs:APUS_CPU_STACK, %rsp
  pushq %gs:APUS_CPU_USER_RSP
  pushq %r11
  pushq %rcx
  movq %rsp, %gs:APUS_CPU_SYSTEM_CALL
  pushq %r15
  pushq %r14
  pushq %r13
  pushq %r12
  pushq %rbp
  pushq %rbx
  pushq %r10
  pushq %r8
  pushq %rdx
  subq $24, %rsp
  movl %eax, %edx
  andl $0x7fffffff, %edx
  movq %rsp, %rcx
  call apus_transfer                      /* (target, deadline, number, message) -> rax */
  addq $96, %rsp
  jmp apus_system_call_return

/* apus_enter_with_message(message = rdi, entry = rsi, stack = rdx, gs = rcx) */
  .globl apus_enter_with_message
apus_enter_with_message:
  movq %rcx, %r9
  movq %rsi, %rcx
  movq %rdx, %r11
  movq %rdi, %rsp
  popq %rax
  popq %rdi
  popq %rsi
  popq %rdx
  popq %r8
  popq %r10
  popq %rbx
  popq %rbp
  popq %r12
  popq %r13
  popq %r14
  popq %r15
  movq %r11, %rsp
1:RELEASE_LOCK
  xorl %r11d, %r11d
  wrfsbase %r11
  movl $APUS_UPCALL_FLAGS, %r11d
  swapgs
  wrgsbase %r9
  sysretq

/* apus_enter_without_message(rax = rdi, rdi = rsi, entry = rdx, stack = rcx, gs = r8) */
  .globl apus_enter_without_message
apus_enter_without_message:
  movq %rdi, %rax
  movq %rsi, %rdi
  movq %rcx, %rsp
  movq %rdx, %rcx
  movq %r8, %r9
  xorl %esi, %esi
  xorl %edx, %edx
  xorl %r8d, %r8d
  xorl %r10d, %r10d
  xorl %ebx, %ebx
  xorl %ebp, %ebp
  xorl %r12d, %r12d
  xorl %r13d, %r13d
  xorl %r14d, %r14d
  xorl %r15d, %r15d
  jmp 1b

  .section .rodata
  .balign 8
lower_half: .quad 0x00007fffffffffff
one_deeper: .quad 1 << 32                 /* of the word that begins a record: state, depth, processor */
