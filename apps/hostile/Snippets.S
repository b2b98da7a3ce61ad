/* SPDX-License-Identifier: Apache-2.0 */
/* Snippets.S: pieces of code that raise exceptions. Each begins with the instruction that faults or traps; where it goes
 * on is its second label, from which it ends the probe. Memory operands are chosen by the caller in rbx, rbp, rdi. */
#include "Layout.h"

  .macro SNIPPET name, instruction:vararg
  .globl snippet_\name, snippet_\name\()_next
snippet_\name:
  \instruction
snippet_\name\()_next:
  jmp hostile_probe_end
  .endm

  .text
  SNIPPET divide, divq zero(%rip)
  SNIPPET divide_overflow, divl one(%rip)   /* the quotient does not fit when edx is 1 or more */
  SNIPPET icebp, .byte 0xf1
  SNIPPET breakpoint, int3
  SNIPPET int_4, int $4
  SNIPPET ud2, ud2
  SNIPPET push_cs, .byte 0x0e
  SNIPPET lock_nop, .byte 0xf0, 0x90
  SNIPPET cli, cli
  SNIPPET sti, sti
  SNIPPET hlt, hlt
  SNIPPET in, inb $0x60, %al
  SNIPPET out, outb %al, $0xf4
  SNIPPET rdmsr, rdmsr
  SNIPPET wrmsr, wrmsr
  SNIPPET rdpmc, rdpmc
  SNIPPET read_cr0, movq %cr0, %rax
  SNIPPET write_cr0, movq %rax, %cr0
  SNIPPET read_cr3, movq %cr3, %rax
  SNIPPET write_cr3, movq %rax, %cr3
  SNIPPET write_cr4, movq %rax, %cr4
  SNIPPET write_cr8, movq %rax, %cr8
  SNIPPET write_dr7, movq %rax, %dr7
  SNIPPET read_dr6, movq %dr6, %rax
  SNIPPET lgdt, lgdt one(%rip)
  SNIPPET lidt, lidt one(%rip)
  SNIPPET lldt, lldt zero(%rip)
  SNIPPET ltr, ltr zero(%rip)
  SNIPPET clts, clts
  SNIPPET lmsw, lmsw zero(%rip)
  SNIPPET invlpg, invlpg zero(%rip)
  SNIPPET invd, invd
  SNIPPET wbinvd, wbinvd
  SNIPPET xsetbv, xsetbv
  SNIPPET swapgs, swapgs
  SNIPPET sysret, sysretq
  SNIPPET sgdt, sgdt scratch(%rip)
  SNIPPET sidt, sidt scratch(%rip)
  SNIPPET sldt, sldt scratch(%rip)
  SNIPPET str, str scratch(%rip)
  SNIPPET smsw, smsw scratch(%rip)
  SNIPPET int_timer, int $0x20
  SNIPPET int_128, int $0x80
  SNIPPET int_page_fault, int $14
  SNIPPET int_double_fault, int $8
  SNIPPET kernel_data_selector, movw kernel_data(%rip), %ds
  SNIPPET kernel_stack_selector, movw kernel_data(%rip), %ss
  SNIPPET far_return_to_ring_0, ljmpl *kernel_entry(%rip)
  SNIPPET non_canonical, movb (%rbx), %al
  SNIPPET non_canonical_stack, movb (%rbp), %al
  SNIPPET read, movb (%rbx), %al
  SNIPPET write, movb %al, (%rbx)
  SNIPPET jump, jmpq *%rbx
  SNIPPET nothing, nop

  /* An x87 division by zero is reported by the next instruction that waits (SDM vol. 1, 8.7). */
  .globl snippet_floating_point, snippet_floating_point_wait, snippet_floating_point_next
snippet_floating_point:
  fninit
  fldcw unmasked(%rip)
  fld1
  fldz
  fdivrp
snippet_floating_point_wait:
  fwait
snippet_floating_point_next:
  fninit
  jmp hostile_probe_end

  .globl snippet_vector, snippet_vector_division, snippet_vector_next
snippet_vector:
  ldmxcsr unmasked_vector(%rip)
  movss one_single(%rip), %xmm0
  xorps %xmm1, %xmm1
snippet_vector_division:
  divss %xmm1, %xmm0
snippet_vector_next:
  ldmxcsr default_vector(%rip)
  jmp hostile_probe_end

  .globl snippet_misaligned, snippet_misaligned_next
snippet_misaligned:
  movq scratch + 1(%rip), %rax
snippet_misaligned_next:
  jmp hostile_probe_end

  .globl snippet_foreign, snippet_foreign_next
snippet_foreign:
  syscall
snippet_foreign_next:
  jmp hostile_probe_end

  .globl snippet_stack_segment_call, snippet_stack_segment_call_next
snippet_stack_segment_call:
  movw user_data(%rip), %ss
  syscall
snippet_stack_segment_call_next:
  jmp hostile_probe_end

  .globl snippet_stack_segment_breakpoint, snippet_stack_segment_breakpoint_next
snippet_stack_segment_breakpoint:
  movw user_data(%rip), %ss
  int3
snippet_stack_segment_breakpoint_next:
  jmp hostile_probe_end

  /* 3 * rdx instructions, the jump at the end not counted. */
  .globl snippet_count_down, snippet_count_down_next
snippet_count_down:
  leaq (%rax,%rdx), %rax
  decq %rdx
  jnz snippet_count_down
snippet_count_down_next:
  jmp hostile_probe_end

  .section .rodata
  .balign 16
zero: .quad 0, 0
one: .quad 1, 0
one_single: .long 0x3f800000
kernel_data: .quad 0x10
user_data: .quad USER_DATA_SELECTOR
kernel_entry:
  .long 0
  .word 8, 0
unmasked: .word 0x037b                    /* all but division by zero masked */
  .balign 4
unmasked_vector: .long 0x1d80
default_vector: .long 0x1f80

  .section .bss
  .balign 16
scratch: .skip 32
