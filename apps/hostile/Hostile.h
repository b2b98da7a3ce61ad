/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile.h: memory, instructions and the assembly's symbols, as functions that Swift can call. Addresses are numbers
 * throughout: this program's business is addresses that are no good. */
#ifndef HOSTILE_H
#define HOSTILE_H
#include "Layout.h"
#include <stdint.h>

#define HOSTILE_INLINE static inline __attribute__((always_inline))

_Static_assert(UA_VECTORS + UA_VECTORS_SIZE <= APUS_UA_SIZE, "u-area");

HOSTILE_INLINE uint64_t load64(uint64_t address) { return *(const volatile uint64_t *)address; }
HOSTILE_INLINE uint32_t load32(uint64_t address) { return *(const volatile uint32_t *)address; }
HOSTILE_INLINE uint16_t load16(uint64_t address) { return *(const volatile uint16_t *)address; }
HOSTILE_INLINE uint8_t load8(uint64_t address) { return *(const volatile uint8_t *)address; }
HOSTILE_INLINE void store64(uint64_t address, uint64_t value) { *(volatile uint64_t *)address = value; }
HOSTILE_INLINE void store8(uint64_t address, uint8_t value) { *(volatile uint8_t *)address = value; }

HOSTILE_INLINE uint64_t uarea_word(uint32_t offset) {
  uint64_t value;
  __asm__ volatile("movq %%gs:(%q1), %0" : "=r"(value) : "r"((uint64_t)offset) : "memory");
  return value;
}
HOSTILE_INLINE void set_uarea_word(uint32_t offset, uint64_t value) {
  __asm__ volatile("movq %0, %%gs:(%q1)" : : "r"(value), "r"((uint64_t)offset) : "memory");
}
/* PKRU; faults where protection keys are off. */
HOSTILE_INLINE uint64_t read_rights(void) {
  uint32_t rights, zero;
  __asm__ volatile("rdpkru" : "=a"(rights), "=d"(zero) : "c"(0));
  return rights;
}
HOSTILE_INLINE uint64_t time_stamp(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}
struct hostile_cpuid { uint32_t eax, ebx, ecx, edx; };
HOSTILE_INLINE struct hostile_cpuid processor_says(uint32_t leaf, uint32_t subleaf) {
  struct hostile_cpuid r;
  __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}
HOSTILE_INLINE uint64_t fs_base(void) { uint64_t v; __asm__ volatile("rdfsbase %0" : "=r"(v)); return v; }
HOSTILE_INLINE void set_fs_base(uint64_t v) { __asm__ volatile("wrfsbase %0" : : "r"(v)); }

/* A sum over 64-bit words that notices changed, moved and swapped words. */
HOSTILE_INLINE uint64_t sum_words(uint64_t address, uint64_t count, uint64_t sum) {
  const uint64_t *words = (const uint64_t *)address;
  for (uint64_t i = 0; i < count; i++) sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15u + (sum >> 29);
  return sum;
}
HOSTILE_INLINE uint64_t sum_budgets(uint64_t address, uint64_t count) {
  const volatile struct apus_account *records = (const volatile struct apus_account *)address;
  uint64_t sum = 1, limits = 0;
  for (uint64_t i = 0; i < count; i++) {
    limits += records[i].frames.limit + ((uint64_t)records[i].environments.limit << 32) + records[i].slices.limit
        + ((uint64_t)records[i].time.limit << 32);
    uint64_t used = records[i].frames.used + ((uint64_t)records[i].environments.used << 32);
    sum = (sum ^ used ^ (uint64_t)records[i].slices.used << 48 ^ records[i].time.used) * 0x9e3779b97f4a7c15u + (sum >> 29);
  }
  return sum ^ limits;
}
HOSTILE_INLINE void fill_words(uint64_t address, uint64_t count, uint64_t value) {
  for (uint64_t i = 0; i < count; i++) ((volatile uint64_t *)address)[i] = value;
}

HOSTILE_INLINE void copy_words(uint64_t to, uint64_t from, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) ((volatile uint64_t *)to)[i] = ((const volatile uint64_t *)from)[i];
}

/* The information page. */
HOSTILE_INLINE struct apus_information information_page(void) {
  struct apus_information copy;
  const volatile uint64_t *from = (const volatile uint64_t *)APUS_INFORMATION_BASE;
  for (unsigned i = 0; i < sizeof copy / 8; i++) ((uint64_t *)&copy)[i] = from[i];
  return copy;
}
HOSTILE_INLINE uint64_t address_of_free_frames(void) {
  return APUS_INFORMATION_BASE + __builtin_offsetof(struct apus_information, frames_free);
}
HOSTILE_INLINE uint64_t free_frames(void) { return load64(address_of_free_frames()); }
/* Information.swift sums records by words: these are the ones that calls and time move. */
_Static_assert(__builtin_offsetof(struct apus_environment, slice_upcalls) == 8 * 8, "environment record");
_Static_assert(__builtin_offsetof(struct apus_environment, last_cause) == 17 * 8, "environment record");
_Static_assert(__builtin_offsetof(struct apus_slice, used) == 8 && sizeof(struct apus_slice) == 16, "slice record");
HOSTILE_INLINE uint64_t image_command_offset(void) {
  return load64(APUS_MODULE_BASE + __builtin_offsetof(struct apus_image, command_offset));
}
HOSTILE_INLINE struct apus_frame frame_record_at(uint64_t address) { return *(const struct apus_frame *)address; }
HOSTILE_INLINE struct apus_environment environment_record_at(uint64_t address) {
  return *(const struct apus_environment *)address;
}
HOSTILE_INLINE struct apus_contract contract_record_at(uint64_t address) {
  return *(const struct apus_contract *)address;
}
HOSTILE_INLINE struct apus_account account_record_at(uint64_t address) { return *(const struct apus_account *)address; }
HOSTILE_INLINE struct apus_slice slice_record_at(uint64_t address) { return *(const struct apus_slice *)address; }
HOSTILE_INLINE struct apus_revocation revocation_record_at(uint64_t address) {
  return *(const struct apus_revocation *)address;
}

/* Entry.S */
#pragma GCC visibility push(hidden)
uint64_t hostile_suspend(uint64_t call, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
void hostile_probe(uint64_t file);
void hostile_fault_here(void);
#define HOSTILE_SYMBOL(name) \
  extern uint8_t name[];     \
  HOSTILE_INLINE uint64_t address_of_##name(void) { return (uint64_t)name; }
HOSTILE_SYMBOL(hostile_exception_entry)
HOSTILE_SYMBOL(hostile_nested_entry)
HOSTILE_SYMBOL(hostile_faulting_entry)
HOSTILE_SYMBOL(hostile_faulting_nested_entry)
HOSTILE_SYMBOL(hostile_foreign_entry)
HOSTILE_SYMBOL(hostile_sleeper_entry)
HOSTILE_SYMBOL(hostile_slice_begin_entry)
HOSTILE_SYMBOL(hostile_revocation_entry)
HOSTILE_SYMBOL(hostile_slice_end_entry)
HOSTILE_SYMBOL(hostile_slow_slice_end_entry)
HOSTILE_SYMBOL(hostile_resume)
HOSTILE_SYMBOL(hostile_resume_released)
HOSTILE_SYMBOL(hostile_resume_end)
HOSTILE_SYMBOL(hostile_probe_end)
HOSTILE_SYMBOL(hostile_exception_stack)
HOSTILE_SYMBOL(hostile_nested_stack)
HOSTILE_SYMBOL(hostile_slice_stack)
HOSTILE_SYMBOL(hostile_probe_stack)
HOSTILE_SYMBOL(hostile_after)
HOSTILE_SYMBOL(hostile_file)
HOSTILE_SYMBOL(hostile_globals)
HOSTILE_SYMBOL(hostile_text)
HOSTILE_SYMBOL(hostile_words)
HOSTILE_SYMBOL(foreign_number)
HOSTILE_SYMBOL(hostile_fault_here_next)
HOSTILE_SYMBOL(hostile_image_start)
HOSTILE_SYMBOL(hostile_image_end)

HOSTILE_INLINE uint64_t hostile_call_with(
    uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4) {
  uint64_t result = number;
  register uint64_t fourth __asm__("r10") = a3, fifth __asm__("r8") = a4;
  __asm__ volatile("syscall"
                   : "+a"(result), "+D"(a0), "+S"(a1), "+d"(a2), "+r"(fourth), "+r"(fifth)
                   :
                   : "rcx", "r11", "r9", "memory");
  return result;
}

/* A call with capability slot 7 in every argument, made while the GS base is something else. The critical word keeps
 * slice ends away, whose entries need the GS base; it is written through the u-area's own address. */
HOSTILE_INLINE uint64_t call_with_gs_base(uint64_t base, uint64_t number) {
  uint64_t result = number, own;
  register uint64_t fourth __asm__("r10") = 7, fifth __asm__("r8") = 7;
  register uint64_t garbage __asm__("r12") = base;
  uint64_t a = 7, b = 7, c = 7;
  set_uarea_word(APUS_UA_CRITICAL, 1);
  __asm__ volatile("rdgsbase %%rbx; wrgsbase %%r12; syscall; wrgsbase %%rbx"
                   : "+a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth), "+r"(fifth), "=&b"(own)
                   : "r"(garbage)
                   : "rcx", "r11", "r9", "memory");
  set_uarea_word(APUS_UA_CRITICAL, 0);
  return result;
}

/* Transfers.S */
uint64_t hostile_transfer(uint64_t file, uint64_t target, uint64_t deadline);
HOSTILE_SYMBOL(hostile_quick_entry)
HOSTILE_SYMBOL(hostile_protected_entry)
HOSTILE_SYMBOL(hostile_reply_entry)
HOSTILE_SYMBOL(hostile_entered)
HOSTILE_SYMBOL(hostile_entered_bases)
HOSTILE_SYMBOL(hostile_entered_vectors)
HOSTILE_SYMBOL(hostile_reply)
HOSTILE_SYMBOL(hostile_replied)
HOSTILE_SYMBOL(hostile_replied_bases)
HOSTILE_SYMBOL(hostile_replied_vectors)

/* Neighbours.S */
HOSTILE_SYMBOL(hostile_holder_body)
HOSTILE_SYMBOL(hostile_holder_file)
HOSTILE_SYMBOL(hostile_holder_after)
HOSTILE_SYMBOL(hostile_holder_vectors)
HOSTILE_SYMBOL(hostile_holder_vectors_after)
HOSTILE_SYMBOL(hostile_holder_fs)
HOSTILE_SYMBOL(hostile_holder_fs_after)
HOSTILE_SYMBOL(hostile_holder_done)
HOSTILE_SYMBOL(hostile_holder_rights)
HOSTILE_SYMBOL(hostile_reader_entry)
HOSTILE_SYMBOL(hostile_reader_file)
HOSTILE_SYMBOL(hostile_reader_vectors)
HOSTILE_SYMBOL(hostile_reader_selectors)
HOSTILE_SYMBOL(hostile_reader_fs)
HOSTILE_SYMBOL(hostile_reader_gs)

/* Snippets.S: each faults at its first instruction, or just after it, and goes on at its second label. */
#define HOSTILE_SNIPPET(name) \
  HOSTILE_SYMBOL(snippet_##name) \
  HOSTILE_SYMBOL(snippet_##name##_next)
#include "Snippets.h"

/* Functions of this program's Swift, as the start of a child's body. */
#define HOSTILE_BODY(name) \
  void name(uint64_t);     \
  HOSTILE_INLINE uint64_t address_of_##name(void) { return (uint64_t)name; }
#include "Bodies.h"
#pragma GCC visibility pop
#endif
