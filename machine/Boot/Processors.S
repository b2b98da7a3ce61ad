/* SPDX-License-Identifier: Apache-2.0 */
/* Processors.S: how the other processors come up. A processor that gets a startup message begins in real mode at the
 * start of a page below 1 MiB (SDM vol. 3, 8.4): the code between the two labels is copied there. It is used by one
 * processor at a time. */
#include "Entry.h"

#define AT(symbol) (APUS_STARTUP_PAGE + symbol - apus_startup_begin)

  .section .rodata
  .balign 16
  .globl apus_startup_begin
apus_startup_begin:
  .code16
  cli
  cld
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %ss
  lgdtl AT(startup_table)
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  ljmpl $0x18, $AT(1f)
  .code32
1:movl $0x10, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $0x20, %eax                        /* PAE */
  movl %eax, %cr4
  movl AT(apus_startup_root), %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx                  /* EFER: SCE, LME, NXE */
  rdmsr
  orl $0x901, %eax
  wrmsr
  movl $0x80010033, %eax                  /* PG, WP, NE, ET, MP, PE; caches on */
  movl %eax, %cr0
  ljmp $APUS_SELECTOR_KERNEL_CODE, $AT(2f)
  .code64
2:xorl %eax, %eax
  movl %eax, %fs
  movl %eax, %gs
  movq AT(apus_startup_stack), %rsp
  movl AT(apus_startup_index), %edi
  xorl %ebp, %ebp
  movabsq $apus_processor_main, %rax
  call *%rax
3:hlt
  jmp 3b

  .balign 8
startup_descriptors:
  .quad 0
  .quad 0x00af9b000000ffff                /* 64-bit code */
  .quad 0x00cf93000000ffff                /* data */
  .quad 0x00cf9b000000ffff                /* 32-bit code */
startup_table:
  .word 4 * 8 - 1
  .long AT(startup_descriptors)
  .balign 8
  .globl apus_startup_root, apus_startup_stack, apus_startup_index, apus_startup_end
apus_startup_root: .quad 0
apus_startup_stack: .quad 0
apus_startup_index: .quad 0
apus_startup_end:
