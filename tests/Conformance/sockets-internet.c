// SPDX-License-Identifier: Apache-2.0
// sockets-internet.c: sockets of AF_INET and AF_INET6 over the loopback: TCP, UDP, options, readiness, errors.
//
// Ports are the system's choice, so that nothing here meets what else runs on the host.
//
// apus: compare: host
// apus: timeout: 120

#include "check.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char buffer[200000];

static int ready(int fd) {
  struct pollfd item = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI};
  poll(&item, 1, 0);
  return item.revents;
}

// Waits until a file is ready for something: packets take time on the host.
static int await_events(int fd, int events) {
  struct pollfd item = {.fd = fd, .events = events};
  poll(&item, 1, 5000);
  return item.revents;
}

static union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} address;

static socklen_t loopback(int family, int port) {
  memset(&address, 0, sizeof address);
  address.any.sa_family = family;
  if (family == AF_INET) {
    address.v4.sin_port = htons(port);
    address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof address.v4;
  }
  address.v6.sin6_port = htons(port);
  address.v6.sin6_addr = in6addr_loopback;
  return sizeof address.v6;
}

static int port_of(int fd) {
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, &address.any, &length) == 0);
  return ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

static void show_address(const char *what, int port) {
  char text[64];
  int family = address.any.sa_family;
  inet_ntop(family, family == AF_INET ? (void *)&address.v4.sin_addr : (void *)&address.v6.sin6_addr, text, sizeof text);
  int own = ntohs(family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
  say("%s: %s, port %s\n", what, text, own == port ? "the server's" : own ? "another" : "none");
}

static int server_on(int family, int type, int *port) {
  int fd = socket(family, type, 0);
  CHECK(fd >= 0);
  CHECK(bind(fd, &address.any, loopback(family, 0)) == 0);
  *port = port_of(fd);
  if (type == SOCK_STREAM) CHECK(listen(fd, 5) == 0);
  return fd;
}

static int client, server;

static void connected(int family) {
  int port, listener = server_on(family, SOCK_STREAM, &port);
  client = socket(family, SOCK_STREAM, 0);
  CHECK(connect(client, &address.any, loopback(family, port)) == 0);
  server = accept(listener, NULL, NULL);
  CHECK(server >= 0);
  close(listener);
}

static void drop(void) {
  close(client);
  close(server);
}

static void streams(int family) {
  section(family == AF_INET ? "streams, IPv4" : "streams, IPv6");
  int port, listener = server_on(family, SOCK_STREAM, &port);
  say("listening %#x\n", ready(listener));
  fcntl(listener, F_SETFL, O_NONBLOCK);
  SHOW(accept(listener, NULL, NULL));
  client = socket(family, SOCK_STREAM, 0);
  say("fresh %#x\n", ready(client));
  socklen_t length = loopback(family, port);
  SHOW(send(client, "x", 1, MSG_NOSIGNAL));
  SHOW(read(client, buffer, 1));
  SHOW(connect(client, &address.any, length));
  SHOW(connect(client, &address.any, length));
  say("connected %#x, listening %#x\n", ready(client), await_events(listener, POLLIN));
  length = sizeof address;
  server = accept4(listener, &address.any, &length, SOCK_NONBLOCK);
  CHECK(server >= 0);
  say("peer's length %d\n", (int)length);
  show_address("peer", port);
  CHECK(getsockname(server, &address.any, &length) == 0);
  show_address("own", port);
  CHECK(getpeername(client, &address.any, &length) == 0);
  show_address("client's peer", port);
  SHOW(getpeername(listener, &address.any, &length));
  SHOW(read(server, buffer, 1));
  SHOW(write(client, "hello", 5));
  say("server %#x\n", await_events(server, POLLIN));
  int count = -1;
  SHOW(ioctl(server, FIONREAD, &count));
  say("waiting %d\n", count);
  SHOW(recv(server, buffer, 2, MSG_PEEK));
  SHOW(recv(server, buffer, 200, 0));
  say("%.5s\n", buffer);
  SHOW(shutdown(client, SHUT_WR));
  say("server after half close %#x\n", await_events(server, POLLIN | POLLRDHUP));
  SHOW(read(server, buffer, 1));
  SHOW(send(client, "x", 1, MSG_NOSIGNAL));
  SHOW(write(server, "answer", 6));
  close(server);
  await_events(client, POLLHUP);
  SHOW(read(client, buffer, 100));
  SHOW(read(client, buffer, 100));
  say("client %#x\n", ready(client));
  close(client);
  close(listener);

  connected(family);
  IN_CHILD("broken pipe", shutdown(client, SHUT_WR); write(client, "x", 1));
  drop();

  connected(family);
  struct linger hard = {1, 0};
  CHECK(setsockopt(server, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
  close(server);
  say("reset %#x\n", await_events(client, POLLIN));
  SHOW(read(client, buffer, 1));
  SHOW(read(client, buffer, 1));
  SHOW(send(client, "x", 1, MSG_NOSIGNAL));
  close(client);

  connected(family);
  CHECK(write(client, "unread", 6) == 6);
  await_events(server, POLLIN);
  close(server);
  await_events(client, POLLHUP);
  SHOW(read(client, buffer, 1));
  close(client);
}

static unsigned long sum_of(const char *bytes, long count, unsigned long sum) {
  for (long i = 0; i < count; i++) sum = sum * 31 + (unsigned char)bytes[i];
  return sum;
}

static void much(int family) {
  section("much, both ways");
  connected(family);
  pid_t child = fork();
  if (child == 0) {
    close(client);
    unsigned long sum = 0, all = 0;
    long got;
    while ((got = read(server, buffer, sizeof buffer)) > 0) {
      sum = sum_of(buffer, got, sum);
      all += got;
    }
    dprintf(server, "%lu %lx", all, sum);
    _exit(0);
  }
  close(server);
  unsigned long sum = 0;
  for (int i = 0; i < 30; i++) {
    for (int j = 0; j < 100000; j++) buffer[j] = i * 7 + j;
    sum = sum_of(buffer, 100000, sum);
    SHOW(write(client, buffer, 100000));
  }
  shutdown(client, SHUT_WR);
  long got = recv(client, buffer, 1000, MSG_WAITALL);
  buffer[got > 0 ? got : 0] = 0;
  char wanted[100];
  snprintf(wanted, sizeof wanted, "%lu %lx", 3000000ul, sum);
  say("the reader saw the same: %d\n", strcmp(wanted, buffer) == 0);
  say_status("reader", wait_for(child));
  close(client);

  section("sendfile");
  connected(family);
  char name[] = "/tmp/sendfile.XXXXXX";
  int file = mkstemp(name);
  unlink(name);
  for (int j = 0; j < 100000; j++) buffer[j] = j * 3;
  CHECK(write(file, buffer, 100000) == 100000);
  sum = sum_of(buffer + 1000, 50000, 0);
  child = fork();
  if (child == 0) {
    off_t offset = 1000;
    for (long left = 50000; left > 0;) {
      long step = sendfile(client, file, &offset, left);
      if (step <= 0) _exit(1);
      left -= step;
    }
    _exit(offset == 51000 ? 0 : 2);
  }
  SHOW(recv(server, buffer, 50000, MSG_WAITALL));
  say("same %d\n", sum == sum_of(buffer, 50000, 0));
  say_status("sender", wait_for(child));
  close(file);
  drop();

  section("a full connection");
  connected(family);
  fcntl(client, F_SETFL, O_NONBLOCK);
  long total = 0;
  while ((got = send(client, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) total += got;
  struct timeval limit = {0, 50000};
  CHECK(setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  say("full: %s, at least 100 KB: %d\n", error_name(errno), total >= 100000);
  long taken = 0;
  while (taken < total && (got = read(server, buffer, sizeof buffer)) > 0) taken += got;
  say("all there %d, writable %d\n", taken == total, (await_events(client, POLLOUT) & POLLOUT) != 0);
  drop();
}

static void nonblocking(void) {
  section("not waiting");
  int port, listener = server_on(AF_INET, SOCK_STREAM, &port);
  client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  long result = connect(client, &address.any, loopback(AF_INET, port));
  say("begins: %s\n", result == 0 || errno == EINPROGRESS ? "yes" : error_name(errno));
  say("writable %#x\n", await_events(client, POLLOUT));
  int value = -1;
  socklen_t size = sizeof value;
  CHECK(getsockopt(client, SOL_SOCKET, SO_ERROR, &value, &size) == 0);
  say("error %d\n", value);
  close(client);
  close(listener);
  client = socket(AF_INET, SOCK_STREAM, 0);
  SHOW(connect(client, &address.any, loopback(AF_INET, port)));
  close(client);
  client = socket(AF_INET, SOCK_STREAM, 0);
  SHOW(connect(client, (void *)&(struct sockaddr_in6){AF_INET6}, sizeof(struct sockaddr_in6)));
  SHOW(connect(client, &address.any, 4));
  SHOW(listen(client, 1));
  SHOW(listen(client, 5));
  SHOW(connect(client, &address.any, loopback(AF_INET, port)));
  SHOW(shutdown(client, SHUT_RD));
  close(client);
  client = socket(AF_INET, SOCK_STREAM, 0);
  SHOW(shutdown(client, SHUT_RDWR));
  SHOW(accept(client, NULL, NULL));
  address.v4.sin_addr.s_addr = htonl(0xc0000201);
  SHOW(bind(client, &address.any, sizeof address.v4));
  close(client);

  section("select and epoll");
  connected(AF_INET);
  fd_set reads, writes;
  FD_ZERO(&reads);
  FD_ZERO(&writes);
  FD_SET(server, &reads);
  FD_SET(client, &writes);
  SHOW(select(server + client + 1, &reads, &writes, NULL, &(struct timeval){0, 0}));
  say("%d %d\n", FD_ISSET(server, &reads) != 0, FD_ISSET(client, &writes) != 0);
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, server, &event) == 0);
  SHOW(epoll_wait(poll, &event, 1, 0));
  CHECK(write(client, "ab", 2) == 2);
  SHOW(epoll_wait(poll, &event, 1, 5000));
  SHOW(epoll_wait(poll, &event, 1, 0));
  CHECK(read(server, buffer, 1) == 1);
  SHOW(epoll_wait(poll, &event, 1, 0));
  CHECK(write(client, "c", 1) == 1);
  SHOW(epoll_wait(poll, &event, 1, 5000));
  event.events = EPOLLIN | EPOLLRDHUP;
  CHECK(epoll_ctl(poll, EPOLL_CTL_MOD, server, &event) == 0);
  close(client);
  struct pollfd item = {.fd = server, .events = POLLRDHUP};
  SHOW(ppoll(&item, 1, NULL, NULL));
  SHOW(epoll_wait(poll, &event, 1, 5000));
  say("events %#x\n", event.events);
  close(poll);
  close(server);
}

static void datagrams(int family) {
  section(family == AF_INET ? "datagrams, IPv4" : "datagrams, IPv6");
  int port;
  server = server_on(family, SOCK_DGRAM, &port);
  client = socket(family, SOCK_DGRAM, 0);
  say("fresh %#x\n", ready(client));
  SHOW(send(client, "x", 1, 0));
  SHOW(recv(server, buffer, 1, MSG_DONTWAIT));
  socklen_t length = loopback(family, port);
  SHOW(sendto(client, "question", 8, 0, &address.any, length));
  SHOW(sendto(client, "", 0, 0, &address.any, length));
  say("server %#x\n", await_events(server, POLLIN));
  SHOW(recv(server, buffer, 4, MSG_PEEK | MSG_TRUNC));
  length = sizeof address;
  struct iovec part = {buffer, 4};
  struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part, .msg_iovlen = 1};
  SHOW(recvmsg(server, &message, 0));
  say("flags %#x, name of %d bytes\n", message.msg_flags, (int)message.msg_namelen);
  show_address("from", port);
  length = message.msg_namelen;
  SHOW(sendto(server, "answer", 6, 0, &address.any, length));
  SHOW(recv(server, buffer, 4, 0));
  SHOW(recv(client, buffer, 100, 0));
  SHOW(connect(client, &address.any, loopback(family, port)));
  SHOW(write(client, "short", 5));
  SHOW(recv(server, buffer, 100, 0));
  memset(buffer, 'y', 60000);
  SHOW(write(client, buffer, 60000));
  SHOW(recv(server, buffer, sizeof buffer, 0));
  SHOW(write(client, buffer, 70000));
  struct mmsghdr many[3];
  memset(many, 0, sizeof many);
  struct iovec words[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
  for (int i = 0; i < 3; i++) many[i].msg_hdr = (struct msghdr){.msg_iov = words + i, .msg_iovlen = 1};
  SHOW(sendmmsg(client, many, 3, 0));
  say("sent %u %u %u\n", many[0].msg_len, many[1].msg_len, many[2].msg_len);
  char texts[4][16];
  struct iovec rooms[4];
  struct mmsghdr got[4];
  memset(got, 0, sizeof got);
  for (int i = 0; i < 4; i++) {
    rooms[i] = (struct iovec){texts[i], 16};
    got[i].msg_hdr = (struct msghdr){.msg_iov = rooms + i, .msg_iovlen = 1};
  }
  SHOW(recvmmsg(server, got, 4, MSG_WAITFORONE, NULL));
  say("%.3s %.3s %.5s\n", texts[0], texts[1], texts[2]);
  close(server);
  SHOW(write(client, "nobody", 6));
  say("refused %#x\n", await_events(client, POLLIN));
  SHOW(read(client, buffer, 1));
  SHOW(recv(client, buffer, 1, MSG_DONTWAIT));
  SHOW(connect(client, (void *)&(struct sockaddr){AF_UNSPEC}, sizeof(struct sockaddr)));
  SHOW(send(client, "x", 1, 0));
  close(client);
}

static void show_option(const char *what, int fd, int level, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  if (getsockopt(fd, level, option, &value, &size) < 0) say("%s: %s\n", what, error_name(errno));
  else say("%s: %d (%d bytes)\n", what, value, (int)size);
}

static void options(void) {
  section("options");
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, six = socket(AF_INET6, SOCK_STREAM, 0);
#define FLAG(level, option)                                                                                          \
  show_option(#option, fd, level, option);                                                                           \
  SHOW(setsockopt(fd, level, option, &on, sizeof on));                                                               \
  show_option(#option, fd, level, option)
  FLAG(SOL_SOCKET, SO_REUSEADDR);
  FLAG(SOL_SOCKET, SO_REUSEPORT);
  FLAG(SOL_SOCKET, SO_KEEPALIVE);
  FLAG(SOL_SOCKET, SO_BROADCAST);
  FLAG(SOL_SOCKET, SO_OOBINLINE);
  FLAG(IPPROTO_TCP, TCP_NODELAY);
  FLAG(IPPROTO_TCP, TCP_CORK);
  show_option("TCP_KEEPIDLE", fd, IPPROTO_TCP, TCP_KEEPIDLE);
  show_option("TCP_KEEPINTVL", fd, IPPROTO_TCP, TCP_KEEPINTVL);
  show_option("TCP_KEEPCNT", fd, IPPROTO_TCP, TCP_KEEPCNT);
  show_option("IP_TTL", fd, IPPROTO_IP, IP_TTL);
  show_option("IP_TOS", fd, IPPROTO_IP, IP_TOS);
  show_option("SO_TYPE", fd, SOL_SOCKET, SO_TYPE);
  show_option("SO_PROTOCOL", fd, SOL_SOCKET, SO_PROTOCOL);
  show_option("SO_DOMAIN", six, SOL_SOCKET, SO_DOMAIN);
  show_option("SO_ERROR", fd, SOL_SOCKET, SO_ERROR);
  show_option("IPV6_V6ONLY of IPv4", fd, IPPROTO_IPV6, IPV6_V6ONLY);
  SHOW(setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
  show_option("IPV6_V6ONLY", six, IPPROTO_IPV6, IPV6_V6ONLY);
  int size = 20000;
  SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
  show_option("SO_RCVBUF", fd, SOL_SOCKET, SO_RCVBUF);
  SHOW(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
  show_option("SO_SNDBUF", fd, SOL_SOCKET, SO_SNDBUF);
  size = 300;
  SHOW(setsockopt(fd, IPPROTO_IP, IP_TTL, &size, sizeof size));
  SHOW(setsockopt(fd, SOL_SOCKET, 9999, &size, sizeof size));
  SHOW(setsockopt(fd, IPPROTO_TCP, 9999, &size, sizeof size));
  SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, nowhere, sizeof size));
  SHOW(setsockopt(fd, SOL_SOCKET, SO_ERROR, &size, sizeof size));
  struct timeval limit = {1, 500000}, shown;
  socklen_t length = sizeof shown;
  SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
  SHOW(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &shown, &length));
  say("%ld %ld\n", (long)shown.tv_sec, (long)shown.tv_usec);
  struct linger linger = {1, 7};
  SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  linger = (struct linger){0, 0};
  length = sizeof linger;
  SHOW(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
  say("%d %d\n", linger.l_onoff, linger.l_linger);
  close(fd);
  close(six);

  section("ports");
  int port, first = server_on(AF_INET, SOCK_STREAM, &port);
  fd = socket(AF_INET, SOCK_STREAM, 0);
  SHOW(bind(fd, &address.any, loopback(AF_INET, port)));
  CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  SHOW(bind(fd, &address.any, loopback(AF_INET, port)));
  close(first);
  SHOW(bind(fd, &address.any, loopback(AF_INET, port)));
  SHOW(bind(fd, &address.any, loopback(AF_INET, port)));
  close(fd);
  int both = socket(AF_INET6, SOCK_STREAM, 0);
  loopback(AF_INET6, 0);
  address.v6.sin6_addr = in6addr_any;
  SHOW(bind(both, &address.any, sizeof address.v6));
  port = port_of(both);
  SHOW(listen(both, 1));
  fd = socket(AF_INET, SOCK_STREAM, 0);
  SHOW(connect(fd, &address.any, loopback(AF_INET, port)));
  length = sizeof address;
  int taken = accept(both, &address.any, &length);
  CHECK(taken >= 0);
  show_address("mapped", port);
  close(taken);
  close(fd);
  close(both);
  SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  SHOW(socket(AF_INET, SOCK_SEQPACKET, 0));
  SHOW(socket(AF_INET, SOCK_STREAM | 0x10, 0));
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, "lo");
  fd = socket(AF_INET, SOCK_DGRAM, 0);
  SHOW(ioctl(fd, SIOCGIFADDR, &request));
  say("%s\n", inet_ntoa(((struct sockaddr_in *)&request.ifr_addr)->sin_addr));
  SHOW(ioctl(fd, SIOCGIFNETMASK, &request));
  say("%s\n", inet_ntoa(((struct sockaddr_in *)&request.ifr_addr)->sin_addr));
  SHOW(ioctl(fd, SIOCGIFINDEX, &request));
  say("index %d\n", request.ifr_ifindex);
  strcpy(request.ifr_name, "nothing7");
  SHOW(ioctl(fd, SIOCGIFADDR, &request) < 0);
  close(fd);
}

int main(void) {
  close_inherited();
  streams(AF_INET);
  streams(AF_INET6);
  much(AF_INET);
  much(AF_INET6);
  nonblocking();
  datagrams(AF_INET);
  datagrams(AF_INET6);
  options();
  return finish();
}
