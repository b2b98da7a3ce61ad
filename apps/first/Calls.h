/* SPDX-License-Identifier: Apache-2.0 */
/* Calls.h: the calls that this LibOS has, and how the application makes them. */
#include "Package.h"

/* The number goes into rax, the arguments into rdi, rsi, rdx and r10. */
#define CALL_SAY 1 /* address of words, how many bytes, two numbers */
#define CALL_END 2

PACKAGE_INLINE void call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  register uint64_t fourth __asm__("r10") = d;
  __asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
}

/* The application's memory, by address. */
PACKAGE_INLINE uint8_t byte(uint64_t address) { return *(const volatile uint8_t *)address; }
PACKAGE_INLINE void set_byte(uint64_t address, uint8_t value) { *(volatile uint8_t *)address = value; }
