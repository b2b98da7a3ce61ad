/* SPDX-License-Identifier: Apache-2.0
   btree.c: a storage function: one step down a B-tree at each read, so that a look-up is one call of the application. */
#include "apus.h"

#define KEYS 255

struct node {
  u32 is_leaf, count;
  u64 reserved;
  u64 key[KEYS];
  u64 child[KEYS]; /* of a leaf: values */
};

struct state {
  u64 wanted;
  u64 is_found;
  u64 value;
  u64 depth;
};

PROGRAM u64 btree(const struct node *node, struct state *state) {
  u64 wanted = state->wanted;
  u32 low = 0, high = node->count;
  if (high > KEYS) return 0;
  /* The last key that is not greater than the wanted one: eight halvings of 255. */
  for (int i = 0; i < 8; i++) {
    if (low >= high) break;
    u32 middle = (low + high) / 2;
    if (middle >= KEYS) return 0;
    if (node->key[middle] <= wanted) low = middle + 1;
    else high = middle;
  }
  if (low == 0 || low > KEYS) return 0;
  u64 child = node->child[low - 1];
  if (node->is_leaf) {
    state->is_found = node->key[low - 1] == wanted;
    state->value = child;
    return 0;
  }
  /* A tree that leads in circles is not followed for ever. */
  if (++state->depth > 16) return 0;
  read_block_next(child);
  return 1;
}
