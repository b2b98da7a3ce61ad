/* SPDX-License-Identifier: Apache-2.0 */
/* Memory.c: static pages of the LibOS (large tables stay out of Swift's globals, whose compile time they explode), and
 * the C names of the heap's functions. */
#include "CRuntime.h"

_Alignas(4096) uint64_t runtime_frame_list[512];
_Alignas(4096) uint64_t runtime_scratch[512];
uint64_t runtime_heap_lists[96];

void *runtime_allocate(intptr_t alignment, intptr_t size);
void runtime_free(void *pointer);

int posix_memalign(void **result, size_t alignment, size_t size) {
  *result = runtime_allocate((intptr_t)alignment, (intptr_t)size);
  return 0;
}
void free(void *pointer) {
  if (pointer) runtime_free(pointer);
}
