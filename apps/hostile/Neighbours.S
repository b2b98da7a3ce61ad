/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbours.S: a program that holds patterns in every register, and one of another family that looks for them. */
#include "Layout.h"

#define G(offset) %gs:offset

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

  .macro LOAD_CALL_REGISTERS file
  movq \file + REGISTER_RAX(%rip), %rax
  movq \file + REGISTER_RDX(%rip), %rdx
  movq \file + REGISTER_RSI(%rip), %rsi
  movq \file + REGISTER_RDI(%rip), %rdi
  movq \file + REGISTER_R8(%rip), %r8
  movq \file + REGISTER_R9(%rip), %r9
  movq \file + REGISTER_R10(%rip), %r10
  movq \file + REGISTER_R11(%rip), %r11
  .endm

  .text
/* The body of the holder. Its loop faults, calls the kernel and is preempted, and touches no flag. It goes on as long
 * as the word in hostile_holder_file's rcx is not zero: that word is itself a pattern. */
  .globl hostile_holder_body
hostile_holder_body:
  movl $7, %eax
  xorl %edx, %edx
  xrstor64 hostile_holder_vectors(%rip)
  movl $USER_DATA_SELECTOR, %eax           /* the only one that ring 3 can load beside the null selectors */
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %fs
  movq hostile_holder_fs(%rip), %rax
  wrfsbase %rax
  LOAD_CALL_REGISTERS hostile_holder_file
  movq hostile_holder_file + REGISTER_RBX(%rip), %rbx
  movq hostile_holder_file + REGISTER_RBP(%rip), %rbp
  movq hostile_holder_file + REGISTER_R12(%rip), %r12
  movq hostile_holder_file + REGISTER_R13(%rip), %r13
  movq hostile_holder_file + REGISTER_R14(%rip), %r14
  movq hostile_holder_file + REGISTER_R15(%rip), %r15
  pushq hostile_holder_file + REGISTER_FLAGS(%rip)
  popfq
1:movl $10000, %ecx
2:leaq -1(%rcx), %rcx
  jrcxz 3f
  jmp 2b
3:movq hostile_holder_rights(%rip), %rcx
  jrcxz 6f                                 /* no protection keys */
  movq %rcx, %rax
  movl $0, %ecx
  movl $0, %edx
  wrpkru
  LOAD_CALL_REGISTERS hostile_holder_file
6:movq hostile_holder_file + REGISTER_RCX(%rip), %rcx
  int3
  movl $APUS_CALL_BIT, %eax
  syscall
  LOAD_CALL_REGISTERS hostile_holder_file
  movq hostile_holder_file + REGISTER_RCX(%rip), %rcx
  jrcxz 4f
  jmp 1b
4:STORE_ALL hostile_holder_after
  pushfq
  popq hostile_holder_after + REGISTER_FLAGS(%rip)
  pushq $0x202
  popfq
  movl $7, %eax
  xorl %edx, %edx
  xsave64 hostile_holder_vectors_after(%rip)
  rdfsbase %rax
  movq %rax, hostile_holder_fs_after(%rip)
  movq $1, hostile_holder_done(%rip)
5:movl $(APUS_CALL_BIT | CALL_SLEEP), %eax
  xorl %edi, %edi
  movq $-1, %rdx
  xorl %r10d, %r10d
  syscall
  jmp 5b

/* The slice-begin entry of the reader: everything is written down before anything is used. */
  .globl hostile_reader_entry
hostile_reader_entry:
  STORE_ALL hostile_reader_file
  pushfq
  popq hostile_reader_file + REGISTER_FLAGS(%rip)
  movl %ds, %eax
  movq %rax, hostile_reader_selectors(%rip)
  movl %es, %eax
  movq %rax, hostile_reader_selectors + 8(%rip)
  movl %fs, %eax
  movq %rax, hostile_reader_selectors + 16(%rip)
  rdfsbase %rax
  movq %rax, hostile_reader_fs(%rip)
  rdgsbase %rax
  movq %rax, hostile_reader_gs(%rip)
  movl $7, %eax
  xorl %edx, %edx
  xsave64 hostile_reader_vectors(%rip)
  call hostile_reader_look
1:movl $(APUS_CALL_BIT | CALL_YIELD), %eax
  xorl %edi, %edi
  syscall
  jmp 1b

  .section .bss
  .globl hostile_holder_file, hostile_holder_after, hostile_holder_vectors, hostile_holder_vectors_after
  .globl hostile_holder_fs, hostile_holder_fs_after, hostile_holder_done, hostile_holder_rights
  .globl hostile_reader_file, hostile_reader_vectors, hostile_reader_selectors, hostile_reader_fs, hostile_reader_gs
  .balign 64
hostile_holder_vectors: .skip 1088
hostile_holder_vectors_after: .skip 1088
hostile_reader_vectors: .skip 1088
hostile_holder_file: .skip REGISTER_FILE_SIZE
hostile_holder_after: .skip REGISTER_FILE_SIZE
hostile_reader_file: .skip REGISTER_FILE_SIZE
hostile_holder_fs: .skip 8
hostile_holder_fs_after: .skip 8
hostile_holder_done: .skip 8
hostile_holder_rights: .skip 8
hostile_reader_selectors: .skip 24
hostile_reader_fs: .skip 8
hostile_reader_gs: .skip 8
