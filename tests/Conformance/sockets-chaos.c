// SPDX-License-Identifier: Apache-2.0
// sockets-chaos.c: calls on sockets at random, with random addresses, flags, options and control messages: whatever they
// answer, the system has to go on, and two sockets made afterwards have to work.
//
// Not run on the host: it binds ports and sends to addresses that it made up.
//
// apus: arguments: 1 100000
// apus: memory: 64M
// apus: timeout: 300
// apus: stdout-has: still works

#include "check.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { COUNT = 40 };
static unsigned long state;
static char buffer[300000];
static int files[COUNT];
static union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un local;
  char bytes[130];
} address;

// A number below a limit (Knuth's MMIX generator).
static unsigned below(unsigned limit) {
  state = state * 6364136223846793005ul + 1442695040888963407ul;
  return (unsigned)(state >> 33) % limit;
}

#define ONE_OF(type, ...) ((type[]){__VA_ARGS__}[below(sizeof((type[]){__VA_ARGS__}) / sizeof(type))])

static int any_file(void) { return files[below(COUNT)]; }

// Keeps a descriptor in place of another one.
static void keep(int fd) {
  if (fd < 0) return;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  int place = below(COUNT);
  close(files[place]);
  files[place] = fd;
}

static socklen_t any_address(void) {
  memset(&address, 0, sizeof address);
  switch (below(7)) {
  case 0:
  case 1:
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(5000 + below(6));
    address.v4.sin_addr.s_addr = htonl(below(5) ? 0x7f000001 + below(2) : below(2) ? 0 : below(0xffffffff));
    return sizeof address.v4;
  case 2:
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(5000 + below(6));
    if (below(3)) address.v6.sin6_addr = in6addr_loopback;
    return sizeof address.v6 - (below(2) ? 4 : 0);
  case 3:
    address.local.sun_family = AF_UNIX;
    snprintf(address.local.sun_path, 20, "n%u", below(5));
    return 2 + strlen(address.local.sun_path) + 1;
  case 4:
    address.local.sun_family = AF_UNIX;
    address.local.sun_path[1] = 'a' + below(5);
    return 4;
  case 5: return 16;
  default:
    for (unsigned i = 0; i < sizeof address; i++) address.bytes[i] = below(256);
    address.any.sa_family = ONE_OF(int, AF_UNIX, AF_INET, AF_INET6, AF_UNSPEC, 99);
    return below(sizeof address + 1);
  }
}

static void make(void) {
  int type = ONE_OF(int, SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW, SOCK_STREAM, SOCK_DGRAM);
  keep(socket(ONE_OF(int, AF_UNIX, AF_INET, AF_INET6), type, below(8) ? 0 : ONE_OF(int, 1, 58, 6, 17, 255, 200)));
}

static void make_pair(void) {
  int pair[2];
  if (socketpair(AF_UNIX, ONE_OF(int, SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET), 0, pair) != 0) return;
  keep(pair[0]);
  keep(pair[1]);
}

// Mostly a well-formed message with files, at times one with wrong numbers in it.
static void send_files(int fd) {
  union {
    struct cmsghdr header;
    char bytes[64];
  } control;
  memset(&control, 0, sizeof control);
  int count = below(4) + 1, rights[4];
  for (int i = 0; i < count; i++) rights[i] = any_file();
  struct iovec part = {buffer, below(50)};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes};
  message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  control.header.cmsg_level = below(9) ? SOL_SOCKET : below(100);
  control.header.cmsg_type = below(9) ? SCM_RIGHTS : below(5);
  control.header.cmsg_len = below(9) ? CMSG_LEN(sizeof(int) * count) : below(80);
  memcpy(CMSG_DATA(&control.header), rights, sizeof(int) * count);
  sendmsg(fd, &message, 0);
}

static void receive_files(int fd) {
  union {
    struct cmsghdr header;
    char bytes[64];
  } control;
  struct iovec parts[3] = {{buffer, below(50)}, {buffer + 100, below(50)}, {buffer + 200, below(50)}};
  struct msghdr message = {.msg_name = &address, .msg_namelen = below(100), .msg_iov = parts, .msg_iovlen = below(4)};
  message.msg_control = control.bytes;
  message.msg_controllen = below(sizeof control + 1);
  if (recvmsg(fd, &message, below(5) ? 0 : MSG_PEEK) < 0) return;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_type != SCM_RIGHTS || header->cmsg_level != SOL_SOCKET) continue;
    for (unsigned i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      keep(fd);
    }
  }
}

static void set_option(int fd) {
  char value[40];
  int word = below(3) ? (int)below(3) : (int)below(0xffffffff);
  memset(value, below(256), sizeof value);
  memcpy(value, &word, sizeof word);
  setsockopt(fd, ONE_OF(int, 1, 6, 0, 41, 58, 255), below(70), value, below(5) ? 4 : below(41));
}

static void look(int fd) {
  socklen_t length = below(130);
  switch (below(5)) {
  case 0: getsockname(fd, &address.any, &length); break;
  case 1: getpeername(fd, &address.any, &length); break;
  case 2: getsockopt(fd, ONE_OF(int, 1, 6, 0, 41), below(70), buffer, &length); break;
  default: ioctl(fd, ONE_OF(unsigned, FIONREAD, 0x5411, 0x8912, 0x8915, 0x8905), buffer);
  }
}

static void wait_for_events(int fd) {
  struct epoll_event event = {.events = below(0xffffffff) & ~(1u << 28)};
  int poller = any_file();
  epoll_ctl(poller, 1 + below(3), fd, &event);
  epoll_wait(poller, (struct epoll_event *)buffer, 5, 0);
  if (below(20) == 0) keep(epoll_create1(0));
  struct pollfd items[10];
  for (int i = 0; i < 10; i++) items[i] = (struct pollfd){any_file(), below(0x10000), 0};
  poll(items, 10, 0);
}

static void step(void) {
  int fd = any_file();
  switch (below(20)) {
  case 0: case 1: make(); break;
  case 2: make_pair(); break;
  case 3: bind(fd, &address.any, any_address()); break;
  case 4: listen(fd, below(6)); break;
  case 5: case 6: connect(fd, &address.any, any_address()); break;
  case 7: case 8: keep(accept(fd, below(2) ? &address.any : NULL, &(socklen_t){sizeof address})); break;
  case 9: send(fd, buffer, below(3) ? below(100) : below(sizeof buffer), below(4) ? 0 : below(0x8000)); break;
  case 10: recv(fd, buffer, below(3) ? below(100) : below(sizeof buffer), below(4) ? 0 : below(0x8000)); break;
  case 11: sendto(fd, buffer, below(3) ? below(2000) : below(70000), 0, &address.any, any_address()); break;
  case 12: send_files(fd); break;
  case 13: receive_files(fd); break;
  case 14: shutdown(fd, below(4)); break;
  case 15: keep(dup(fd)); break;
  case 16: set_option(fd); break;
  case 17: look(fd); break;
  case 18: wait_for_events(fd); break;
  default:
    close(fd);
    if (below(50) == 0) unlink((char[]){'n', '0' + below(5), 0});
    if (below(500) == 0) IN_CHILD("child", );
  }
}

int main(int count, char **words) {
  if (count < 3) return 2;
  state = strtoul(words[1], NULL, 10);
  signal(SIGPIPE, SIG_IGN);
  CHECK(chdir("/tmp") == 0);
  for (int i = 0; i < COUNT; i++) files[i] = -1;
  for (long left = atol(words[2]); left > 0; left--) step();
  for (int i = 0; i < COUNT; i++) close(files[i]);
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  CHECK(write(pair[0], "still works\n", 12) == 12);
  CHECK(read(pair[1], buffer, 100) == 12);
  CHECK(write(1, buffer, 12) == 12);
  return finish();
}
