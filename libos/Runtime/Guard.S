/* SPDX-License-Identifier: Apache-2.0 */
/* Guard.S: the entries of Entry.S for a family whose LibOS is guarded by a protection key.
 *
 * The LibOS's pages carry key 1, which applications may read and not write (PKRU, SDM vol. 3, 4.6.2). Each entry opens the
 * key before it writes its first word, and the way back closes it when nothing is left to write; loads need no right.
 *
 * WRPKRU wants eax, ecx and edx. Where edx is the application's it waits in rsp, or in r11 after a system call; the number
 * of the call waits in PKRU itself, in the bits of keys that no page has. An environment goes on after a slice with
 * the key closed, so an entry that was interrupted between WRPKRU and setting the critical word goes back to the
 * WRPKRU; and in the tail of the way back, where the frame is only read, it is simply restored again. */
#include "EntryMacros.h"

#define GUARD_CLOSED 8                    /* key 1: no writing */
#define WRPKRU_SIZE 3
#define LARGEST_NUMBER 0x0fffffff         /* what fits beside the rights of keys 0 and 1; no call has it */
#define FRAME_SIZE 168
#define FRAME_LOW 80                      /* up to rax */
#define FRAME_NUMBER 120

  .macro OPEN
  xorl %eax, %eax
  xorl %ecx, %ecx
  xorl %edx, %edx
  wrpkru
  .endm

  .text
  .globl runtime_guarded_exception_entry
  .balign 64
runtime_guarded_exception_entry:
  movq %rdx, %rsp
  OPEN
exception_opened:
  movq $1, G(APUS_UA_CRITICAL)
  movq %rsp, %rdx
  movq G(APUS_UA_EXCEPTION_STACK), %rsp
  HANDLE_EXCEPTION
  jmp guarded_return

  .globl runtime_guarded_nested_entry
runtime_guarded_nested_entry:
  OPEN
nested_opened:
  movq $1, G(APUS_UA_CRITICAL)
  jmp runtime_nested_fault

  .globl runtime_guarded_foreign_entry
  .balign 64
runtime_guarded_foreign_entry:
  ANSWER 1f
1:cmpl $LARGEST_NUMBER, %eax
  jbe 2f
  movl $LARGEST_NUMBER, %eax
2:movq %rdx, %r11
  shll $4, %eax
  xorl %ecx, %ecx
  xorl %edx, %edx
  wrpkru
foreign_opened:
  movq $1, G(APUS_UA_CRITICAL)
  rdpkru
  shrl $4, %eax
  movq %r11, %rdx
  PERFORM_FOREIGN_CALL

guarded_return:
  POP_HIGH_REGISTERS
  movq 24(%rsp), %rsi
  movq 32(%rsp), %rdi
  movq $0, G(APUS_UA_CRITICAL)
guarded_tail:                             /* interruptible from here to guarded_pending */
  cmpq $0, G(APUS_UA_PENDING)
  jne guarded_pending
  movl $GUARD_CLOSED, %eax
  xorl %ecx, %ecx
  xorl %edx, %edx
  wrpkru
  popq %rax
  popq %rcx
  popq %rdx
  addq $24, %rsp
  iretq
guarded_pending:
  movq $1, G(APUS_UA_CRITICAL)
  leaq -FRAME_LOW(%rsp), %rsp             /* the frame is whole */
  movq $-1, FRAME_NUMBER(%rsp)
  movq %rsp, %rdi
  call runtime_pending
  jmp guarded_return

  .globl runtime_guarded_slice_end_entry
  .balign 64
runtime_guarded_slice_end_entry:
  movq %rdx, %rsp
  OPEN
  movq $1, G(APUS_UA_CRITICAL)
  movq %rsp, %rdx
  movq SAVE(APUS_UA_SLICE, APUS_SAVE_RIP), %rax
  leaq runtime_guarded_slice_begin_entry(%rip), %rcx
  subq %rcx, %rax
  cmpq $(begin_opened - runtime_guarded_slice_begin_entry), %rax
  jbe runtime_give_up_slice               /* what was saved before is still whole */
  movq G(UA_STACK), %rsp
  movq SAVE(APUS_UA_SLICE, APUS_SAVE_RIP), %rax
  leaq guarded_tail(%rip), %rcx
  subq %rcx, %rax
  cmpq $(guarded_pending - guarded_tail), %rax
  jbe in_guarded_tail
  movq SAVE(APUS_UA_SLICE, APUS_SAVE_RIP), %rax
  leaq foreign_opened(%rip), %rcx
  cmpq %rcx, %rax
  je opened
  leaq exception_opened(%rip), %rcx
  cmpq %rcx, %rax
  je opened
  leaq nested_opened(%rip), %rcx
  cmpq %rcx, %rax
  jne runtime_interrupted
opened:
  subq $WRPKRU_SIZE, SAVE(APUS_UA_SLICE, APUS_SAVE_RIP)
  jmp runtime_interrupted
in_guarded_tail:
  subq $FRAME_SIZE, %rsp
  movq $-1, FRAME_NUMBER(%rsp)
  jmp runtime_save_frame

  .globl runtime_guarded_slice_begin_entry
  .balign 64
runtime_guarded_slice_begin_entry:
  OPEN
begin_opened:
  movq $1, G(APUS_UA_CRITICAL)
  BEGIN_SLICE guarded_return

/* Both ends of a protected control transfer (Transfer.S): rax and rdx are part of what arrives. */
  .macro OPEN_TO entry
  movq %rdx, %r11
  movq %rax, %r9
  OPEN
  movq %r11, %rdx
  movq %r9, %rax
  jmp \entry
  .endm

  .globl runtime_guarded_protected_entry
runtime_guarded_protected_entry:
  OPEN_TO runtime_protected_entry
  .globl runtime_guarded_reply_entry
runtime_guarded_reply_entry:
  OPEN_TO runtime_reply_entry
