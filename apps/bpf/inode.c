/* SPDX-License-Identifier: Apache-2.0
   inode.c: a block owner: the blocks that an inode with sixteen extents owns. */
#include "apus.h"

#define MAGIC 0x41504953
#define TYPE_DATA 2

struct inode {
  u32 magic, extent_count;
  u64 size;
  struct {
    u64 first;
    u32 count, reserved;
  } extent[16];
};

PROGRAM u64 inode(const struct inode *inode) {
  if (inode->magic != MAGIC || inode->extent_count > 16) return 0;
  for (u32 i = 0; i < 16; i++) {
    if (i >= inode->extent_count) break;
    u64 count = inode->extent[i].count;
    if (count == 0 || count > 1 << 16) return 0;
    owns_blocks(inode->extent[i].first, count, TYPE_DATA);
  }
  return 1;
}
