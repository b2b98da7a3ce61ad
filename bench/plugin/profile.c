/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c: a QEMU plugin that counts instructions by the block of code that they belong to, while the machine runs.
 *
 * usage: -plugin profile.so,out=FILE
 *
 * FILE is shared memory that grows with the counts: entries of two 64-bit words, the address of a block and the
 * instructions that it has executed. Who reads it before and after some work has what that work took, in ring 0 (the
 * upper half) and ring 3, and in which functions. A block that an exception leaves early is counted whole.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
typedef struct { const char *target_arch; } plugin_info;
enum { ADD_U64 = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { ENTRIES = 1 << 17 };
static struct entry { uint64_t address, count; } *entries;

static void translate(plugin_id id, struct qemu_plugin_tb *block) {
  (void)id;
  uint64_t address = qemu_plugin_tb_vaddr(block);
  uint64_t place = address * 0x9e3779b97f4a7c15u >> 47;
  for (int tries = 0; tries < ENTRIES; tries++, place = (place + 1) % ENTRIES) {
    if (entries[place].address && entries[place].address != address) continue;
    entries[place].address = address;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &entries[place].count, qemu_plugin_tb_n_insns(block));
    return;
  }
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    plugin_id id, const plugin_info *info, int count, char **words) {
  (void)info;
  if (count != 1 || strncmp(words[0], "out=", 4)) return 1;
  int file = open(words[0] + 4, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || ftruncate(file, ENTRIES * sizeof *entries)) return 1;
  entries = mmap(0, ENTRIES * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (entries == MAP_FAILED) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  return 0;
}
