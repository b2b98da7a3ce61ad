/* SPDX-License-Identifier: Apache-2.0
   echo.c: a packet handler: answers a UDP packet with its own payload while its owner sleeps (RFC 862). */
#include "apus.h"

#define HEADERS (14 + 20 + 8)
#define PAYLOAD 64

struct memory {
  u64 answered;
};

static void exchange(u8 *to, const u8 *from, u32 first, u32 second, u32 count) {
  for (u32 i = 0; i < count; i++) {
    to[first + i] = from[second + i];
    to[second + i] = from[first + i];
  }
}

PROGRAM u64 echo(const u8 *packet, const u8 *end, struct memory *memory, u8 *reply) {
  u64 length = end - packet;
  if (packet + HEADERS > end || length > HEADERS + PAYLOAD) return 1;
  if (packet[14] != 0x45 || packet[23] != 17) return 1;
  for (u32 i = 12; i < HEADERS; i++) reply[i] = packet[i];
  exchange(reply, packet, 0, 6, 6);    /* Ethernet addresses */
  exchange(reply, packet, 26, 30, 4);  /* IPv4 addresses: their sum stays, and with it the header's checksum */
  exchange(reply, packet, 34, 36, 2);  /* ports: so does the checksum of UDP */
  for (u32 i = 0; i < PAYLOAD; i++) {
    if (packet + HEADERS + i + 1 > end) break;
    reply[HEADERS + i] = packet[HEADERS + i];
  }
  send_reply(length);
  memory->answered++;
  return 0;
}
