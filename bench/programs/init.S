/* SPDX-License-Identifier: Apache-2.0 */
/* init.S: the Linux twin's first process.
 *
 * Its first instruction, the guest's first in ring 3, reads the counter; it prints that as the boot figure and
 * becomes /linux with the arguments that the kernel's command line has after "--". It is linked far above every
 * address that a kernel runs at before ring 3, so that a counting plugin knows its first instruction.
 */
        .globl  _start
_start:
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        .byte   0x0f, 0x1f, 0x80, 0x40, 0x00, 0x50, 0x41        /* MARK_SUM_OF_ALL of measure.h */

        /* Decimal digits, from the last to the first. */
        leaq    digits_end(%rip), %rdi
        movl    $10, %ecx
1:      xorl    %edx, %edx
        divq    %rcx
        addb    $'0', %dl
        decq    %rdi
        movb    %dl, (%rdi)
        testq   %rax, %rax
        jnz     1b

        /* Moves the rest of the line behind the digits' actual start: head and digits. */
        movq    %rdi, %rbx
        leaq    head_end(%rip), %rsi
        movl    $(head_end - head), %ecx
2:      decq    %rsi
        decq    %rbx
        movb    (%rsi), %al
        movb    %al, (%rbx)
        decl    %ecx
        jnz     2b

        movl    $1, %eax                /* write */
        movl    $1, %edi
        movq    %rbx, %rsi
        leaq    tail_end(%rip), %rdx
        subq    %rbx, %rdx
        syscall

        movl    $59, %eax               /* execve */
        leaq    program(%rip), %rdi
        leaq    8(%rsp), %rsi           /* argv */
        movq    (%rsp), %rdx            /* argc */
        leaq    16(%rsp,%rdx,8), %rdx   /* envp */
        syscall
        ud2

        .data
head:   .ascii  "\n@@ {\"case\":\"boot\",\"metric\":\"op\",\"instructions\":"
head_end:
program:
        .asciz  "/linux"
        .space  64 + 20
digits_end:
        .ascii  "}\n"
tail_end:
        .section .note.GNU-stack, "", @progbits
