# SPDX-License-Identifier: Apache-2.0
# Handler.S: the program that answers in the kernel (apps/bpf/echo.c), as bytes.
  .section .rodata
  .balign 8
apus_echo_begin:
  .incbin PROGRAM
apus_echo_end:
  .text
  .globl echo_program
echo_program:
  leaq apus_echo_begin(%rip), %rax
  ret
  .globl echo_program_size
echo_program_size:
  movl $(apus_echo_end - apus_echo_begin), %eax
  ret
