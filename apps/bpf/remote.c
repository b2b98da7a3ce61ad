/* SPDX-License-Identifier: Apache-2.0
   remote.c: a packet handler: others read, write, and compare and swap words of its owner's memory, and nobody is
   scheduled for it. A question is a UDP packet of at least REQUEST bytes with what follows below; the answer has the
   same length and the word as it was, and what the operation did. */
#include "apus.h"

#define HEADERS (14 + 20 + 8)
#define REQUEST (HEADERS + 32)
#define MOST 1024

enum { READ = 1, WRITE = 2, SWAP = 3 };

struct request {
  u32 operation; /* in network order, like the offset and the count */
  u32 offset;    /* of the word, in bytes; a multiple of 8 below 4096 */
  u32 count;     /* READ: how many bytes behind the request come back as well, at most MOST */
  u32 done;      /* in the answer: 1 if it was done */
  u64 value;
  u64 expected;  /* in the answer: what was there */
};

static void take(u8 *to, const u8 *from, u32 at, u32 source, u32 count) {
#pragma unroll
  for (u32 i = 0; i < count; i += 2) *(u16 *)(to + at + i) = *(const u16 *)(from + source + i);
}

PROGRAM u64 remote(const u8 *packet, const u8 *end, u8 *memory, u8 *reply) {
  u64 length = end - packet;
  if (length < REQUEST || length > 1514) return 1;
  if (packet[14] != 0x45 || packet[23] != 17 || packet[20] & 0x3f || packet[21]) return 1;
  const struct request *request = (const struct request *)(packet + HEADERS);
  struct request *answer = (struct request *)(reply + HEADERS);
  u64 offset = BE32(request->offset);
  u64 count = BE32(request->count);
  u64 operation = BE32(request->operation);
  if (offset & ~4088ull) return 1;
  /* The verifier does not learn from the test which bits there are; the compiler would leave a mask in C out. */
  __asm__("%0 &= 4088" : "+r"(offset));
  u64 *word = (u64 *)(memory + offset);
  u64 old = *word;
  u32 done = 1;
  if (operation == WRITE) {
    *word = request->value;
  } else if (operation == SWAP) {
    /* The owner's own threads may change the word at the same time. */
    u64 expected = request->expected;
    old = __sync_val_compare_and_swap(word, expected, request->value);
    done = old == expected;
  } else if (operation != READ || count > MOST) {
    done = 0;
  }
  take(reply, packet, 0, 6, 6);
  take(reply, packet, 6, 0, 6);
  take(reply, packet, 12, 12, 14);
  take(reply, packet, 26, 30, 4);
  take(reply, packet, 30, 26, 4);
  take(reply, packet, 34, 36, 2);
  take(reply, packet, 36, 34, 2);
  take(reply, packet, 38, 38, 2);
  *(u16 *)(reply + 40) = 0; /* no checksum (RFC 768) */
  take(reply, packet, HEADERS, HEADERS, 12);
  answer->done = BE32(done);
  answer->value = request->value;
  answer->expected = old;
  __asm__("" : "+r"(count)); /* the test that follows is the verifier's */
  if (operation == READ && count <= MOST && length >= REQUEST + count) copy_memory_to_reply(offset, REQUEST, count);
  return send_reply(length) != 0;
}
