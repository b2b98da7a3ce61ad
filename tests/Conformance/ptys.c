// SPDX-License-Identifier: Apache-2.0
// ptys.c: pseudo-terminals (pty(7)): what is typed into one side and printed by the other, sessions, signals, hang-ups.
//
// apus: compare: host
// apus: timeout: 120

#include "check.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

static char buffer[5000];
static int master, slave;

static int ready(int fd) {
  struct pollfd item = {.fd = fd, .events = POLLIN | POLLOUT};
  poll(&item, 1, 0);
  return item.revents;
}

// Linux echoes in pieces, when it has time: what of it is left must not meet the next question.
static void drain(void) {
  while (poll(&(struct pollfd){.fd = master, .events = POLLIN}, 1, 50) == 1 && read(master, buffer, sizeof buffer) > 0)
    ;
}

// Reads what is there and shows it with its control characters.
static void show(const char *what, int fd) {
  long count = read(fd, buffer, sizeof buffer);
  if (count < 0) {
    say("%s: %s\n", what, error_name(errno));
    return;
  }
  char text[300];
  int length = 0;
  for (long i = 0; i < count && length < 290; i++) {
    unsigned char byte = buffer[i];
    length += snprintf(text + length, sizeof text - length, byte < 32 || byte > 126 ? "\\%03o" : "%c", byte);
  }
  text[length] = 0;
  say("%s: %s\n", what, text);
}

static void fresh(void) {
  master = posix_openpt(O_RDWR | O_NOCTTY);
  CHECK(master >= 0);
  CHECK(grantpt(master) == 0);
  CHECK(unlockpt(master) == 0);
  slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
}

static void lines(void) {
  section("lines");
  master = posix_openpt(O_RDWR | O_NOCTTY);
  CHECK(master >= 0);
  say("named %d\n", strncmp(ptsname(master), "/dev/pts/", 9) == 0);
  SHOW(open(ptsname(master), O_RDWR | O_NOCTTY));
  CHECK(unlockpt(master) == 0);
  slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
  say("terminals %d %d\n", isatty(slave), isatty(master));
  say("idle %#x %#x\n", ready(master), ready(slave));
  SHOW(write(master, "typed\n", 6));
  show("slave reads", slave);
  show("master reads", master);
  SHOW(write(slave, "printed\n", 8));
  show("master reads", master);
  SHOW(write(master, "mistake\177\177e\025again\n", 17));
  show("slave reads", slave);
  drain();
  SHOW(write(master, "\004", 1));
  show("slave at the end", slave);
  struct termios settings;
  CHECK(tcgetattr(slave, &settings) == 0);
  cfmakeraw(&settings);
  CHECK(tcsetattr(slave, TCSANOW, &settings) == 0);
  SHOW(write(master, "raw\r\003", 5));
  show("slave reads", slave);
  struct winsize size = {30, 90, 0, 0};
  SHOW(ioctl(master, TIOCSWINSZ, &size));
  memset(&size, 0, sizeof size);
  SHOW(ioctl(slave, TIOCGWINSZ, &size));
  say("%d %d\n", size.ws_row, size.ws_col);
}

static void ends(void) {
  section("ends");
  drain();
  CHECK(write(slave, "last", 4) == 4);
  close(slave);
  say("without slave %#x\n", ready(master));
  show("master reads", master);
  show("master reads", master);
  slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
  say("again %#x\n", ready(master) & (POLLIN | POLLHUP));
  close(master);
  say("without master %#x\n", ready(slave) & (POLLIN | POLLHUP));
  show("slave reads", slave);
  SHOW(write(slave, "x", 1));
  close(slave);
}

static void on_signal(int number) { say("signal %d\n", number); }

static void sessions(void) {
  section("sessions");
  fresh();
  char name[50];
  snprintf(name, sizeof name, "%s", ptsname(master));
  pid_t child = fork();
  if (child == 0) {
    close(master);
    close(slave);
    setsid();
    slave = open(name, O_RDWR);
    catch_signal(SIGINT, on_signal, 0);
    catch_signal(SIGWINCH, on_signal, 0);
    catch_signal(SIGHUP, on_signal, 0);
    say("ours %d %d\n", tcgetpgrp(slave) == getpgrp(), tcgetsid(slave) == getsid(0));
    int own = open("/dev/tty", O_RDWR);
    CHECK(own >= 0);
    CHECK(write(own, "ready\n", 6) == 6);
    for (int i = 0; i < 2; i++) show("read", own);
    pause();
    show("after the end", own);
    _exit(7);
  }
  show("master reads", master);
  close(slave);
  struct timespec moment = {0, 100000000};
  nanosleep(&moment, NULL);
  CHECK(write(master, "\003", 1) == 1);
  nanosleep(&moment, NULL);
  struct winsize size = {31, 91, 0, 0};
  CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
  nanosleep(&moment, NULL);
  close(master);
  say_status("child", wait_for(child));
}

int main(void) {
  close_inherited();
  lines();
  ends();
  sessions();
  return finish();
}
