// SPDX-License-Identifier: Apache-2.0
// browser.c: serves a folder of its own making by `apus serve`, and fetches from it as browsers do.
//
// usage: browser APUS run ...
//
// Only the first word of the command is used: what is started is APUS serve FOLDER. Ends well if all answers were right.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t machine;
static int port, checks, failures;

static void stop(int status) {
  if (machine > 0) {
    kill(machine, SIGTERM);
    waitpid(machine, 0, 0);
  }
  exit(status);
}

static void fail(const char *what) {
  printf("browser: %s: %s\n", what, strerror(errno));
  fflush(stdout);
  stop(1);
}

static void expect(int holds, const char *what) {
  checks++;
  if (holds) return;
  failures++;
  printf("not so: %s\n", what);
}

// ---- a connection and its answers

static char answer[4 << 20];
static long head_size, body_size, left_over;
static char *body;

static int dial(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int stream = socket(AF_INET, SOCK_STREAM, 0);
  struct timeval limit = {20, 0};
  setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (stream < 0 || connect(stream, (struct sockaddr *)&to, sizeof to)) fail("connect");
  left_over = 0;
  return stream;
}

static void say(int stream, const char *text) {
  if (write(stream, text, strlen(text)) != (ssize_t)strlen(text)) fail("write");
}

static char *field(const char *name) {
  static char value[4][256];
  static int next;
  char *result = value[next++ % 4];
  *result = 0;
  char pattern[64];
  snprintf(pattern, sizeof pattern, "\r\n%s: ", name);
  char *at = strcasestr(answer, pattern);
  if (!at || at > answer + head_size) return result;
  at += strlen(pattern);
  long count = strcspn(at, "\r");
  snprintf(result, 256, "%.*s", (int)count, at);
  return result;
}

// Reads one answer; its status, or 0 if the connection has ended.
static int hear(int stream, int has_body) {
  if (left_over) memmove(answer, body + body_size, left_over);
  long got = left_over;
  left_over = 0;
  char *end;
  for (;;) {
    answer[got] = 0;
    end = strstr(answer, "\r\n\r\n");
    if (end) break;
    ssize_t count = read(stream, answer + got, sizeof answer - got - 1);
    if (count <= 0) return 0;
    got += count;
  }
  head_size = end + 4 - answer;
  body = end + 4;
  char saved = *body;
  *body = 0;
  int status = atoi(answer + 9);
  body_size = has_body && status != 304 ? atol(field("Content-Length")) : 0;
  *body = saved;
  while (got < head_size + body_size) {
    ssize_t count = read(stream, answer + got, sizeof answer - got - 1);
    if (count <= 0) return 0;
    got += count;
  }
  answer[got] = 0;
  left_over = got - head_size - body_size;
  return status;
}

static int fetch(int stream, const char *method, const char *target, const char *fields) {
  char text[20000];
  snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: apus\r\n%s\r\n", method, target, fields);
  say(stream, text);
  return hear(stream, strcmp(method, "HEAD") != 0);
}

static int alone(const char *text) {
  int stream = dial();
  say(stream, text);
  int status = hear(stream, 1);
  close(stream);
  return status;
}

// ---- the folder

static char folder[] = "/tmp/apus-browser-XXXXXX";
static uint8_t content(long at, long size) { return (at * 2654435761u >> 11) ^ size; }

static void make(const char *name, const void *bytes, long size) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  if (!file) fail(path);
  for (long i = 0; i < size; i++) fputc(bytes ? ((const uint8_t *)bytes)[i] : content(i, size), file);
  fclose(file);
}

static int is_part(const char *at, long start, long count, long size) {
  for (long i = 0; i < count; i++)
    if ((uint8_t)at[i] != content(start + i, size)) return 0;
  return 1;
}

static const long sizes[] = {0, 1, 100, 1247, 1448, 4096, 10240, 65537, 1000000};

static void make_folder(void) {
  if (!mkdtemp(folder)) fail("mkdtemp");
  char path[256];
  snprintf(path, sizeof path, "%s/sub", folder);
  if (mkdir(path, 0755)) fail("mkdir");
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    snprintf(path, sizeof path, "f%ld", sizes[i]);
    make(path, 0, sizes[i]);
  }
  make("index.html", "<p>front", 8);
  make("a b.txt", "blank", 5);
  make("sub/page.css", "plain", 5);
  make("sub/page.css.gz", "squeezed", 8);
}

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command)) printf("%s was left\n", folder);
}

static int free_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  int stream = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(stream, (struct sockaddr *)&at, size) || getsockname(stream, (struct sockaddr *)&at, &size)) fail("bind");
  close(stream);
  return ntohs(at.sin_port);
}

// Starts the server and waits for the line that says where it is.
static void start(const char *apus) {
  char number[16];
  port = free_port();
  snprintf(number, sizeof number, "%d", port);
  int pipes[2];
  if (pipe(pipes)) fail("pipe");
  machine = fork();
  if (machine < 0) fail("fork");
  if (machine == 0) {
    dup2(pipes[1], 1);
    execl(apus, apus, "serve", folder, "--port", number, "--timeout", "100", "--memory", "64M", (char *)0);
    _exit(126);
  }
  close(pipes[1]);
  FILE *output = fdopen(pipes[0], "r");
  char line[256], url[64];
  snprintf(url, sizeof url, "http://127.0.0.1:%d/\n", port);
  while (fgets(line, sizeof line, output))
    if (!strcmp(line, url)) return;
  printf("the server did not say that it is ready\n");
  stop(1);
}

// ---- what is asked

static void files(void) {
  int stream = dial();
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char target[32];
    snprintf(target, sizeof target, "/f%ld", sizes[i]);
    expect(fetch(stream, "GET", target, "") == 200 && body_size == sizes[i] && is_part(body, 0, sizes[i], sizes[i]), target);
    expect(fetch(stream, "HEAD", target, "") == 200 && atol(field("Content-Length")) == sizes[i], "HEAD");
  }
  expect(fetch(stream, "GET", "/", "") == 200 && !strncmp(body, "<p>front", 8), "the index");
  expect(!strcmp(field("Content-Type"), "text/html; charset=utf-8") && *field("Date"), "its fields");
  expect(fetch(stream, "GET", "/a%20b.txt?x", "") == 200 && !strncmp(body, "blank", 5), "a blank in a name");
  expect(fetch(stream, "GET", "/sub", "") == 301 && !strcmp(field("Location"), "/sub/"), "a directory");
  expect(fetch(stream, "GET", "/sub/", "") == 200 && strstr(body, "page.css"), "a listing");
  expect(fetch(stream, "GET", "/sub/page.css", "") == 200 && !strncmp(body, "plain", 5), "not compressed");
  expect(fetch(stream, "GET", "/sub/page.css", "Accept-Encoding: gzip\r\n") == 200 && !strncmp(body, "squeezed", 8) &&
         !strcmp(field("Content-Encoding"), "gzip") && *field("Vary"), "compressed");
  expect(fetch(stream, "GET", "/.apus", "") == 200 && strstr(body, "</html>"), "the live page");
  expect(fetch(stream, "GET", "/.apus.json", "") == 200 && strstr(body, "\"filters\":[{"), "its report");
  close(stream);
}

static void conditions(void) {
  int stream = dial();
  char fields[600], tag[256], date[256];
  fetch(stream, "GET", "/f1448", "");
  strcpy(tag, field("ETag"));
  strcpy(date, field("Last-Modified"));
  snprintf(fields, sizeof fields, "If-None-Match: \"x\", W/%s\r\n", tag);
  expect(fetch(stream, "GET", "/f1448", fields) == 304 && !strcmp(field("ETag"), tag), "304 by tag");
  snprintf(fields, sizeof fields, "If-Modified-Since: %s\r\n", date);
  expect(fetch(stream, "GET", "/f1448", fields) == 304, "304 by date");
  snprintf(fields, sizeof fields, "If-None-Match: \"x\"\r\nIf-Modified-Since: %s\r\n", date);
  expect(fetch(stream, "GET", "/f1448", fields) == 200, "the tag before the date");
  expect(fetch(stream, "GET", "/f1448", "If-Match: \"x\"\r\n") == 412, "412");
  snprintf(fields, sizeof fields, "If-Match: %s\r\n", tag);
  expect(fetch(stream, "GET", "/f1448", fields) == 200, "If-Match");
  expect(fetch(stream, "GET", "/f1448", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n") == 412, "412 by date");

  expect(fetch(stream, "GET", "/f65537", "Range: bytes=1001-5003\r\n") == 206 && body_size == 4003 &&
         is_part(body, 1001, 4003, 65537) && !strcmp(field("Content-Range"), "bytes 1001-5003/65537"), "a range");
  expect(fetch(stream, "GET", "/f65537", "Range: bytes=-7\r\n") == 206 && is_part(body, 65530, 7, 65537), "a suffix");
  expect(fetch(stream, "GET", "/f65537", "Range: bytes=65536-\r\n") == 206 && body_size == 1, "the last byte");
  expect(fetch(stream, "GET", "/f65537", "Range: bytes=65537-\r\n") == 416 &&
         !strcmp(field("Content-Range"), "bytes */65537"), "416");
  expect(fetch(stream, "GET", "/f65537", "Range: bytes=3-1\r\n") == 200, "a range that is none");
  expect(fetch(stream, "GET", "/f65537", "Range: bytes=0-0\r\nIf-Range: \"x\"\r\n") == 200, "If-Range of another");
  expect(fetch(stream, "GET", "/f65537", "Range: bytes=5-9,100-1999,-3\r\n") == 206, "three ranges");
  char *first = memmem(body, body_size, "bytes 5-9/65537\r\n\r\n", 19);
  char *second = memmem(body, body_size, "bytes 100-1999/65537\r\n\r\n", 24);
  char *third = memmem(body, body_size, "bytes 65534-65536/65537\r\n\r\n", 27);
  expect(first && second && third && is_part(first + 19, 5, 5, 65537) && is_part(second + 24, 100, 1900, 65537) &&
         is_part(third + 27, 65534, 3, 65537), "their bytes");
  close(stream);
}

static void errors(void) {
  int stream = dial();
  expect(fetch(stream, "GET", "/nothing", "") == 404, "404");
  expect(fetch(stream, "POST", "/f100", "Content-Length: 3\r\n\r\nabc") == 405 && strstr(field("Allow"), "GET"), "405");
  expect(fetch(stream, "BREW", "/f100", "") == 501, "501");
  expect(fetch(stream, "GET", "/../etc/passwd", "") == 400, "above the root");
  expect(fetch(stream, "GET", "/%2e%2e/%2e%2e/etc/passwd", "") == 400, "above the root, encoded");
  expect(fetch(stream, "GET", "/%00", "") == 400, "a zero");
  expect(fetch(stream, "GET", "/f100", "") == 200, "the connection stays");
  close(stream);
  expect(alone("GET / HTTP/1.1\r\n\r\n") == 400, "no host");
  expect(alone("nonsense\r\n\r\n") == 400, "no request");
  expect(alone("GET / HTTP/2.0\r\nHost: x\r\n\r\n") == 505, "505");
  expect(alone("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n") == 413, "413");
  static char large[12000];
  memset(large, 'a', 9000);
  memcpy(large, "GET /", 5);
  expect(alone(large) == 414, "414");
  memcpy(large, "GET / HTTP/1.1\r\nHost: x\r\nA: ", 28);
  expect(alone(large) == 431, "431");
}

static void ways(void) {
  int stream = dial();
  // Several at once, answered in order.
  say(stream, "GET /f100 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /f4096 HTTP/1.1\r\nHost: x\r\n\r\nGET /f1 HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /f10240 HTTP/1.1\r\nHost: x\r\n\r\n");
  expect(hear(stream, 1) == 200 && body_size == 100, "first of four");
  expect(hear(stream, 0) == 200 && atol(field("Content-Length")) == 4096, "second of four");
  expect(hear(stream, 1) == 200 && body_size == 1, "third of four");
  expect(hear(stream, 1) == 200 && body_size == 10240 && is_part(body, 0, 10240, 10240), "fourth of four");
  // In pieces.
  const char *text = "GET /f100 HTTP/1.1\r\nHost: x\r\nX-Long: yes\r\n\r\n";
  for (const char *at = text; *at; at += 5) {
    if (write(stream, at, strnlen(at, 5)) < 0) fail("write");
    if (strlen(at) <= 5) break;
    usleep(2000);
  }
  expect(hear(stream, 1) == 200 && body_size == 100, "in pieces");
  expect(fetch(stream, "GET", "/f100", "Connection: close\r\n") == 200 && !strcmp(field("Connection"), "close"), "the last");
  char byte;
  expect(read(stream, &byte, 1) == 0, "the end");
  close(stream);
  // Many at once, more than the card takes in one go.
  int streams[40];
  for (int i = 0; i < 40; i++) {
    streams[i] = dial();
    say(streams[i], "GET /f65537 HTTP/1.0\r\n\r\n");
  }
  int good = 0;
  for (int i = 0; i < 40; i++) {
    left_over = 0;
    good += hear(streams[i], 1) == 200 && body_size == 65537 && is_part(body, 0, 65537, 65537);
    close(streams[i]);
  }
  expect(good == 40, "forty at once");
}

int main(int count, char **words) {
  if (count < 2) return 2;
  setvbuf(stdout, 0, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN);
  make_folder();
  start(words[1]);
  files();
  conditions();
  errors();
  ways();
  remove_folder();
  printf("%d answers, %d wrong\n", checks, failures);
  stop(failures > 0);
}
