/* SPDX-License-Identifier: Apache-2.0 */
/* tiny.S: the smallest program, for fork + exec + wait. No libc: it exits with 0 at once. */
        .globl  _start
_start:
        xorl    %edi, %edi
        movl    $60, %eax               /* exit */
        syscall
        .section .note.GNU-stack, "", @progbits
