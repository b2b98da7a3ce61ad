/* SPDX-License-Identifier: Apache-2.0 */
/* Start.S: from the PVH entry (32-bit, paging off) to Swift in long mode, high half.
 * PVH: docs/misc/pvh.pandoc of the Xen project; ebx points to the start info. */
#include "Entry.h"

#define KERNEL_OFFSET 0xffffffff80000000
#define PHYSICAL(symbol) (symbol - KERNEL_OFFSET)

  .section .note.pvh, "a", @note
  .balign 4
  .long 4, 8, 18              /* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
  .asciz "Xen"
  .quad PHYSICAL(apus_pvh_entry)

  .section .text.start, "ax"
  .code32
  .globl apus_pvh_entry
apus_pvh_entry:
  cli
  cld
  movl $PHYSICAL(apus_kernel_stack_top), %esp
  movl %ebx, %esi

  /* Two views of the first GiB until Swift builds the real tables: at 0 and at KERNEL_OFFSET. */
  movl $PHYSICAL(boot_directory), %edi
  movl $0x83, %eax            /* present, writable, 2 MiB */
1:movl %eax, (%edi)
  addl $0x200000, %eax
  addl $8, %edi
  cmpl $PHYSICAL(boot_directory) + 4096, %edi
  jb 1b
  movl $PHYSICAL(boot_directory) + 3, PHYSICAL(apus_boot_pointers)
  movl $PHYSICAL(boot_directory) + 3, PHYSICAL(apus_boot_pointers) + 510 * 8
  movl $PHYSICAL(apus_boot_pointers) + 3, PHYSICAL(apus_kernel_root)
  movl $PHYSICAL(apus_boot_pointers) + 3, PHYSICAL(apus_kernel_root) + 511 * 8

  movl $0x80000001, %eax      /* long mode and no-execute are the least we run on */
  cpuid
  movl %edx, %eax
  andl $0x20100000, %eax
  cmpl $0x20100000, %eax
  jne 9f

  movl $0x20, %eax            /* PAE */
  movl %eax, %cr4
  movl $PHYSICAL(apus_kernel_root), %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx      /* EFER: SCE, LME, NXE */
  rdmsr
  orl $0x901, %eax
  wrmsr
  movl $0x80010033, %eax      /* PG, WP, NE, ET, MP, PE; CD, NW, AM, EM, TS clear */
  movl %eax, %cr0
  lgdt PHYSICAL(boot_table)
  ljmp $APUS_SELECTOR_KERNEL_CODE, $PHYSICAL(2f)
9:hlt
  jmp 9b

  .code64
2:movabsq $3f, %rax
  jmp *%rax
3:movabsq $apus_kernel_stack_top, %rsp
  xorl %ebp, %ebp
  movl %esi, %edi
  xorl %eax, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %fs
  movw %ax, %gs
  movl $APUS_SELECTOR_KERNEL_DATA, %eax
  movw %ax, %ss
  call apus_kernel_main
4:hlt
  jmp 4b

  .section .rodata
  .balign 8
boot_table:
  .word 8 * 8 - 1
  .long PHYSICAL(apus_descriptors)

  .section .bss
  .balign 4096
  .globl apus_kernel_root
apus_kernel_root: .skip 4096
  .globl apus_boot_pointers
apus_boot_pointers: .skip 4096
boot_directory: .skip 4096
  .skip 16384
  .globl apus_kernel_stack_top
apus_kernel_stack_top:
