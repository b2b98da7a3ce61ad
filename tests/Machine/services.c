// SPDX-License-Identifier: Apache-2.0
// services.c: runs a machine's command and is the rest of the world for it: servers for its clients, clients for its
// servers.
//
// usage: services COMMAND...
//
// The command gets four words more, ports of this host at 10.0.2.2: HTTP (/hello, /big, and /done, which is answered when
// everything below has been asked), a listener that counts and sums what it gets, DNS, FTP. From here the machine's ports
// 80 (HTTP) and 23 (telnet) are asked. What was seen is printed. Ends as the command does.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char big[300000];
static int done_pipe[2];

static void fail(const char *what) {
  fprintf(stderr, "services: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int listener(int type, int *port) {
  int fd = socket(AF_INET, type, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (fd < 0 || bind(fd, (void *)&address, length) || getsockname(fd, (void *)&address, &length)) fail("bind");
  if (type == SOCK_STREAM && listen(fd, 8)) fail("listen");
  *port = ntohs(address.sin_port);
  return fd;
}

static void send_all(int fd, const char *bytes, long count) {
  while (count > 0) {
    long step = send(fd, bytes, count, MSG_NOSIGNAL);
    if (step <= 0) return;
    bytes += step;
    count -= step;
  }
}

static void say(int fd, const char *text) { send_all(fd, text, strlen(text)); }

// One line without its end; 0 at the end of the stream.
static int read_line(int fd, char *line, int room) {
  int length = 0;
  char byte;
  while (recv(fd, &byte, 1, 0) == 1) {
    if (byte == '\n') {
      line[length] = 0;
      return 1;
    }
    if (byte != '\r' && length < room - 1) line[length++] = byte;
  }
  return 0;
}

static void serve_pages(int fd) {
  for (;;) {
    int peer = accept(fd, 0, 0);
    char request[500], line[500];
    if (!read_line(peer, request, sizeof request)) {
      close(peer);
      continue;
    }
    while (read_line(peer, line, sizeof line) && line[0]) {}
    if (strstr(request, "/big")) {
      say(peer, "HTTP/1.0 200 OK\r\nContent-Length: 300000\r\n\r\n");
      send_all(peer, big, sizeof big);
    } else {
      char byte;
      if (strstr(request, "/done") && read(done_pipe[0], &byte, 1) < 0) fail("read");
      say(peer, "HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\nhello there\n");
    }
    close(peer);
  }
}

static void serve_sink(int fd) {
  for (;;) {
    int peer = accept(fd, 0, 0);
    static char bytes[65536];
    unsigned long sum = 0, count = 0;
    long step;
    struct timeval limit = {1, 0};
    say(peer, "ready\n");
    // The other side ends when this side does.
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while ((step = recv(peer, bytes, sizeof bytes, 0)) > 0) {
      for (long i = 0; i < step; i++) sum = sum * 31 + (unsigned char)bytes[i];
      count += step;
    }
    printf("sink: %lu bytes, sum %lx\n", count, sum);
    fflush(stdout);
    close(peer);
  }
}

// Every name has the address 192.0.2.7.
static void serve_names(int fd) {
  for (;;) {
    unsigned char message[600];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    long count = recvfrom(fd, message, 512, 0, (void *)&from, &length);
    if (count < 17) continue;
    int end = 12;
    while (end < count && message[end]) end += message[end] + 1;
    end += 5;
    int isAddress = message[end - 3] == 1;
    memcpy(message + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
    if (isAddress) {
      message[7] = 1;
      memcpy(message + end, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7", 16);
      end += 16;
    }
    sendto(fd, message, end, 0, (void *)&from, length);
  }
}

static void serve_files(int fd) {
  for (;;) {
    int peer = accept(fd, 0, 0), port = 0, data = -1;
    char line[500], answer[100];
    say(peer, "220 ready\r\n");
    while (read_line(peer, line, sizeof line)) {
      if (!strncmp(line, "USER", 4)) say(peer, "331 password\r\n");
      else if (!strncmp(line, "PASS", 4)) say(peer, "230 welcome\r\n");
      else if (!strncmp(line, "TYPE", 4)) say(peer, "200 binary\r\n");
      else if (!strncmp(line, "SIZE", 4)) say(peer, "213 300000\r\n");
      else if (!strncmp(line, "EPSV", 4)) {
        data = listener(SOCK_STREAM, &port);
        snprintf(answer, sizeof answer, "229 at (|||%d|)\r\n", port);
        say(peer, answer);
      } else if (!strncmp(line, "RETR", 4)) {
        say(peer, "150 here\r\n");
        int taken = accept(data, 0, 0);
        send_all(taken, big, sizeof big);
        close(taken);
        close(data);
        say(peer, "226 sent\r\n");
      } else say(peer, "221 bye\r\n");
    }
    close(peer);
  }
}

static void in_child(void (*serve)(int), int fd) {
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(fd);
  }
  close(fd);
}

// Asks a port of the machine until the answer has a text; what connects before the machine listens ends at once.
static int ask(int port, const char *question, const char *wanted) {
  static char answer[100000];
  for (int attempt = 0; attempt < 300; attempt++, usleep(100000)) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    long length = 0, step = 0;
    if (connect(fd, (void *)&address, sizeof address) == 0) {
      say(fd, question);
      while (length < (long)sizeof answer - 1 && (step = recv(fd, answer + length, sizeof answer - 1 - length, 0)) > 0) {
        // A telnet server sends zeros in its negotiation.
        for (long i = length; i < length + step; i++)
          if (!answer[i]) answer[i] = ' ';
        length += step;
        answer[length] = 0;
        if (strstr(answer, wanted)) break;
      }
    }
    close(fd);
    answer[length] = 0;
    if (strstr(answer, wanted)) return 1;
  }
  fprintf(stderr, "services: instead of \"%s\" the last answer was: %s\n", wanted, answer);
  return 0;
}

static int free_port(void) {
  int port;
  close(listener(SOCK_STREAM, &port));
  return port;
}

int main(int count, char **words) {
  if (count < 4) return 2;
  for (unsigned i = 0; i < sizeof big; i++) big[i] = i * 7 + i / 251;
  if (pipe(done_pipe)) fail("pipe");
  void (*serve[4])(int) = {serve_pages, serve_sink, serve_names, serve_files};
  static char ports[4][8], forward[2][24];
  for (int i = 0; i < 4; i++) {
    int port;
    int fd = listener(i == 2 ? SOCK_DGRAM : SOCK_STREAM, &port);
    snprintf(ports[i], sizeof ports[i], "%d", port);
    in_child(serve[i], fd);
  }
  int web = free_port(), telnet = free_port();
  snprintf(forward[0], sizeof forward[0], "%d:80", web);
  snprintf(forward[1], sizeof forward[1], "%d:23", telnet);
  char *command[200] = {words[1], words[2], "--net", "user", "--publish", forward[0], "--publish", forward[1]};
  int length = 8;
  for (int i = 3; i < count && length < 190; i++) command[length++] = words[i];
  for (int i = 0; i < 4; i++) command[length++] = ports[i];
  pid_t machine = fork();
  if (machine < 0) fail("fork");
  if (machine == 0) {
    execv(command[0], command);
    _exit(126);
  }
  int page = ask(web, "GET /index.html HTTP/1.0\r\n\r\n", "the machine's page");
  int shell = ask(telnet, "tty; echo $((6 * 7))-done; exit\r\n", "42-done");
  printf("%s\n%s\n", page ? "httpd answered" : "httpd did not answer", shell ? "telnetd answered" : "telnetd did not answer");
  fflush(stdout);
  if (write(done_pipe[1], "", 1) != 1) fail("write");
  int status;
  if (waitpid(machine, &status, 0) != machine) fail("wait");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
