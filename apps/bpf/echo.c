/* SPDX-License-Identifier: Apache-2.0
   echo.c: a packet handler: answers a UDP packet with its own payload while its owner sleeps (RFC 862). */
#include "apus.h"

#define HEADERS (14 + 20 + 8)

struct memory {
  u64 answered;
};

/* Fields of a packet are at even addresses. */
static void take(u8 *to, const u8 *from, u32 at, u32 source, u32 count) {
#pragma unroll
  for (u32 i = 0; i < count; i += 2) *(u16 *)(to + at + i) = *(const u16 *)(from + source + i);
}

PROGRAM u64 echo(const u8 *packet, const u8 *end, struct memory *memory, u8 *reply) {
  u64 length = end - packet;
  if (length < HEADERS || length > 1514) return 1;
  if (packet[14] != 0x45 || packet[23] != 17 || packet[20] & 0x3f || packet[21]) return 1; /* options, fragments */
  take(reply, packet, 0, 6, 6);   /* Ethernet addresses change places */
  take(reply, packet, 6, 0, 6);
  take(reply, packet, 12, 12, 14);
  take(reply, packet, 26, 30, 4); /* so do IPv4's: their sum stays, and with it the header's checksum */
  take(reply, packet, 30, 26, 4);
  take(reply, packet, 34, 36, 2); /* and ports: the same holds for UDP's */
  take(reply, packet, 36, 34, 2);
  take(reply, packet, 38, 38, 4);
  copy_to_reply(HEADERS, HEADERS, length - HEADERS);
  if (send_reply(length) != 0) return 1;
  memory->answered++;
  return 0;
}
