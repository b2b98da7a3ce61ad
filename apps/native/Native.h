/* SPDX-License-Identifier: Apache-2.0 */
/* Native.h: memory, instructions and the assembly's symbols of a small native program, as functions for Swift. */
#ifndef NATIVE_H
#define NATIVE_H
#include "ApusABI.h"

/* The u-area from APUS_UA_LIBOS on: the registers of an environment that does not run. */
#define UA_RAX 0x200
#define UA_RCX 0x208
#define UA_RDX 0x210
#define UA_RBX 0x218
#define UA_RBP 0x220
#define UA_RSI 0x228
#define UA_RDI 0x230
#define UA_R8 0x238                       /* r8 to r15, eight bytes each */
#define UA_RSP 0x278
#define UA_RIP 0x280
#define UA_FLAGS 0x288
#define UA_OWN 0x2c0                       /* and words of the program's own */

#define CALL_YIELD 1
#define CALL_SLEEP 2
#define NATIVE_RESUMED 0x100000000        /* what native_suspend returns after a slice has begun */

/* Places for environments beside the first: a u-area each, above its stack. */
#define NATIVE_PLACES 12
#define NATIVE_PLACE_SIZE 16384

#define USER_CODE_SELECTOR 0x2b
#define USER_DATA_SELECTOR 0x23

#ifndef __ASSEMBLER__
#define NATIVE_INLINE static inline __attribute__((always_inline))

NATIVE_INLINE uint64_t load64(uint64_t address) { return *(const volatile uint64_t *)address; }
NATIVE_INLINE uint8_t load8(uint64_t address) { return *(const volatile uint8_t *)address; }
NATIVE_INLINE void store64(uint64_t address, uint64_t value) { *(volatile uint64_t *)address = value; }
NATIVE_INLINE void store8(uint64_t address, uint8_t value) { *(volatile uint8_t *)address = value; }
NATIVE_INLINE uint64_t time_stamp(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (uint64_t)high << 32 | low;
}
NATIVE_INLINE void set_critical(uint64_t value) {
  __asm__ volatile("movq %0, %%gs:(%q1)" : : "r"(value), "r"((uint64_t)APUS_UA_CRITICAL) : "memory");
}
NATIVE_INLINE uint64_t kernel_call(
    uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4) {
  uint64_t result = APUS_CALL_BIT | number;
  register uint64_t fourth __asm__("r10") = a3, fifth __asm__("r8") = a4;
  __asm__ volatile("syscall"
                   : "+a"(result), "+D"(a0), "+S"(a1), "+d"(a2), "+r"(fourth), "+r"(fifth)
                   :
                   : "rcx", "r11", "r9", "memory");
  return result;
}

/* Memory in bulk, by quad words: an emulator counts each. Addresses and counts are multiples of 8. */
NATIVE_INLINE void copy_words(uint64_t target, uint64_t source, uint64_t bytes) {
  uint64_t count = bytes / 8;
  __asm__ volatile("rep movsq" : "+D"(target), "+S"(source), "+c"(count) : : "memory");
}
NATIVE_INLINE void zero_words(uint64_t target, uint64_t bytes) {
  uint64_t count = bytes / 8;
  __asm__ volatile("rep stosq" : "+D"(target), "+c"(count) : "a"(0ull) : "memory");
}

/* The bench's markers (bench/programs/measure.h). */
#define NATIVE_MARK(code) __asm__ volatile(".byte 0x0f, 0x1f, 0x80, " #code ", 0x00, 0x50, 0x41" : : : "memory")
NATIVE_INLINE void mark_begin(void) { NATIVE_MARK(0x10); }
NATIVE_INLINE void mark_end(void) { NATIVE_MARK(0x20); }
NATIVE_INLINE void mark_sum(void) { NATIVE_MARK(0x30); }
NATIVE_INLINE void mark_sum_of_all(void) { NATIVE_MARK(0x40); }

/* A fixed piece of work: 200 instructions a round, whatever the compiler thinks. */
NATIVE_INLINE void work(uint64_t rounds) {
  __asm__ volatile("1:\n\t.rept 198\n\tincq %%rax\n\t.endr\n\tdecq %0\n\tjnz 1b" : "+r"(rounds) : : "rax", "cc");
}

/* The information pages. */
NATIVE_INLINE const volatile struct apus_information *information(void) {
  return (const volatile struct apus_information *)APUS_INFORMATION_BASE;
}
NATIVE_INLINE uint64_t ticks_per_second(void) { return information()->ticks_per_second; }
NATIVE_INLINE uint64_t first_ring3_ticks(void) { return information()->first_ring3_ticks; }
NATIVE_INLINE const volatile struct apus_environment *environment_record(uint64_t slot) {
  return (const volatile struct apus_environment *)(APUS_INFORMATION_BASE + information()->environment_table_offset) + slot;
}
NATIVE_INLINE uint64_t environment_ticks(uint64_t slot) { return environment_record(slot)->ticks_used; }
NATIVE_INLINE uint64_t environment_uarea(uint64_t slot) { return environment_record(slot)->uarea_address; }
NATIVE_INLINE uint64_t environment_root(uint64_t slot) { return environment_record(slot)->root; }
NATIVE_INLINE uint64_t environment_account(uint64_t slot) { return environment_record(slot)->account; }
NATIVE_INLINE uint64_t environment_is_running(uint64_t slot) { return environment_record(slot)->running_on != 0; }
NATIVE_INLINE uint64_t environment_handle(uint64_t slot) { return environment_record(slot)->handle; }
NATIVE_INLINE uint64_t environment_count(void) { return information()->environment_count; }
NATIVE_INLINE uint64_t environment_generation(uint64_t slot) { return environment_record(slot)->generation; }
NATIVE_INLINE uint64_t contract_missed(uint64_t name) {
  return ((const volatile struct apus_contract *)(APUS_INFORMATION_BASE + information()->contract_table_offset))
      [name & 0xffff].missed;
}
/* The page shared with who started this family; 0 where the machine is its own. */
NATIVE_INLINE uint64_t family_page(void) {
  return load64(APUS_TABLES_BASE + (APUS_FAMILY_BASE >> 12 & 0xfffffffff) * 8) & 1 ? APUS_FAMILY_BASE : 0;
}
NATIVE_INLINE uint64_t frame_account(uint64_t frame) {
  uint64_t table = APUS_INFORMATION_BASE + information()->frame_table_offset;
  return ((const volatile struct apus_frame *)table)[frame].account;
}
NATIVE_INLINE const volatile struct apus_account *account_record(uint64_t account) {
  return (const volatile struct apus_account *)(APUS_INFORMATION_BASE + information()->account_table_offset) + account;
}
NATIVE_INLINE uint64_t account_frames(uint64_t account) { return account_record(account)->frames.used; }
NATIVE_INLINE uint64_t account_frame_limit(uint64_t account) { return account_record(account)->frames.limit; }
/* Frames that the kernel has taken from an account by force. */
NATIVE_INLINE uint64_t account_frames_taken(uint64_t account) {
  const volatile struct apus_revocation *table =
      (const volatile struct apus_revocation *)(APUS_INFORMATION_BASE + information()->revocation_table_offset);
  for (uint64_t i = 0; i < information()->revocation_count; i++)
    if (table[i].account == account) return table[i].frames.taken;
  return 0;
}
NATIVE_INLINE uint64_t revocation_bound(void) { return information()->revocation_bound_ticks; }
NATIVE_INLINE uint64_t slice_ticks(void) { return information()->slice_ticks; }
NATIVE_INLINE uint64_t image_command(void) {
  return APUS_MODULE_BASE + load64(APUS_MODULE_BASE + __builtin_offsetof(struct apus_image, command_offset));
}

/* Entry.S */
#pragma GCC visibility push(hidden)
uint64_t native_suspend(uint64_t call, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
#define NATIVE_SYMBOL(name) \
  extern uint8_t name[];    \
  NATIVE_INLINE uint64_t address_of_##name(void) { return (uint64_t)name; }
NATIVE_SYMBOL(native_exception_entry)
NATIVE_SYMBOL(native_slice_begin_entry)
NATIVE_SYMBOL(native_slice_end_entry)
NATIVE_SYMBOL(native_spin)
NATIVE_SYMBOL(native_places)
NATIVE_SYMBOL(native_entry_stacks)
NATIVE_SYMBOL(native_text)
NATIVE_SYMBOL(native_words)
NATIVE_SYMBOL(native_family_body) /* where an environment of another family begins, in a program that has one */
NATIVE_SYMBOL(native_nested_entry)
NATIVE_SYMBOL(native_nested_stack)
#pragma GCC visibility pop
#endif
#endif
