// SPDX-License-Identifier: Apache-2.0
// neighbour.c: runs a machine's command and talks to the program echo on it, from this host.
//
// usage: neighbour udp|tap|tcp|tap-tcp COMMAND...
//
// udp: datagrams through the emulator's own network and a port of the loopback address. tap: ARP, ICMP, UDP and odd
// frames through a TAP device in a network namespace of its own; status 77 where that may not be made. tcp, tap-tcp: the
// same two ways with connections whose bytes have to come back as they were sent. Options for the
// network are put behind the word "run" of the command. Ends well if the command does and enough was answered.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t machine;
static int machine_status = -1;

static void fail(const char *what) {
  fprintf(stderr, "neighbour: %s: %s\n", what, strerror(errno));
  if (machine > 0) kill(machine, SIGTERM);
  exit(1);
}

static int has_ended(void) {
  if (machine_status >= 0) return 1;
  int status;
  if (waitpid(machine, &status, WNOHANG) != machine) return 0;
  machine_status = WIFEXITED(status) ? WEXITSTATUS(status) : 125;
  return 1;
}

// Starts the command with two more words behind "run".
static void start(char **command, const char *first, const char *second, const char *third, const char *fourth) {
  char *words[200];
  int count = 0;
  for (int i = 0; command[i] && count < 190; i++) {
    words[count++] = command[i];
    if (i != 1) continue;
    const char *more[] = {first, second, third, fourth};
    for (int j = 0; j < 4 && more[j]; j++) words[count++] = (char *)more[j];
  }
  words[count] = 0;
  machine = fork();
  if (machine < 0) fail("fork");
  if (machine == 0) {
    execv(words[0], words);
    _exit(126);
  }
}

static void set_timeout(int socket, int milliseconds) {
  struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

static int connect_udp(const char *address, int port) {
  int descriptor = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address)};
  if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&to, sizeof to)) fail("socket");
  set_timeout(descriptor, 300);
  return descriptor;
}

// Round trips in microseconds, for the percentiles that are printed at the end.
static uint32_t trips[1 << 16];
static unsigned trip_count;

static uint64_t microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static int compare(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void print_trips(void) {
  if (!trip_count) return;
  qsort(trips, trip_count, sizeof *trips, compare);
  uint32_t *end = trips + trip_count - 1;
  printf("%u round trips: p50 %u us, p99 %u us, p99.9 %u us\n", trip_count, trips[trip_count / 2],
         end[-(int)(trip_count / 100)], end[-(int)(trip_count / 1000)]);
}

// Sends datagrams of every size until so many came back whole, or the machine has ended; how many did.
static int exchange(int descriptor, int wanted) {
  int good = 0;
  for (uint32_t number = 1; good < wanted && !has_ended(); number++) {
    uint8_t sent[1472], got[2048];
    int size = 4 + number * 211 % (sizeof sent - 4);
    memcpy(sent, &number, 4);
    for (int i = 4; i < size; i++) sent[i] = i * 7 + number;
    uint64_t start = microseconds();
    if (send(descriptor, sent, size, 0) != size) {
      usleep(20000);
      continue;
    }
    for (;;) {
      ssize_t count = recv(descriptor, got, sizeof got, 0);
      if (count < 0) break;
      uint32_t which;
      memcpy(&which, got, 4);
      if (count < 4 || which < number) continue;  // an answer to an earlier one
      if (count != size || memcmp(got, sent, size)) {
        errno = 0;
        fail("an answer that is not what was sent");
      }
      if (trip_count < sizeof trips / sizeof *trips) trips[trip_count++] = microseconds() - start;
      good++;
      break;
    }
  }
  return good;
}

// A port that nobody has, for UDP and TCP.
static int free_port(void) {
  for (int tries = 0; tries < 100; tries++) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(stream, (struct sockaddr *)&at, size) || getsockname(stream, (struct sockaddr *)&at, &size)) fail("bind");
    int taken = bind(datagram, (struct sockaddr *)&at, size);
    close(stream);
    close(datagram);
    if (!taken) return ntohs(at.sin_port);
  }
  fail("no port is free");
  return 0;
}

static uint16_t checksum(const uint8_t *bytes, int count) {
  uint32_t sum = 0;
  for (int i = 0; i < count; i += 2) sum += bytes[i] << 8 | (i + 1 < count ? bytes[i + 1] : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

static void make_device(const char *name) {
  if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
    fprintf(stderr, "neighbour: a network namespace may not be made here\n");
    exit(77);
  }
  struct ifreq device = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  strcpy(device.ifr_name, name);
  int tun = open("/dev/net/tun", O_RDWR);
  if (tun < 0 || ioctl(tun, TUNSETIFF, &device) || ioctl(tun, TUNSETPERSIST, 1)) {
    fprintf(stderr, "neighbour: a TAP device may not be made here\n");
    exit(77);
  }
  close(tun);
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in *address = (struct sockaddr_in *)&device.ifr_addr;
  memset(&device.ifr_addr, 0, sizeof device.ifr_addr);
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = inet_addr("10.0.2.2");
  if (ioctl(any, SIOCSIFADDR, &device)) fail("address");
  address->sin_addr.s_addr = inet_addr("255.255.255.0");
  if (ioctl(any, SIOCSIFNETMASK, &device)) fail("mask");
  device.ifr_mtu = 9000;
  if (ioctl(any, SIOCSIFMTU, &device)) fail("frame size");
  device.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(any, SIOCSIFFLAGS, &device)) fail("device up");
  close(any);
}

static int raw_socket(const char *name) {
  int raw = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  struct sockaddr_ll at = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex(name)};
  if (raw < 0 || bind(raw, (struct sockaddr *)&at, sizeof at)) fail("raw socket");
  set_timeout(raw, 300);
  return raw;
}

// Asks for the machine's Ethernet address until it answers.
static void ask_address(int raw) {
  uint8_t ask[60] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
                     2, 0, 0, 0, 0, 1, 10, 0, 2, 2, 0, 0, 0, 0, 0, 0, 10, 0, 2, 15};
  const uint8_t card[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
  while (!has_ended()) {
    if (send(raw, ask, sizeof ask, 0) < 0) usleep(100000);
    for (int tries = 0; tries < 50; tries++) {
      uint8_t got[2048];
      ssize_t count = recv(raw, got, sizeof got, 0);
      if (count < 0) break;
      if (count < 42 || got[12] != 8 || got[13] != 6 || got[21] != 2) continue;
      if (!memcmp(got, ask + 6, 6) && !memcmp(got + 6, card, 6) && !memcmp(got + 22, card, 6) &&
          !memcmp(got + 28, ask + 38, 4) && !memcmp(got + 32, ask + 22, 10)) {
        printf("ARP answered\n");
        return;
      }
      errno = 0;
      fail("a wrong ARP answer");
    }
  }
}

static void ask_echo(void) {
  int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.0.2.15")};
  if (raw < 0 || connect(raw, (struct sockaddr *)&to, sizeof to)) fail("ICMP socket");
  set_timeout(raw, 300);
  for (int size = 8; size <= 1480; size += 368) {
    int answered = 0;
    while (!answered && !has_ended()) {
      uint8_t ask[1480] = {8}, got[2048];
      for (int i = 8; i < size; i++) ask[i] = i * 3;
      ask[4] = 0x41;
      ask[7] = size / 8;
      uint16_t sum = ~checksum(ask, size);
      ask[2] = sum >> 8;
      ask[3] = sum;
      send(raw, ask, size, 0);
      ssize_t count = recv(raw, got, sizeof got, 0);
      if (count != 20 + size || got[20] != 0 || memcmp(got + 24, ask + 4, size - 4)) continue;
      errno = 0;
      if (checksum(got + 20, size) != 0xffff) fail("an ICMP answer with a wrong checksum");
      answered = 1;
    }
  }
  printf("ICMP answered\n");
  close(raw);
}

// Frames of every length, giants too, with random bytes, some of which look like what the machine takes.
static void send_garbage(int raw) {
  uint64_t state = 88172645463325252u;
  for (int frame = 0; frame < 3000 && !has_ended(); frame++) {
    uint8_t bytes[9014];
    for (int i = 0; i < 128; i++) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      bytes[i] = state >> 24;
    }
    int count = frame % 10 == 9 ? 1515 + state % 7499 : 14 + state % 1501;
    if (frame % 3) memcpy(bytes + 12, "\x08\x00", 2);
    if (frame % 5) memcpy(bytes + 30, "\x0a\x00\x02\x0f", 4);
    if (frame % 7) bytes[23] = frame & 1 ? 17 : 1;
    if (frame % 11 == 0) memcpy(bytes + 12, "\x08\x06", 2), memcpy(bytes + 38, "\x0a\x00\x02\x0f", 4);
    bytes[6] &= ~1;
    if (send(raw, bytes, count, 0) < 0) usleep(1000);
  }
  printf("garbage sent\n");
}

static uint8_t pattern(long at, long size) { return (at * 2654435761u >> 13) + size; }

// Sends so many bytes on a connection and reads them back, both at once; whether all came as they were sent.
static int exchange_stream(const char *address, int port, long size) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address)};
  int stream = -1;
  for (;;) {
    if (has_ended()) return 0;
    stream = socket(AF_INET, SOCK_STREAM, 0);
    if (stream < 0) fail("socket");
    if (!connect(stream, (struct sockaddr *)&to, sizeof to)) break;
    close(stream);
    usleep(50000);
  }
  fcntl(stream, F_SETFL, O_NONBLOCK);
  long sent = 0, got = 0;
  while (got < size) {
    struct pollfd look = {stream, POLLIN | (sent < size ? POLLOUT : 0), 0};
    if (poll(&look, 1, 20000) <= 0) return 0;
    uint8_t bytes[4096];
    if (look.revents & POLLOUT) {
      long count = size - sent < 4096 ? size - sent : 4096;
      for (long i = 0; i < count; i++) bytes[i] = pattern(sent + i, size);
      ssize_t done = write(stream, bytes, count);
      if (done > 0) sent += done;
      if (sent == size) shutdown(stream, SHUT_WR);
    }
    if (look.revents & (POLLIN | POLLHUP | POLLERR)) {
      ssize_t count = read(stream, bytes, sizeof bytes);
      if (count == 0 || count < 0 && errno != EAGAIN) return 0;
      for (long i = 0; i < count; i++, got++)
        if (bytes[i] != pattern(got, size)) return 0;
    }
  }
  uint8_t more;
  struct pollfd look = {stream, POLLIN, 0};
  int ended = poll(&look, 1, 20000) == 1 && read(stream, &more, 1) == 0;
  close(stream);
  return ended;
}

static void exchange_streams(const char *address, int port) {
  const long sizes[] = {1, 1448, 100000, 3000000};
  for (int i = 0; i < 4; i++)
    printf("%ld bytes %s\n", sizes[i], exchange_stream(address, port, sizes[i]) ? "came back" : "did not come back");
}

int main(int count, char **words) {
  if (count < 4) return 2;
  if (!strcmp(words[1], "udp")) {
    int port = free_port();
    char forward[32];
    snprintf(forward, sizeof forward, "%d:7", port);
    start(words + 2, "--net", "user", "--publish", forward);
    int good = exchange(connect_udp("127.0.0.1", port), 1 << 30);
    printf("%s\n", good >= 50 ? "UDP answered" : "UDP not answered");
  } else if (!strcmp(words[1], "tcp")) {
    int port = free_port();
    char forward[32];
    snprintf(forward, sizeof forward, "%d:7", port);
    start(words + 2, "--net", "user", "--publish", forward);
    // What connects before the machine listens is the emulator's own, and ends at once.
    while (!exchange_stream("127.0.0.1", port, 10) && !has_ended()) usleep(100000);
    exchange_streams("127.0.0.1", port);
  } else if (!strcmp(words[1], "tap-tcp")) {
    make_device("apus0");
    start(words + 2, "--net", "tap:apus0", 0, 0);
    while (!exchange_stream("10.0.2.15", 7, 10) && !has_ended()) usleep(100000);
    exchange_streams("10.0.2.15", 7);
  } else {
    make_device("apus0");
    start(words + 2, "--net", "tap:apus0", 0, 0);
    int raw = raw_socket("apus0");
    ask_address(raw);
    int datagrams = connect_udp("10.0.2.15", 7);
    if (exchange(datagrams, 20) == 20) printf("UDP answered\n");
    ask_echo();
    send_garbage(raw);
    int good = exchange(datagrams, 1 << 30);
    if (good >= 20) printf("UDP answered after garbage\n");
  }
  while (!has_ended()) usleep(10000);
  print_trips();
  return machine_status;
}
