/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers.S: both ends of protected control transfers. */
#include "Layout.h"

#define G(offset) %gs:offset

  .text
/* A protected entry that answers at once. If its slice has ended it has nothing to save: what it was before is. */
  .globl hostile_quick_entry
hostile_quick_entry:
  movl $(APUS_CALL_BIT | CALL_TRANSFER_RETURN), %eax
  syscall
  andq $~APUS_PENDING_SLICE_END, G(APUS_UA_PENDING)
  movl $(APUS_CALL_BIT | CALL_YIELD), %eax
  xorl %edi, %edi
  syscall
  ud2
