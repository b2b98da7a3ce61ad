/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions.h: one function for each instruction that Swift cannot say. */
#ifndef APUS_INSTRUCTIONS_H
#define APUS_INSTRUCTIONS_H
#include <stdint.h>

#define APUS_INLINE static inline __attribute__((always_inline))

APUS_INLINE void apus_out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
APUS_INLINE uint8_t apus_in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
APUS_INLINE void apus_out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
APUS_INLINE void apus_out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
APUS_INLINE uint32_t apus_in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
/* Accesses that the compiler may neither drop, double nor widen. */
APUS_INLINE uint8_t apus_load8(const uint8_t *_Nonnull p) { return *(const volatile uint8_t *)p; }
APUS_INLINE uint16_t apus_load16(const uint16_t *_Nonnull p) { return *(const volatile uint16_t *)p; }
APUS_INLINE uint32_t apus_load32(const uint32_t *_Nonnull p) { return *(const volatile uint32_t *)p; }
APUS_INLINE void apus_store8(uint8_t *_Nonnull p, uint8_t v) { *(volatile uint8_t *)p = v; }
APUS_INLINE void apus_store16(uint16_t *_Nonnull p, uint16_t v) { *(volatile uint16_t *)p = v; }
APUS_INLINE void apus_store32(uint32_t *_Nonnull p, uint32_t v) { *(volatile uint32_t *)p = v; }
APUS_INLINE void apus_store64(uint64_t *_Nonnull p, uint64_t v) { *(volatile uint64_t *)p = v; }
APUS_INLINE uint64_t apus_rdtsc(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}
struct apus_cpuid { uint32_t eax, ebx, ecx, edx; };
APUS_INLINE struct apus_cpuid apus_cpuid(uint32_t leaf, uint32_t subleaf) {
  struct apus_cpuid r;
  __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}
APUS_INLINE uint64_t apus_rdmsr(uint32_t msr) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (uint64_t)high << 32 | low;
}
APUS_INLINE void apus_wrmsr(uint32_t msr, uint64_t value) {
  __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
APUS_INLINE uint64_t apus_read_cr0(void) { uint64_t v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
APUS_INLINE void apus_write_cr0(uint64_t v) { __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
APUS_INLINE uint64_t apus_read_cr2(void) { uint64_t v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
APUS_INLINE uint64_t apus_read_cr3(void) { uint64_t v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
APUS_INLINE void apus_write_cr3(uint64_t v) { __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
APUS_INLINE uint64_t apus_read_cr4(void) { uint64_t v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
APUS_INLINE void apus_write_cr4(uint64_t v) { __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
APUS_INLINE void apus_xsetbv(uint32_t index, uint64_t v) {
  __asm__ volatile("xsetbv" ::"c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}
APUS_INLINE void apus_xrstor(const void *_Nonnull area, uint64_t mask) {
  __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}
APUS_INLINE void apus_xsave(void *_Nonnull area, uint64_t mask) {
  __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}
APUS_INLINE uint64_t apus_read_fs_base(void) { uint64_t v; __asm__ volatile("rdfsbase %0" : "=r"(v)); return v; }
/* ds, es, fs, gs, 16 bits each. */
APUS_INLINE uint64_t apus_read_selectors(void) {
  uint64_t ds = 0, es = 0, fs = 0, gs = 0;
  __asm__ volatile("movl %%ds, %k0; movl %%es, %k1; movl %%fs, %k2; movl %%gs, %k3" : "+r"(ds), "+r"(es), "+r"(fs), "+r"(gs));
  return (ds & 0xffff) | (es & 0xffff) << 16 | (fs & 0xffff) << 32 | (gs & 0xffff) << 48;
}
APUS_INLINE void apus_invlpg(uint64_t address) { __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory"); }
/* Interrupts open for exactly the halt: STI's shadow covers HLT, so no wake-up is lost (SDM vol. 2, STI). */
APUS_INLINE void apus_halt_until_interrupt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }
/* Lets interrupts that wait be taken now. */
APUS_INLINE void apus_take_interrupts(void) { __asm__ volatile("sti; nop; cli" ::: "memory"); }
APUS_INLINE void apus_halt_forever(void) { for (;;) __asm__ volatile("cli; hlt"); }
/* Sets bits in a word that another processor may change at the same time. */
APUS_INLINE void apus_set_bits(uint64_t *_Nonnull p, uint64_t bits) { __atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST); }
/* Page-table entries, in which the MMU of another processor may set accessed and dirty at the same time (SDM vol. 3,
 * 4.8). The second begins with what the entry was. Both return what was there. */
APUS_INLINE uint64_t apus_exchange(uint64_t *_Nonnull p, uint64_t value) {
  return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);
}
APUS_INLINE uint64_t apus_change(uint64_t *_Nonnull p, uint64_t old, uint64_t keep, uint64_t set) {
  while (!__atomic_compare_exchange_n(p, &old, (old & keep) | set, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
  return old;
}
APUS_INLINE void apus_barrier(void) { __asm__ volatile("mfence" ::: "memory"); }
APUS_INLINE void apus_pause(void) { __asm__ volatile("pause"); }
APUS_INLINE void apus_zero_page(void *_Nonnull page) {
  uint64_t count = 512;
  __asm__ volatile("rep stosq" : "+D"(page), "+c"(count) : "a"(0ull) : "memory");
}
APUS_INLINE void apus_copy_quads(void *_Nonnull to, const void *_Nonnull from, uint64_t count) {
  __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}
/* Runs compiled packet filters (core/PacketFilter/FilterCode.swift). */
APUS_INLINE uint32_t apus_match_packet(uint64_t code, uint64_t packet, uint64_t count, uint64_t buckets, uint64_t states) {
  return ((uint32_t(*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))code)(packet, count, 0, 0, buckets, states);
}
/* Runs a program (core/BPF/Compiler.swift); `top` is the end of its stack. */
APUS_INLINE uint64_t apus_run_program(uint64_t code, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t top) {
  return ((uint64_t(*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t))code)(a, b, c, d, 0, top);
}
/* The addresses of what programs call, 1 to 5. */
uint64_t apus_helper_copy(uint64_t from, uint64_t to, uint64_t count);
uint64_t apus_helper_send(uint64_t count);
uint64_t apus_helper_wake(void);
uint64_t apus_helper_quote(uint64_t from, uint64_t to, uint64_t count);
uint64_t apus_helper_recall(uint64_t from, uint64_t to, uint64_t count);
APUS_INLINE uint64_t apus_helper(uint32_t number) {
  switch (number) {
  case 1: return (uint64_t)apus_helper_copy;
  case 2: return (uint64_t)apus_helper_send;
  case 3: return (uint64_t)apus_helper_wake;
  case 4: return (uint64_t)apus_helper_quote;
  default: return (uint64_t)apus_helper_recall;
  }
}
APUS_INLINE void apus_copy_bytes(void *_Nonnull to, const void *_Nonnull from, uint64_t count) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}
#endif
