/* SPDX-License-Identifier: Apache-2.0 */
/* Entry.S: every way into ring 0 and out of it.
 *
 * Registers on the way: ring 0 runs with interrupts off, the GS base pointing at struct apus_cpu (the user's is in
 * the swap register meanwhile). What ring 3 wrote is never loaded into RIP but for entry points from the u-area,
 * cut to the lower half (47 bits, so always canonical); flags and selectors are constants. */
#include "ApusABI.h"
#include "Entry.h"

/* CLAC is there on processors with SMAP only: apus_load_tables replaces it on others. */
  .section .rodata.clac, "a"
  .balign 8
clac_sites:
  .macro CLEAR_ACCESS
77: clac
  .pushsection .rodata.clac, "a"
  .quad 77b
  .popsection
  .endm

  .text
  .code64

/* ---- system calls: SYSCALL --------------------------------------------------------------------------
 * rcx = return address, r11 = flags. Bit 31 of eax: ours. Otherwise foreign: up to the LibOS with every register
 * kept but rcx and r11, which SYSCALL clobbers anyway. The return address is canonical: ring 3 cannot map the
 * page that ends the lower half. */
  .globl apus_system_call_entry
  .balign 64
apus_system_call_entry:
  swapgs
  testl %eax, %eax
  jns foreign
  cmpl $(APUS_CALL_BIT | 3), %eax
  je apus_transfer_call
  jb 3f
  cmpl $(APUS_CALL_BIT | 4), %eax
  je apus_transfer_return
  cmpl $(APUS_CALL_BIT | 5), %eax
  je apus_transfer_slow
4:movq %rsp, %gs:APUS_CPU_USER_RSP
  movq %gs:APUS_CPU_STACK, %rsp
  pushq %gs:APUS_CPU_USER_RSP
  pushq %r11
  pushq %rcx
  movq %rsp, %gs:APUS_CPU_SYSTEM_CALL
  movl %eax, %r9d
  andl $0x7fffffff, %r9d
  TAKE_LOCK
  movq %r10, %rcx
  call apus_system_call                   /* (rdi, rsi, rdx, rcx = r10, r8, r9 = number) -> rax */
  .globl apus_system_call_return
apus_system_call_return:
  RELEASE_LOCK
  popq %rcx
  popq %r11
  popq %rsp
  xorl %edi, %edi
  xorl %esi, %esi
  xorl %edx, %edx
  xorl %r8d, %r8d
  xorl %r9d, %r9d
  xorl %r10d, %r10d
  swapgs
  sysretq
3:testb %al, %al                          /* the null call decides nothing */
  jnz 4b
  movq %gs:APUS_CPU_ENVIRONMENT, %rax
  incq APUS_ENVIRONMENT_CALLS(%rax)
  xorl %eax, %eax
  xorl %edi, %edi
  xorl %esi, %esi
  xorl %edx, %edx
  xorl %r8d, %r8d
  xorl %r9d, %r9d
  xorl %r10d, %r10d
  swapgs
  sysretq

foreign:
  movq %rax, %gs:APUS_CPU_USER_RAX
  movq %gs:APUS_CPU_UAREA, %rax
  movq %rcx, APUS_UA_FOREIGN_RIP(%rax)
  movq %r11, APUS_UA_FOREIGN_FLAGS(%rax)
  movq APUS_UA_FOREIGN_ENTRY(%rax), %rcx
  shlq $17, %rcx
  shrq $17, %rcx
  movq %gs:APUS_CPU_USER_RAX, %rax
  movl $APUS_UPCALL_FLAGS, %r11d
  swapgs
  sysretq

/* ---- exceptions ------------------------------------------------------------------------------------- */
  .macro STUB vector, has_error
  .balign 16
stub_\vector:
  .if \has_error == 0
  pushq $0
  .endif
  pushq $\vector
  jmp exception
  .endm

  STUB 0, 0
  STUB 3, 0
  STUB 4, 0
  STUB 5, 0
  STUB 6, 0
  STUB 7, 0
  STUB 9, 0
  STUB 10, 1
  STUB 11, 1
  STUB 12, 1
  STUB 13, 1
  STUB 15, 0
  STUB 16, 0
  STUB 17, 1
  STUB 19, 0
  STUB 20, 0
  STUB 21, 1
  STUB 22, 0
  STUB 23, 0
  STUB 24, 0
  STUB 25, 0
  STUB 26, 0
  STUB 27, 0
  STUB 28, 0
  STUB 29, 1
  STUB 30, 1
  STUB 31, 0

  /* Page fault: the only exception with an address. */
  .balign 16
stub_14:
  pushq $14
  CLEAR_ACCESS
  cld
  testb $3, 24(%rsp)
  jz kernel_fault
  swapgs
  pushq %rax
  pushq %rcx
  movq %gs:APUS_CPU_UAREA, %rax
  cmpq $0, APUS_UA_EXCEPTION + APUS_SAVE_IN_USE(%rax)
  jne exception_slow
  movq %cr2, %rcx
  movq %rcx, APUS_UA_EXCEPTION + APUS_SAVE_ADDRESS(%rax)
  jmp exception_save

  .balign 16
exception:
  CLEAR_ACCESS
  cld
  testb $3, 24(%rsp)
  jz kernel_fault
exception_from_user:
  swapgs
  pushq %rax
  pushq %rcx
  movq %gs:APUS_CPU_UAREA, %rax
  cmpq $0, APUS_UA_EXCEPTION + APUS_SAVE_IN_USE(%rax)
  jne exception_slow
exception_save:
  movq $1, APUS_UA_EXCEPTION + APUS_SAVE_IN_USE(%rax)
  popq APUS_UA_EXCEPTION + APUS_SAVE_RCX(%rax)
  popq APUS_UA_EXCEPTION + APUS_SAVE_RAX(%rax)
  popq %rcx
  movq %rcx, APUS_UA_EXCEPTION + APUS_SAVE_CAUSE(%rax)
  popq %rcx
  movl %ecx, APUS_UA_EXCEPTION + APUS_SAVE_CAUSE + 4(%rax)
  movq (%rsp), %rcx
  movq %rcx, APUS_UA_EXCEPTION + APUS_SAVE_RIP(%rax)
  movq 16(%rsp), %rcx
  movq %rcx, APUS_UA_EXCEPTION + APUS_SAVE_FLAGS(%rax)
  movq 24(%rsp), %rcx
  movq %rcx, APUS_UA_EXCEPTION + APUS_SAVE_RSP(%rax)
  movq APUS_UA_EXCEPTION_ENTRY(%rax), %rcx
  shlq $17, %rcx
  shrq $17, %rcx
  movq %rcx, (%rsp)
  movq $APUS_UPCALL_FLAGS, 16(%rsp)
  movq APUS_UA_EXCEPTION_STACK(%rax), %rcx
  movq %rcx, 24(%rsp)
  movq %gs:APUS_CPU_ENVIRONMENT, %rax
  incq APUS_ENVIRONMENT_EXCEPTIONS(%rax)
  xorl %eax, %eax
  xorl %ecx, %ecx
  swapgs
  iretq

/* A save area in use: Swift decides between the nested entry and the end. */
exception_slow:
  popq %rcx
  popq %rax
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  movq %rsp, %rdi
  movq %rbp, %rsi                         /* for the report, if it has failed */
  TAKE_LOCK
  call apus_exception_slow
release_and_return:
  RELEASE_LOCK
restore_and_return:
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rdx
  popq %rcx
  popq %rax
  addq $16, %rsp
  swapgs
  iretq

kernel_fault:
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  movq %rsp, %rdi
  call apus_kernel_fault

/* Debug exception, on a stack of its own: a MOV SS before SYSCALL delivers it at the first instruction of ring 0,
 * with the user's GS base and stack (CVE-2018-8897). From ring 0 it means nothing and is dropped. */
  .balign 16
stub_1:
  testb $3, 8(%rsp)
  jz 1f
  pushq $0
  pushq $1
  CLEAR_ACCESS
  cld
  jmp exception_from_user
1:iretq

  .balign 16
stub_2:                                   /* NMI: nobody here sends one */
  iretq

  .balign 16
stub_8:
  pushq $8
  jmp kernel_fault
  .balign 16
stub_18:
  pushq $0
  pushq $18
  jmp kernel_fault

/* ---- interrupts ------------------------------------------------------------------------------------- */
  .macro INTERRUPT name, vector
  .balign 16
\name:
  pushq $0
  pushq $\vector
  jmp interrupt
  .endm
  INTERRUPT interrupt_timer, APUS_VECTOR_TIMER
  INTERRUPT interrupt_console, APUS_VECTOR_CONSOLE
  INTERRUPT interrupt_kick, APUS_VECTOR_KICK
  INTERRUPT interrupt_network, APUS_VECTOR_NETWORK

/* Another processor has changed an address space that runs here. Neither the lock nor Swift is needed. */
  .balign 16
interrupt_flush:
  testb $3, 8(%rsp)
  jz 1f
  swapgs
1:pushq %rax
  pushq %rcx
  movq %gs:APUS_CPU_FLUSH_REQUESTED, %rax
  movq %cr3, %rcx
  movq %rcx, %cr3
  movq %rax, %gs:APUS_CPU_FLUSH_DONE
  movl $0, APUS_END_OF_INTERRUPT
  popq %rcx
  popq %rax
  testb $3, 8(%rsp)
  jz 2f
  swapgs
2:iretq

  .balign 16
interrupt_spurious:
  iretq

interrupt:
  CLEAR_ACCESS
  cld
  testb $3, 24(%rsp)
  jz 1f
  swapgs
1:pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  movq %rsp, %rdi
  pushq %rbx                              /* below the frame: whoever is parked needs these, too */
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  TAKE_LOCK
  call apus_interrupt                     /* (frame): may rewrite the frame into an upcall, or not return */
  addq $48, %rsp                          /* Swift kept them */
  testb $3, 96(%rsp)
  jnz release_and_return
  RELEASE_LOCK
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rdx
  popq %rcx
  popq %rax
  addq $16, %rsp
  iretq

/* ---- out -------------------------------------------------------------------------------------------- */
/* apus_resume(parked = rdi): goes on where an environment was parked; its address space and vectors are there. */
  .globl apus_resume
apus_resume:
  RELEASE_LOCK
  movq APUS_PARKED_SELECTORS(%rdi), %rax
  movl %eax, %ds
  shrq $16, %rax
  movl %eax, %es
  shrq $16, %rax
  movl %eax, %fs
  shrq $16, %rax
  movq APUS_PARKED_FS(%rdi), %rcx
  wrfsbase %rcx
  movq APUS_PARKED_GS(%rdi), %rcx
  leaq APUS_PARKED_REGISTERS(%rdi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  swapgs
  movl %eax, %gs
  wrgsbase %rcx
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rdx
  popq %rcx
  popq %rax
  addq $16, %rsp
  iretq

/* apus_enter(entry = rdi, stack = rsi, gs = rdx, fs = rcx) */
  .globl apus_enter
apus_enter:
  RELEASE_LOCK
  xorl %eax, %eax                         /* selectors are state, too; loading one clears the base on some processors */
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %fs
  wrfsbase %rcx
  movq %rdi, %rcx
  movq %rsi, %rsp
  swapgs
  movl %eax, %gs
  wrgsbase %rdx
  movl $APUS_UPCALL_FLAGS, %r11d
  xorl %ebx, %ebx
  xorl %edx, %edx
  xorl %esi, %esi
  xorl %edi, %edi
  xorl %ebp, %ebp
  xorl %r8d, %r8d
  xorl %r9d, %r9d
  xorl %r10d, %r10d
  xorl %r12d, %r12d
  xorl %r13d, %r13d
  xorl %r14d, %r14d
  xorl %r15d, %r15d
  sysretq

/* ---- tables ----------------------------------------------------------------------------------------- */
/* apus_load_tables(record = rdi): the interrupt descriptors are the same for all processors and made by each. */
  .globl apus_load_tables
apus_load_tables:
  movq %rdi, %r8
  movl $7, %eax
  xorl %ecx, %ecx
  movq %rbx, %rsi                         /* CPUID writes rbx, which a function keeps */
  cpuid
  btl $20, %ebx                           /* SMAP */
  movq %rsi, %rbx
  jc 5f
  leaq clac_sites(%rip), %rsi             /* the text is still writable: the kernel's own tables come later */
4:cmpq $0, (%rsi)
  je 5f
  movq (%rsi), %rax
  movw $0x1f0f, (%rax)                    /* a NOP of three bytes */
  movb $0x00, 2(%rax)
  addq $8, %rsi
  jmp 4b
5:
  /* Interrupt descriptors are made here from the list of stubs: an address has its 64 bits in three parts. */
  leaq stubs(%rip), %rsi
  leaq interrupt_descriptors(%rip), %rdi
1:movq (%rsi), %rax
  testq %rax, %rax
  js 2f                                   /* kernel addresses are negative */
  jmp 3f
2:movzbl 8(%rsi), %ecx                    /* vector */
  shll $4, %ecx
  movw %ax, (%rdi,%rcx)
  movw $APUS_SELECTOR_KERNEL_CODE, 2(%rdi,%rcx)
  movw 9(%rsi), %dx                       /* interrupt stack and type bytes */
  movw %dx, 4(%rdi,%rcx)
  shrq $16, %rax
  movw %ax, 6(%rdi,%rcx)
  shrq $16, %rax
  movq %rax, 8(%rdi,%rcx)
  addq $16, %rsi
  jmp 1b
3:leaq APUS_CPU_TASK_STATE(%r8), %rax
  leaq APUS_CPU_MEMORY(%r8), %rcx
  movq %rcx, 4(%rax)
  leaq APUS_CPU_DEBUG_TOP(%r8), %rcx
  movq %rcx, 36(%rax)
  leaq APUS_CPU_NMI_TOP(%r8), %rcx
  movq %rcx, 44(%rax)
  leaq APUS_CPU_DOUBLE_TOP(%r8), %rcx
  movq %rcx, 52(%rax)
  movw $104, 102(%rax)                    /* no I/O bitmap */
  leaq apus_descriptors(%rip), %rsi
  leaq APUS_CPU_DESCRIPTORS(%r8), %rdi
  movl $8, %ecx
  cld
  rep movsq
  leaq APUS_CPU_DESCRIPTORS + APUS_SELECTOR_TASK(%r8), %rdi
  movw %ax, 2(%rdi)
  shrq $16, %rax
  movb %al, 4(%rdi)
  movb %ah, 7(%rdi)
  shrq $16, %rax
  movq %rax, 8(%rdi)
  subq $16, %rsp
  movw $8 * 8 - 1, 6(%rsp)
  leaq APUS_CPU_DESCRIPTORS(%r8), %rax
  movq %rax, 8(%rsp)
  lgdt 6(%rsp)
  addq $16, %rsp
  lidt interrupts_pointer(%rip)
  movl $APUS_SELECTOR_TASK, %eax
  ltr %ax
  movl $APUS_SELECTOR_KERNEL_DATA, %eax
  movw %ax, %ss
  ret

  .section .data
  .balign 16
  .globl apus_descriptors
apus_descriptors:
  .quad 0
  .quad 0x00af9b000000ffff                /* kernel code */
  .quad 0x00cf93000000ffff                /* kernel data */
  .quad 0                                 /* SYSRET's base: data at +8, code at +16 */
  .quad 0x00cff3000000ffff                /* user data */
  .quad 0x00affb000000ffff                /* user code */
  .quad 0x0000890000000067, 0             /* task state */
interrupts_pointer:
  .word 4095
  .quad interrupt_descriptors

  .balign 64
  .globl apus_kernel_lock
apus_kernel_lock: .long 1, 0              /* next ticket, ticket being served: boot holds the first */

  .section .rodata
  .balign 16
  /* address, vector, interrupt stack, type (0x8e: interrupt gate; 0xee: ring 3 may raise it) */
  .macro GATE target, vector, stack = 0, type = 0x8e
  .quad \target
  .byte \vector, \stack, \type, 0, 0, 0, 0, 0
  .endm
stubs:
  GATE stub_0, 0
  GATE stub_1, 1, 1
  GATE stub_2, 2, 2
  GATE stub_3, 3, 0, 0xee
  GATE stub_4, 4, 0, 0xee
  GATE stub_5, 5
  GATE stub_6, 6
  GATE stub_7, 7
  GATE stub_8, 8, 3
  GATE stub_9, 9
  GATE stub_10, 10
  GATE stub_11, 11
  GATE stub_12, 12
  GATE stub_13, 13
  GATE stub_14, 14
  GATE stub_15, 15
  GATE stub_16, 16
  GATE stub_17, 17
  GATE stub_18, 18, 3
  GATE stub_19, 19
  GATE stub_20, 20
  GATE stub_21, 21
  GATE stub_22, 22
  GATE stub_23, 23
  GATE stub_24, 24
  GATE stub_25, 25
  GATE stub_26, 26
  GATE stub_27, 27
  GATE stub_28, 28
  GATE stub_29, 29
  GATE stub_30, 30
  GATE stub_31, 31
  GATE interrupt_timer, APUS_VECTOR_TIMER
  GATE interrupt_console, APUS_VECTOR_CONSOLE
  GATE interrupt_kick, APUS_VECTOR_KICK
  GATE interrupt_flush, APUS_VECTOR_FLUSH
  GATE interrupt_network, APUS_VECTOR_NETWORK
  GATE interrupt_spurious, APUS_VECTOR_SPURIOUS
  .quad 0

  .section .bss
  .balign 4096
interrupt_descriptors: .skip 4096

/* The end of the list of CLAC sites. */
  .section .rodata.clac, "a"
  .quad 0
