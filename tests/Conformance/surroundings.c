// SPDX-License-Identifier: Apache-2.0
// surroundings.c: what a program is told of the system: names, limits, /proc, /dev, random numbers, terminals.
//
// apus: compare: host
// apus: arguments: first second

#include "check.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <termios.h>

static char text[70000];

static ssize_t load(const char *path) {
  int file = open(path, O_RDONLY);
  if (file < 0) return -1;
  ssize_t size = 0, count;
  while ((count = read(file, text + size, sizeof text - 1 - (size_t)size)) > 0) size += count;
  close(file);
  text[size] = 0;
  return size;
}

static void names(void) {
  section("names and limits");
  struct utsname name;
  SHOW(uname(&name));
  say("%s %s\n", name.sysname, name.machine);
  CHECK(name.nodename[0] && name.release[0] >= '3' && name.version[0]);
  SHOW(uname(nowhere));
  CHECK(gethostname(text, sizeof text) == 0 && strcmp(text, name.nodename) == 0);
  SHOW(sysconf(_SC_PAGESIZE));
  SHOW(sysconf(_SC_CLK_TCK));
  SHOW(sysconf(_SC_ARG_MAX) >= 131072);
  SHOW(sysconf(_SC_OPEN_MAX) >= 256);
  SHOW(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
  SHOW(sysconf(_SC_PHYS_PAGES) > 1000);
  SHOW(pathconf(".", _PC_NAME_MAX));
  SHOW(pathconf(".", _PC_PIPE_BUF));
  static const int limits[] = {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC,
                               RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS};
  for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    struct rlimit limit;
    CHECK(getrlimit((enum __rlimit_resource)limits[i], &limit) == 0 && limit.rlim_cur <= limit.rlim_max);
  }
  struct rlimit limit = {123, 456};
  SHOW(setrlimit(RLIMIT_CORE, &limit));
  CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 123 && limit.rlim_max == 456);
  struct sysinfo info;
  SHOW(sysinfo(&info));
  CHECK(info.totalram > 0 && info.freeram <= info.totalram && info.uptime >= 0 && info.mem_unit > 0 && info.procs > 0);
  cpu_set_t processors;
  SHOW(sched_getaffinity(0, sizeof processors, &processors));
  CHECK(CPU_COUNT(&processors) >= 1);
  SHOW(sched_yield());
  SHOW(sched_getscheduler(0));
  SHOW(sched_get_priority_max(SCHED_FIFO));
  unsigned processor;
  SHOW(getcpu(&processor, NULL));
  SHOW(syscall(SYS_personality, 0xffffffff));
  SHOW(prctl(PR_GET_DUMPABLE));
  SHOW(prctl(9999));
  SHOW(syscall(100000));
}

static void randomness(void) {
  section("random numbers");
  unsigned char first[256], second[256];
  SHOW(getrandom(first, sizeof first, 0));
  SHOW(getrandom(second, sizeof second, GRND_NONBLOCK));
  CHECK(memcmp(first, second, sizeof first) != 0);
  int seen[256] = {0}, different = 0;
  for (int i = 0; i < 4096; i++) {
    CHECK(getrandom(first, 1, 0) == 1);
    different += !seen[first[0]]++;
  }
  SHOW(different > 240);
  SHOW(getrandom(nowhere, 10, 0));
  SHOW(getrandom(first, 10, 0xff00));
  pid_t child;
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(getrandom(first, 1, 0) == 1);
  if ((child = fork()) == 0) {
    CHECK(getrandom(second, 64, 0) == 64);
    _exit(write(ends[1], second, 64) == 64 ? 0 : 1);
  }
  CHECK(getrandom(first, 64, 0) == 64 && read(ends[0], second, 64) == 64);
  SHOW(memcmp(first, second, 64) != 0);
  wait_for(child);
  close(ends[0]);
  close(ends[1]);
}

static void devices(void) {
  section("devices");
  int file = open("/dev/null", O_RDWR);
  SHOW(write(file, "x", 1));
  SHOW(read(file, text, 10));
  SHOW(lseek(file, 100, SEEK_SET));
  SHOW(isatty(file));
  close(file);
  file = open("/dev/zero", O_RDWR);
  memset(text, 1, sizeof text);
  SHOW(read(file, text, 5000));
  CHECK(text[0] == 0 && text[4999] == 0 && text[5000] == 1);
  SHOW(write(file, text, 5000));
  char *large = malloc(3 << 20);
  SHOW(read(file, large, 3 << 20));
  free(large);
  close(file);
  file = open("/dev/full", O_RDWR);
  SHOW(read(file, text, 10));
  SHOW(write(file, "x", 1));
  close(file);
  static const char *sources[] = {"/dev/urandom", "/dev/random"};
  for (int i = 0; i < 2; i++) {
    file = open(sources[i], O_RDONLY);
    SHOW(read(file, text, 1000));
    int zeros = 0;
    for (int j = 0; j < 1000; j++) zeros += text[j] == 0;
    SHOW(zeros < 100);
    close(file);
  }
  file = open("/dev/urandom", O_RDONLY);
  large = malloc(1 << 20);
  SHOW(read(file, large, 1 << 20));
  free(large);
  close(file);
  SHOW(access("/dev/no-such-device", F_OK));
  SHOW(access("/dev/fd/0", F_OK));
  SHOW(readlink("/dev/stdin", text, sizeof text) > 0);
}

static void processes(char **words) {
  section("/proc");
  char own[32];
  snprintf(own, sizeof own, "%d", getpid());
  ssize_t size = readlink("/proc/self", text, sizeof text);
  CHECK(size == (ssize_t)strlen(own) && memcmp(text, own, (size_t)size) == 0);
  size = load("/proc/self/cmdline");
  int count = 0;
  for (ssize_t i = 0; i < size; i++) count += text[i] == 0;
  say("%d words, the last %s\n", count, text + size - 7);
  CHECK(strcmp(text, words[0]) == 0);
  CHECK(load("/proc/self/comm") > 0);
  say("%s", text);
  CHECK(load("/proc/self/stat") > 0 && atoi(text) == getpid());
  int parent = 0;
  char state = 0;
  CHECK(sscanf(strrchr(text, ')') + 1, " %c %d", &state, &parent) == 2 && parent == getppid());
  say("state %c\n", state);
  CHECK(load("/proc/self/status") > 0 && strstr(text, "Pid:\t") && strstr(text, "PPid:\t") && strstr(text, "Uid:\t0\t0\t0\t0"));
  CHECK(load("/proc/self/environ") >= 0);
  CHECK(load("/proc/self/maps") > 0 && strstr(text, "[stack]") && strstr(text, "surroundings"));
  CHECK(load("/proc/self/statm") > 0 && atoi(text) > 0);
  CHECK(load("/proc/meminfo") > 0 && strstr(text, "MemTotal:") && strstr(text, "MemFree:") && strstr(text, "MemAvailable:"));
  CHECK(load("/proc/uptime") > 0 && strtod(text, NULL) > 0 && strchr(text, ' '));
  CHECK(load("/proc/mounts") > 0 && strstr(text, " / "));
  CHECK(load("/proc/stat") > 0 && strncmp(text, "cpu ", 4) == 0);
  CHECK(load("/proc/loadavg") > 0 && strchr(text, '/'));
  CHECK(load("/proc/version") > 0 && strncmp(text, "Linux", 5) == 0);
  CHECK(load("/proc/cpuinfo") > 0 && strstr(text, "processor"));
  CHECK(load("/proc/filesystems") > 0);
  SHOW(load("/proc/no-such-file"));
  SHOW(open("/proc/self/stat", O_WRONLY) >= 0 || errno == EACCES);
  SHOW(mkdir("/proc/new", 0700) < 0);
  size = readlink("/proc/self/cwd", text, sizeof text - 1);
  char here[PATH_MAX];
  CHECK(getcwd(here, sizeof here) && size == (ssize_t)strlen(here) && memcmp(here, text, (size_t)size) == 0);
  SHOW(readlink("/proc/self/root", text, sizeof text));
  int ends[2];
  CHECK(pipe(ends) == 0);
  snprintf(own, sizeof own, "/proc/self/fd/%d", ends[0]);
  size = readlink(own, text, sizeof text - 1);
  text[size > 0 ? size : 0] = 0;
  say("%.6s\n", text);
  // What /proc/self/fd names can be opened again.
  snprintf(own, sizeof own, "/proc/self/fd/%d", ends[1]);
  int again = open(own, O_WRONLY);
  SHOW(write(again, "x", 1));
  SHOW(read(ends[0], text, 10));
  close(again);
  close(ends[0]);
  close(ends[1]);
  pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  snprintf(own, sizeof own, "/proc/%d/stat", child);
  SHOW(load(own) > 0);
  kill(child, SIGKILL);
  siginfo_t info;
  CHECK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
  CHECK(load(own) > 0 && strstr(text, ") Z "));
  wait_for(child);
  SHOW(load(own));
}

static void terminals(void) {
  section("no terminal");
  int ends[2];
  CHECK(pipe(ends) == 0);
  struct winsize size;
  struct termios settings;
  SHOW(isatty(0));
  SHOW(ioctl(ends[0], TIOCGWINSZ, &size));
  SHOW(ioctl(ends[0], TCGETS, &settings));
  SHOW(ioctl(ends[0], TIOCGPGRP, &size));
  SHOW(tcgetpgrp(ends[0]));
  SHOW(ioctl(ends[0], 0x1234, &size));
  SHOW(ttyname(ends[0]) == NULL);
  close(ends[0]);
  close(ends[1]);
}

int main(int count, char **words) {
  (void)count;
  close_inherited();
  names();
  randomness();
  devices();
  processes(words);
  terminals();
  return finish();
}
