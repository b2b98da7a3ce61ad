/* SPDX-License-Identifier: Apache-2.0
   dns.c: a packet filter: of all UDP packets only questions to a name server (RFC 1035, 4.1.1). */
#include "apus.h"

PROGRAM u64 dns(const u8 *packet, const u8 *end) {
  if (packet + 14 + 20 > end || packet[23] != 17) return 0;
  /* Options may stand between the IPv4 header and the UDP header. */
  u64 header = (packet[14] & 15) * 4;
  if (header < 20) return 0;
  const u8 *udp = packet + 14 + header;
  if (udp + 8 + 12 > end) return 0;
  u64 port = udp[2] << 8 | udp[3];
  int is_answer = udp[8 + 2] >> 7;
  return port == 53 && !is_answer;
}
