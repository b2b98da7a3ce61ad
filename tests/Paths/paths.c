/* SPDX-License-Identifier: Apache-2.0 */
/* paths.c: a QEMU plugin that counts the instructions of each stay in ring 0 and keeps the longest ones.
 *
 * A path begins with the first instruction at a kernel address after one of ring 3's, and ends at the next instruction of
 * ring 3, or where the kernel lets interrupts in (STI, with or without HLT). What runs before ring 3's first instruction
 * is the boot and does not count, nor does PAUSE, which waits for another processor. Arguments: out=FILE, and
 * least=N: paths shorter than N are not told one by one.
 *
 * QEMU's header for plugins is in no package of the distribution: what is used of its interface, version 1, is declared
 * here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translation_callback)(plugin_id, struct qemu_plugin_tb *);
typedef void (*execution_callback)(unsigned processor, void *data);
typedef void (*exit_callback)(plugin_id, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translation_callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execution_callback, int flags, void *data);
void qemu_plugin_register_atexit_cb(plugin_id, exit_callback, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id, const void *, int, char **);

/* A translated block of the guest. */
struct block {
  uint64_t address;
  uint32_t instructions;
  uint8_t is_kernel, ends_path;
};

#define LOG 131072
#define PROCESSORS 64
#define ENTRIES 32
#define SHOWN 12
#define SIZES 24

struct processor {
  enum { FIRMWARE, KERNEL_BOOT, RING3_SEEN } stage;
  uint8_t in_path;
  uint64_t entry, length, log_length;
  uint64_t *log;
};
static struct processor processors[PROCESSORS];

/* The longest path of each way in, with the blocks that it spent most in. */
static struct longest {
  uint64_t entry, length, count, total;
  uint64_t address[SHOWN], share[SHOWN];
} entries[ENTRIES];
static uint64_t sizes[SIZES]; /* paths by the binary logarithm of their length */
static const char *out;
static uint64_t least = 20000;

static int by_value(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

/* Sums a path's log by blocks: the upper 16 bits of a word are a block's instructions. */
static void explain(struct longest *l, struct processor *p) {
  uint64_t count = p->log_length < LOG ? p->log_length : LOG;
  memset(l->share, 0, sizeof l->share);
  qsort(p->log, count, sizeof *p->log, by_value);
  for (uint64_t at = 0; at < count;) {
    uint64_t word = p->log[at], times = 0;
    while (at < count && p->log[at] == word) at++, times++;
    uint64_t share = times * (word >> 48);
    for (int i = 0; i < SHOWN; i++) {
      if (share <= l->share[i]) continue;
      memmove(&l->share[i + 1], &l->share[i], (SHOWN - 1 - i) * sizeof *l->share);
      memmove(&l->address[i + 1], &l->address[i], (SHOWN - 1 - i) * sizeof *l->address);
      l->share[i] = share;
      l->address[i] = word << 16 >> 16 | 0xffffUL << 48;
      break;
    }
  }
}

static void end_path(struct processor *p) {
  if (!p->in_path) return;
  p->in_path = 0;
  int size = 63 - __builtin_clzll(p->length | 1);
  sizes[size < SIZES ? size : SIZES - 1]++;
  for (int i = 0; i < ENTRIES; i++) {
    struct longest *l = &entries[i];
    if (l->count && l->entry != p->entry) continue;
    l->entry = p->entry;
    l->count++;
    l->total += p->length;
    if (p->length > l->length) {
      l->length = p->length;
      if (p->length >= least) explain(l, p);
    }
    return;
  }
}

static void executed(unsigned number, void *data) {
  const struct block *b = data;
  struct processor *p = &processors[number % PROCESSORS];
  if (!b->is_kernel) {
    end_path(p);
    if (p->stage == KERNEL_BOOT) p->stage = RING3_SEEN;
    return;
  }
  if (p->stage == FIRMWARE) p->stage = KERNEL_BOOT;
  if (p->stage != RING3_SEEN) return;
  if (!p->in_path) {
    if (!p->log) p->log = malloc(LOG * sizeof *p->log);
    p->in_path = 1;
    p->entry = b->address;
    p->length = p->log_length = 0;
  }
  p->length += b->instructions;
  if (p->log_length < LOG) p->log[p->log_length] = (uint64_t)b->instructions << 48 | b->address << 16 >> 16;
  p->log_length++;
  if (b->ends_path) end_path(p);
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
  (void)id;
  size_t count = qemu_plugin_tb_n_insns(tb);
  struct block *b = calloc(1, sizeof *b); /* blocks live as long as the machine */
  b->address = qemu_plugin_tb_vaddr(tb);
  b->is_kernel = b->address >> 63;
  b->instructions = (uint32_t)count;
  for (size_t i = 0; i < count; i++) {
    const struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
    const uint8_t *bytes = qemu_plugin_insn_data(instruction);
    size_t size = qemu_plugin_insn_size(instruction);
    if (size == 1 && (bytes[0] == 0xfb || bytes[0] == 0xf4)) b->ends_path = 1;
    if (size == 2 && bytes[0] == 0xf3 && bytes[1] == 0x90) b->instructions = 0;
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, b);
}

static void finish(plugin_id id, void *data) {
  (void)id, (void)data;
  FILE *file = out ? fopen(out, "w") : stderr;
  if (!file) return;
  for (int i = 0; i < ENTRIES && entries[i].count; i++) {
    struct longest *l = &entries[i];
    fprintf(file, "entry %lx paths %lu longest %lu mean %lu\n", l->entry, l->count, l->length, l->total / l->count);
    for (int j = 0; j < SHOWN && l->share[j]; j++) fprintf(file, "spent %lx %lu\n", l->address[j], l->share[j]);
  }
  for (int i = 0; i < SIZES; i++)
    if (sizes[i]) fprintf(file, "size %lu %lu\n", 1UL << i, sizes[i]);
  if (out) fclose(file);
}

int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
  (void)info;
  for (int i = 0; i < count; i++) {
    if (!strncmp(arguments[i], "out=", 4)) out = strdup(arguments[i] + 4);
    if (!strncmp(arguments[i], "least=", 6)) least = strtoull(arguments[i] + 6, NULL, 10);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finish, NULL);
  return 0;
}
