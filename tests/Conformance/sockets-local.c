// SPDX-License-Identifier: Apache-2.0
// sockets-local.c: sockets of AF_UNIX: pairs, names, streams, datagrams, records, files and credentials that go along.
//
// apus: compare: host
// apus: timeout: 120

#include "check.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static char buffer[70000];
static int pair[2];

static void fresh(int type) { CHECK(socketpair(AF_UNIX, type, 0, pair) == 0); }
static void drop(void) {
  close(pair[0]);
  close(pair[1]);
}

static int ready(int fd) {
  struct pollfd item = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI};
  poll(&item, 1, 0);
  return item.revents;
}

static void streams(void) {
  section("a pair of streams");
  fresh(SOCK_STREAM);
  SHOW(write(pair[0], "hello", 5));
  SHOW(write(pair[0], " there", 6));
  int count = -1;
  SHOW(ioctl(pair[1], FIONREAD, &count));
  say("waiting %d\n", count);
  SHOW(recv(pair[1], buffer, 3, MSG_PEEK));
  SHOW(read(pair[1], buffer, 100));
  say("%.11s\n", buffer);
  SHOW(recv(pair[1], buffer, 100, MSG_DONTWAIT));
  say("idle %#x\n", ready(pair[1]));
  SHOW(send(pair[1], "", 0, 0));
  SHOW(shutdown(pair[0], SHUT_WR));
  say("half closed %#x %#x\n", ready(pair[0]), ready(pair[1]));
  SHOW(read(pair[1], buffer, 10));
  SHOW(send(pair[0], "x", 1, MSG_NOSIGNAL));
  SHOW(write(pair[1], "back", 4));
  SHOW(read(pair[0], buffer, 10));
  close(pair[0]);
  say("other end gone %#x\n", ready(pair[1]));
  SHOW(send(pair[1], "x", 1, MSG_NOSIGNAL));
  SHOW(read(pair[1], buffer, 1));
  close(pair[1]);

  fresh(SOCK_STREAM);
  IN_CHILD("broken pipe", close(pair[1]); write(pair[0], "x", 1));
  close(pair[1]);
  SHOW(send(pair[0], "x", 1, MSG_NOSIGNAL));
  close(pair[0]);

  fresh(SOCK_STREAM);
  CHECK(write(pair[0], "unread", 6) == 6);
  close(pair[1]);
  say("closed with bytes %#x\n", ready(pair[0]));
  SHOW(read(pair[0], buffer, 1));
  SHOW(read(pair[0], buffer, 1));
  close(pair[0]);

  section("a full stream");
  fresh(SOCK_STREAM);
  fcntl(pair[0], F_SETFL, O_NONBLOCK);
  long total = 0, got;
  while ((got = write(pair[0], buffer, 4096)) > 0) total += got;
  say("full: %s, at least 64 KiB: %d, writable %d\n", error_name(errno), total >= 65536, ready(pair[0]) & POLLOUT);
  long taken = 0;
  while (taken < total) {
    got = read(pair[1], buffer, sizeof buffer);
    if (got <= 0) break;
    taken += got;
  }
  say("all read %d, writable %d\n", taken == total, (ready(pair[0]) & POLLOUT) != 0);
  drop();

  section("much through a stream");
  fresh(SOCK_STREAM);
  pid_t child = fork();
  if (child == 0) {
    close(pair[0]);
    for (int i = 0; i < 40; i++) {
      memset(buffer, 'a' + i % 26, 50000);
      for (int done = 0; done < 50000;) {
        long step = write(pair[1], buffer + done, 50000 - done);
        if (step <= 0) _exit(1);
        done += step;
      }
    }
    _exit(0);
  }
  close(pair[1]);
  unsigned long sum = 0, all = 0;
  while ((got = read(pair[0], buffer, 7001)) > 0) {
    for (long i = 0; i < got; i++) sum = sum * 31 + (unsigned char)buffer[i];
    all += got;
  }
  say("%lu bytes, sum %lx\n", all, sum);
  say_status("writer", wait_for(child));
  close(pair[0]);

  section("waiting for all, and vectors");
  fresh(SOCK_STREAM);
  child = fork();
  if (child == 0) {
    close(pair[0]);
    struct timespec pause = {0, 20000000};
    for (int i = 0; i < 3; i++) {
      if (write(pair[1], "abcd", 4) != 4) _exit(1);
      nanosleep(&pause, NULL);
    }
    _exit(0);
  }
  close(pair[1]);
  SHOW(recv(pair[0], buffer, 10, MSG_WAITALL));
  SHOW(recv(pair[0], buffer, 10, MSG_WAITALL));
  say_status("writer", wait_for(child));
  close(pair[0]);
  fresh(SOCK_STREAM);
  struct iovec parts[3] = {{"one", 3}, {"", 0}, {"twelve", 6}};
  SHOW(writev(pair[0], parts, 3));
  char a[4] = "", b[8] = "";
  struct iovec holes[2] = {{a, 2}, {b, 7}};
  SHOW(readv(pair[1], holes, 2));
  say("%.2s|%.7s\n", a, b);
  struct timeval limit = {0, 30000};
  SHOW(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
  SHOW(read(pair[1], buffer, 1));
  SHOW(recv(pair[1], buffer, 1, 0));
  drop();
}

static void datagrams(void) {
  section("datagrams");
  fresh(SOCK_DGRAM);
  SHOW(send(pair[0], "first", 5, 0));
  SHOW(send(pair[0], "", 0, 0));
  SHOW(write(pair[0], "third one", 9));
  SHOW(recv(pair[1], buffer, 3, MSG_TRUNC));
  SHOW(recv(pair[1], buffer, 3, 0));
  SHOW(recv(pair[1], buffer, 3, 0));
  SHOW(recv(pair[1], buffer, 3, MSG_DONTWAIT));
  int queued = 0;
  while (send(pair[0], "x", 1, MSG_DONTWAIT) == 1) queued++;
  say("queue takes %d, then %s, writable %d\n", queued, error_name(errno), (ready(pair[0]) & POLLOUT) != 0);
  CHECK(recv(pair[1], buffer, 3, 0) == 1);
  say("writable %d\n", (ready(pair[0]) & POLLOUT) != 0);
  close(pair[1]);
  SHOW(send(pair[0], "x", 1, 0));
  SHOW(send(pair[0], "x", 1, 0));
  close(pair[0]);

  section("records");
  fresh(SOCK_SEQPACKET);
  SHOW(send(pair[0], "one", 3, 0));
  SHOW(send(pair[0], "two two", 7, 0));
  struct iovec part = {buffer, 4};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  SHOW(recvmsg(pair[1], &message, 0));
  say("flags %#x\n", message.msg_flags & MSG_TRUNC);
  SHOW(recvmsg(pair[1], &message, 0));
  say("flags %#x\n", message.msg_flags & MSG_TRUNC);
  close(pair[0]);
  SHOW(recv(pair[1], buffer, 4, 0));
  SHOW(send(pair[1], "x", 1, MSG_NOSIGNAL));
  close(pair[1]);
}

static socklen_t name(struct sockaddr_un *address, const char *text, int isAbstract) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path + isAbstract, text, strlen(text));
  return 2 + isAbstract + strlen(text) + (isAbstract ? 0 : 1);
}

static void show_name(const char *what, int (*get)(int, struct sockaddr *, socklen_t *), int fd) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  socklen_t length = sizeof address;
  if (get(fd, (struct sockaddr *)&address, &length) < 0) {
    say("%s: %s\n", what, error_name(errno));
    return;
  }
  say("%s: length %d, %s%s\n", what, (int)length, address.sun_path[0] == 0 && length > 2 ? "@" : "",
      length > 2 ? address.sun_path + (address.sun_path[0] == 0) : "none");
}

static void named(int isAbstract) {
  section(isAbstract ? "abstract names" : "names in the file tree");
  char text[100];
  snprintf(text, sizeof text, isAbstract ? "apus-test-name" : "server");
  struct sockaddr_un address;
  socklen_t length = name(&address, text, isAbstract);
  int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int client = socket(AF_UNIX, SOCK_STREAM, 0);
  say("fresh %#x\n", ready(client));
  SHOW(connect(client, (struct sockaddr *)&address, length));
  SHOW(listen(server, 1));
  SHOW(bind(server, (struct sockaddr *)&address, length));
  SHOW(bind(server, (struct sockaddr *)&address, length));
  int other = socket(AF_UNIX, SOCK_STREAM, 0);
  SHOW(bind(other, (struct sockaddr *)&address, length));
  close(other);
  SHOW(connect(client, (struct sockaddr *)&address, length));
  SHOW(listen(server, 1));
  say("listening %#x\n", ready(server));
  int value = -1;
  socklen_t size = sizeof value;
  CHECK(getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0);
  say("accepts %d\n", value);
  SHOW(connect(client, (struct sockaddr *)&address, length));
  say("waiting %#x, connected %#x\n", ready(server), ready(client));
  SHOW(connect(client, (struct sockaddr *)&address, length));
  SHOW(write(client, "early", 5));
  struct sockaddr_un peer;
  socklen_t peerLength = sizeof peer;
  int taken = accept4(server, (struct sockaddr *)&peer, &peerLength, SOCK_NONBLOCK | SOCK_CLOEXEC);
  CHECK(taken >= 0);
  say("peer's name has %d bytes, flags %#x %#x\n", (int)peerLength, fcntl(taken, F_GETFL) & O_NONBLOCK,
      fcntl(taken, F_GETFD));
  show_name("server", getsockname, server);
  show_name("client", getsockname, client);
  show_name("client's peer", getpeername, client);
  show_name("taken", getsockname, taken);
  show_name("taken's peer", getpeername, taken);
  show_name("server's peer", getpeername, server);
  SHOW(read(taken, buffer, 10));
  SHOW(read(taken, buffer, 10));
  struct ucred who;
  size = sizeof who;
  CHECK(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0);
  say("peer is us: %d %d %d\n", who.pid == getpid(), who.uid == getuid(), who.gid == getgid());
  SHOW(accept4(server, NULL, NULL, 077));
  fcntl(server, F_SETFL, O_NONBLOCK);
  SHOW(accept(server, NULL, NULL));
  int more[4];
  for (int i = 0; i < 4; i++) {
    more[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(connect(more[i], (struct sockaddr *)&address, length));
  }
  close(server);
  say("not accepted %#x\n", ready(more[0]));
  SHOW(read(more[0], buffer, 1));
  SHOW(read(more[0], buffer, 1));
  for (int i = 0; i < 4; i++) close(more[i]);
  SHOW(write(client, "late", 4));
  SHOW(read(taken, buffer, 10));
  close(client);
  close(taken);
  client = socket(AF_UNIX, SOCK_STREAM, 0);
  SHOW(connect(client, (struct sockaddr *)&address, length));
  if (!isAbstract) {
    struct stat status;
    CHECK(stat(text, &status) == 0);
    say("mode %o\n", status.st_mode);
    SHOW(open(text, O_RDWR));
    SHOW(unlink(text));
    SHOW(connect(client, (struct sockaddr *)&address, length));
  }
  close(client);

  int receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
  SHOW(bind(receiver, (struct sockaddr *)&address, length));
  int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
  SHOW(send(sender, "x", 1, 0));
  SHOW(sendto(sender, "to you", 6, 0, (struct sockaddr *)&address, length));
  peerLength = sizeof peer;
  SHOW(recvfrom(receiver, buffer, 10, 0, (struct sockaddr *)&peer, &peerLength));
  say("from %d bytes\n", (int)peerLength);
  SHOW(bind(sender, (struct sockaddr *)&(sa_family_t){AF_UNIX}, sizeof(sa_family_t)));
  peerLength = sizeof peer;
  CHECK(getsockname(sender, (struct sockaddr *)&peer, &peerLength) == 0);
  say("own name of %d bytes\n", (int)peerLength);
  SHOW(connect(sender, (struct sockaddr *)&address, length));
  SHOW(send(sender, "again", 5, 0));
  peerLength = sizeof peer;
  SHOW(recvfrom(receiver, buffer, 10, 0, (struct sockaddr *)&peer, &peerLength));
  SHOW(sendto(receiver, "answer", 6, 0, (struct sockaddr *)&peer, peerLength));
  SHOW(read(sender, buffer, 10));
  int stream = socket(AF_UNIX, SOCK_STREAM, 0);
  SHOW(connect(stream, (struct sockaddr *)&address, length));
  close(stream);
  close(sender);
  close(receiver);
  if (!isAbstract) unlink(text);
}

static ssize_t send_files(int fd, int count, int *files) {
  char control[CMSG_SPACE(sizeof(int) * 4)];
  memset(control, 0, sizeof control);
  struct iovec part = {"F", 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * count);
  memcpy(CMSG_DATA(header), files, sizeof(int) * count);
  return sendmsg(fd, &message, 0);
}

static int receive_files(int fd, int *files, int room, int flags) {
  char control[256];
  struct iovec part = {buffer, 100};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
  ssize_t count = recvmsg(fd, &message, flags);
  say("received %d, control %d, flags %#x\n", (int)count, (int)message.msg_controllen,
      message.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
  int found = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    say("level %d type %d length %d\n", header->cmsg_level, header->cmsg_type, (int)header->cmsg_len);
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      found = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      memcpy(files, CMSG_DATA(header), found * sizeof(int));
    }
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
      struct ucred who;
      memcpy(&who, CMSG_DATA(header), sizeof who);
      say("credentials are ours: %d %d\n", who.pid == getpid(), who.uid == getuid());
    }
  }
  return found;
}

static void rights(void) {
  section("files that go along");
  fresh(SOCK_STREAM);
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(write(pair[0], "ab", 2) == 2);
  SHOW(send_files(pair[0], 2, ends));
  CHECK(write(pair[0], "cd", 2) == 2);
  close(ends[0]);
  int files[4] = {-1, -1, -1, -1};
  int found = receive_files(pair[1], files, 256, 0);
  say("files %d\n", found);
  SHOW(recv(pair[1], buffer, 10, 0));
  CHECK(write(files[1], "through", 7) == 7);
  SHOW(read(files[0], buffer, 10));
  close(files[0]);
  close(files[1]);
  SHOW(send_files(pair[0], 2, (int[]){ends[1], 99}));
  SHOW(send_files(pair[0], 2, (int[]){ends[1], 0}));
  found = receive_files(pair[1], files, CMSG_SPACE(sizeof(int)) - 4, MSG_CMSG_CLOEXEC);
  say("files %d, flag %d\n", found, fcntl(files[0], F_GETFD));
  close(files[0]);
  SHOW(send_files(pair[0], 1, ends + 1));
  found = receive_files(pair[1], files, 0, 0);
  SHOW(send_files(pair[0], 1, ends + 1));
  SHOW(read(pair[1], buffer, 10));
  int on = 1;
  SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  SHOW(write(pair[0], "who", 3));
  receive_files(pair[1], files, 256, 0);
  // A file that is only on its way lives on, and ends with the socket.
  int last[2];
  CHECK(pipe(last) == 0);
  SHOW(send_files(pair[0], 1, last + 1));
  close(last[1]);
  say("pipe while its end travels %#x\n", ready(last[0]));
  drop();
  say("pipe after that %#x\n", ready(last[0]));
  close(last[0]);
  close(ends[1]);
}

static void edges(void) {
  section("epoll on sockets");
  fresh(SOCK_STREAM);
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.u32 = 7};
  SHOW(epoll_ctl(poll, EPOLL_CTL_ADD, pair[0], &event));
  SHOW(epoll_wait(poll, &event, 1, 0));
  say("events %#x\n", event.events);
  SHOW(epoll_wait(poll, &event, 1, 0));
  CHECK(write(pair[1], "x", 1) == 1);
  SHOW(epoll_wait(poll, &event, 1, 0));
  say("events %#x\n", event.events);
  SHOW(epoll_wait(poll, &event, 1, 0));
  event.events = EPOLLIN | EPOLLONESHOT;
  SHOW(epoll_ctl(poll, EPOLL_CTL_MOD, pair[0], &event));
  SHOW(epoll_wait(poll, &event, 1, 0));
  SHOW(epoll_wait(poll, &event, 1, 0));
  event.events = EPOLLIN | EPOLLRDHUP;
  SHOW(epoll_ctl(poll, EPOLL_CTL_MOD, pair[0], &event));
  close(pair[1]);
  SHOW(epoll_wait(poll, &event, 1, 0));
  say("events %#x\n", event.events);
  close(pair[0]);
  SHOW(epoll_wait(poll, &event, 1, 0));
  close(poll);
}

static void errors(void) {
  section("errors");
  SHOW(socket(AF_UNIX, 77, 0));
  SHOW(socket(AF_UNIX, SOCK_STREAM, 9));
  SHOW(socket(99, SOCK_STREAM, 0));
  SHOW(socketpair(AF_INET, SOCK_STREAM, 0, pair));
  SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, nowhere));
  int fd = open("/dev/null", O_RDWR);
  SHOW(listen(fd, 1));
  SHOW(send(fd, "x", 1, 0));
  SHOW(listen(77, 1));
  close(fd);
  fd = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un address;
  SHOW(connect(fd, (struct sockaddr *)&address, 1));
  SHOW(connect(fd, nowhere, 10));
  socklen_t length = name(&address, "no-such-file", 0);
  SHOW(connect(fd, (struct sockaddr *)&address, length));
  close(open("plain", O_CREAT | O_WRONLY, 0600));
  length = name(&address, "plain", 0);
  SHOW(connect(fd, (struct sockaddr *)&address, length));
  SHOW(bind(fd, (struct sockaddr *)&address, length));
  unlink("plain");
  SHOW(read(fd, buffer, 1));
  SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
  SHOW(shutdown(fd, 7));
  SHOW(shutdown(fd, SHUT_RDWR));
  SHOW(lseek(fd, 0, SEEK_SET));
  int value = 0;
  socklen_t size = sizeof value;
  SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size));
  say("type %d\n", value);
  SHOW(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size));
  say("domain %d\n", value);
  SHOW(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size));
  say("error %d\n", value);
  SHOW(getsockopt(fd, SOL_SOCKET, 999, &value, &size));
  SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, 1));
  SHOW(fcntl(fd, F_GETFL));
  struct stat status;
  CHECK(fstat(fd, &status) == 0);
  say("mode %o\n", status.st_mode & S_IFMT);
  close(fd);
}

int main(void) {
  close_inherited();
  umask(022);
  char place[] = "/tmp/sockets.XXXXXX";
  CHECK(mkdtemp(place) != NULL);
  CHECK(chdir(place) == 0);
  streams();
  datagrams();
  named(0);
  named(1);
  rights();
  edges();
  errors();
  CHECK(rmdir(place) == 0);
  return finish();
}
