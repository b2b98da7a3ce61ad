/* SPDX-License-Identifier: Apache-2.0 */
/* events.c: a QEMU plugin that counts, between marker instructions, what is dear on a processor and one instruction
 * in a count: kernel entries, address-space switches, TLB invalidations, port and MMIO accesses, MSR writes.
 *
 * A marker is a no-op that programs of both systems execute (../programs/mark.h): nopl 0x415000NN(%rax).
 * NN is an action in the high half and a channel in the low half:
 *
 *     1c  begins a span of channel c      2c  ends it
 *     3c  writes the sums of channel c's spans as one line, and clears them
 *     40  writes the sums since power-on
 *
 * A line: instructions, those of the kernel, returns to ring 3, then CR3 loads, TLB invalidations, port accesses,
 * MMIO accesses, MSR writes. Kernel: addresses in the upper half. For one processor.
 *
 * Debian's QEMU has plugins enabled and no header for them: the part of the interface (version 1) that is used here
 * is declared below.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
typedef uint32_t memory_info;
enum { NO_REGISTERS = 0, ADD_U64 = 0, READ_AND_WRITE = 3 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_mem_cb(
    struct qemu_plugin_insn *, void (*)(unsigned, memory_info, uint64_t, void *), int, int, void *);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(memory_info, uint64_t);
extern bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

#define EXPORTED __attribute__((visibility("default")))
EXPORTED int qemu_plugin_version = 1;

enum event { INSTRUCTION, KERNEL, RETURN, CR3, TLB, PORT, MMIO, MSR, EVENTS, NONE };
enum { CHANNELS = 16 };

static uint64_t now[EVENTS], begun[CHANNELS][EVENTS], sums[CHANNELS][EVENTS];
static FILE *output;

static void print(const uint64_t *counts) {
  for (int event = 0; event < EVENTS; event++)
    fprintf(output, "%" PRIu64 "%c", counts[event], event + 1 < EVENTS ? ' ' : '\n');
  fflush(output);
}

static void mark(unsigned processor, void *code) {
  (void)processor;
  unsigned action = (uintptr_t)code >> 4, channel = (uintptr_t)code & 15;
  if (action == 1) memcpy(begun[channel], now, sizeof now);
  if (action == 2)
    for (int event = 0; event < EVENTS; event++) sums[channel][event] += now[event] - begun[channel][event];
  if (action == 3) {
    print(sums[channel]);
    memset(sums[channel], 0, sizeof now);
  }
  if (action == 4) print(now);
}

static void accessed(unsigned processor, memory_info info, uint64_t address, void *unused) {
  (void)processor, (void)unused;
  struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(info, address);
  if (place && qemu_plugin_hwaddr_is_io(place)) now[MMIO]++;
}

/* The event that an instruction is, by its opcode (SDM vol. 2): prefixes first. In 16- and 32-bit code 40-4f are
 * instructions of their own, of one byte: nothing follows that could be mistaken. */
static enum event classify(const uint8_t *code, size_t size, bool kernel) {
  size_t at = 0;
  bool operand_prefix = false;
  for (; at < size && strchr("\x66\x67\xf2\xf3\x2e\x36\x3e\x26\x64\x65\xf0", code[at]) && code[at]; at++)
    operand_prefix |= code[at] == 0x66;
  if (at < size && (code[at] & 0xf0) == 0x40) at++;
  size_t left = size - at;
  code += at;
  if (left == 0) return NONE;
  if ((code[0] & 0xfc) == 0x6c) return PORT;                              /* INS, OUTS */
  if (left <= 2 && ((code[0] & 0xfc) == 0xe4 || (code[0] & 0xfc) == 0xec)) return PORT; /* IN, OUT */
  if (code[0] == 0xcf) return kernel ? RETURN : NONE;                     /* IRET */
  if (left < 2 || code[0] != 0x0f) return NONE;
  if (code[1] == 0x07) return RETURN;                                     /* SYSRET */
  if (code[1] == 0x30) return MSR;                                        /* WRMSR */
  if (left < 3) return NONE;
  unsigned field = code[2] >> 3 & 7;
  if (code[1] == 0x22) return field == 3 ? CR3 : field == 4 ? TLB : NONE; /* MOV to CR3; to CR4: all of the TLB */
  if (code[1] == 0x01) return field == 7 && code[2] < 0xc0 ? TLB : NONE;  /* INVLPG */
  if (code[1] == 0x38) return operand_prefix && code[2] == 0x82 ? TLB : NONE; /* INVPCID */
  return NONE;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  (void)id;
  size_t count = qemu_plugin_tb_n_insns(block);
  for (size_t i = 0; i < count; i++) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
    const uint8_t *code = qemu_plugin_insn_data(instruction);
    size_t size = qemu_plugin_insn_size(instruction);
    bool kernel = qemu_plugin_insn_vaddr(instruction) >> 63;
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, &now[INSTRUCTION], 1);
    if (kernel) qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, &now[KERNEL], 1);
    enum event event = classify(code, size, kernel);
    if (event != NONE) qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, &now[event], 1);
    qemu_plugin_register_vcpu_mem_cb(instruction, accessed, NO_REGISTERS, READ_AND_WRITE, 0);
    if (size == 7 && memcmp(code, "\x0f\x1f\x80", 3) == 0 && memcmp(code + 4, "\x00\x50\x41", 3) == 0)
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, mark, NO_REGISTERS, (void *)(uintptr_t)code[3]);
  }
}

EXPORTED int qemu_plugin_install(plugin_id id, const void *information, int count, char **words) {
  (void)information;
  const char *path = "/dev/stderr";
  for (int i = 0; i < count; i++)
    if (strncmp(words[i], "out=", 4) == 0) path = words[i] + 4;
  output = fopen(path, "w");
  if (!output) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
