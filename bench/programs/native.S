/* SPDX-License-Identifier: Apache-2.0 */
/* native.S: the native bench program's start, exception handlers and yields. */
#include "ApusABI.h"

        .globl  native_start
native_start:
        rdtsc                           /* the first instruction in ring 3 of the whole machine */
        shlq    $32, %rdx
        orq     %rdx, %rax
        .byte   0x0f, 0x1f, 0x80, 0x40, 0x00, 0x50, 0x41        /* MARK_SUM_OF_ALL of measure.h */
        leaq    stack_top(%rip), %rsp
        movq    %rax, %rdi
        call    native_main
        ud2

/* A handler that may use every register: all are saved, the vector registers too, and all are restored. The kernel
 * has put rip, flags, rsp, rax and rcx into the u-area; int3's saved rip is the next instruction's, so the handler has
 * nothing to do. Going back takes no kernel entry: the last four values move below the interrupted stack's red zone
 * (System V ABI, 3.2.2), the save area is given free, and RET drops the red zone's gap again. */
        .globl  exception_full
exception_full:
        pushq   %rdx
        pushq   %rbx
        pushq   %rbp
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movl    $-1, %eax
        movl    $-1, %edx
        leaq    vectors(%rip), %rbx
        xsave64 (%rbx)
        call    *exception_handler(%rip) /* a compiled function, as a LibOS's handler is */
        movl    $-1, %eax
        movl    $-1, %edx
        xrstor64 (%rbx)
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rbp
        popq    %rbx
        popq    %rdx
        jmp     resume

/* A handler that uses two registers only. */
        .globl  exception_minimal
exception_minimal:
        incq    exceptions(%rip)
resume: movq    $APUS_LIBOS_BASE, %rax
        movq    APUS_UA_EXCEPTION + APUS_SAVE_RSP(%rax), %rcx
        subq    $(128 + 32), %rcx
        pushq   APUS_UA_EXCEPTION + APUS_SAVE_RAX(%rax)
        popq    (%rcx)
        pushq   APUS_UA_EXCEPTION + APUS_SAVE_RCX(%rax)
        popq    8(%rcx)
        pushq   APUS_UA_EXCEPTION + APUS_SAVE_FLAGS(%rax)
        popq    16(%rcx)
        pushq   APUS_UA_EXCEPTION + APUS_SAVE_RIP(%rax)
        popq    24(%rcx)
        movq    %rcx, %rsp
        movq    $0, APUS_UA_EXCEPTION + APUS_SAVE_IN_USE(%rax)
        popq    %rax
        popq    %rcx
        popfq
        ret     $128

/* yield_to(environment): gives the rest of the slice away and returns when this environment's next begins. A caller
 * expects a function to keep rbx, rbp and r12-r15 only; the slice begins with none of them. */
        .globl  yield_to
yield_to:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, yielded_stack(%rip)
        movl    $(APUS_CALL_BIT | 1), %eax
        syscall
        ud2
/* sleep_on(word, value, environment): the same while the word has the value. */
        .globl  sleep_on
sleep_on:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, yielded_stack(%rip)
        movq    %rdx, %r10
        movq    $-1, %rdx
        movl    $(APUS_CALL_BIT | 2), %eax
        syscall                         /* returns when the word differs already */
        .globl  slice_begin
slice_begin:
        movq    yielded_stack(%rip), %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

/* The partner environment: every slice of it goes back at once. */
        .globl  partner_begin
partner_begin:
        movq    partner_target(%rip), %rdi
        movl    $(APUS_CALL_BIT | 1), %eax
        syscall
        ud2

/* The other family's environment: each of its slices begins its program anew, on its own stack. */
        .globl  other_begin
other_begin:
        movq    $APUS_LIBOS_BASE, %rax
        movq    APUS_UA_LIBOS + 16(%rax), %rsp
        call    echo
        ud2

/* transfer(environment, message): calls another environment at its protected entry, until the deadline in rdx, and
 * returns what it answers, in rdx as the message came; or the refusal. A compiled caller expects rbx, rbp, r12-r15 and the
 * control words of the vector registers to be kept (System V ABI, 3.2.1), and the callee is to have none of them. */
        .globl  transfer, transfer_reply
transfer:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        subq    $16, %rsp
        stmxcsr (%rsp)
        fnstcw  8(%rsp)
        movq    $APUS_LIBOS_BASE, %rax
        movq    %rsp, APUS_UA_REPLY_STACK(%rax)
        xchgq   %rsi, %rdx              /* the message and the deadline */
        xorl    %ebx, %ebx
        xorl    %ebp, %ebp
        xorl    %r8d, %r8d
        xorl    %r10d, %r10d
        xorl    %r12d, %r12d
        xorl    %r13d, %r13d
        xorl    %r14d, %r14d
        xorl    %r15d, %r15d
        movl    $(APUS_CALL_BIT | 3), %eax
        syscall
        movq    %rax, %rdx
transfer_reply:
        movq    %rdx, %rax
        ldmxcsr (%rsp)
        fldcw   8(%rsp)
        addq    $16, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

/* transfer_bare(environment): the transfer by itself, all registers being message. Returns 0 or the refusal. */
        .globl  transfer_bare, transfer_bare_reply
transfer_bare:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    $APUS_LIBOS_BASE, %rax
        movq    %rsp, APUS_UA_REPLY_STACK(%rax)
        movq    $-1, %rsi
        movl    $(APUS_CALL_BIT | 3), %eax
        syscall                         /* a refusal goes on here, an answer at the next label with rax 0 */
transfer_bare_reply:
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

/* Protected entries of the other family. A return that is refused, as the slice has ended, is tried again at the next;
 * the answer stands in the u-area meanwhile. A refused call keeps rbx, and not rdx. */
        .macro  ANSWER
        movq    %rdx, %rbx
        movl    $(APUS_CALL_BIT | 4), %eax
        syscall
        jmp     answer_later
        .endm
        .globl  entry_bare, entry_call, entry_pipe, answer_begin
entry_bare:
        ANSWER
entry_call:
        movq    %rdx, %rdi
        call    serve
        movq    %rax, %rdx
        ANSWER
entry_pipe:
        call    serve_pipe
        movq    %rax, %rdx
        ANSWER
answer_later:
        movq    %rbx, %gs:APUS_UA_LIBOS + 24
        movl    $(APUS_CALL_BIT | 1), %eax
        xorl    %edi, %edi
        syscall
        ud2
answer_begin:
        movq    %gs:APUS_UA_LIBOS + 24, %rdx
        ANSWER

        .bss
        .balign 64
vectors:
        .skip   16384                   /* zero: XSAVE's header must be (SDM vol. 1, 13.5) */
yielded_stack:
        .skip   8
        .globl  partner_target
partner_target:
        .skip   8
        .balign 4096
        .skip   65536
stack_top:
        .skip   4096
        .globl  exception_stack_top
exception_stack_top:
        .section .note.GNU-stack, "", @progbits
