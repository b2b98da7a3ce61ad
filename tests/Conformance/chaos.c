// SPDX-License-Identifier: Apache-2.0
// chaos.c: SIGKILL at random instants of a load of forks, pipes and programs; everything is reaped and given back.
//
// apus: compare: host
// apus: arguments: 1 200
// apus: long-arguments: 1 10000
// apus: timeout: 900
//
// usage: chaos SEED COUNT
//
// A worker leads a group of its own: it forks, connects its children by pipes, lets some of them become other
// programs, maps and touches memory, and waits, over and over. After a random number of loop turns the parent kills
// the worker alone or its whole group. All its processes hold a pipe to the parent open, so the pipe's end says that
// every one of them has gone.

#include "check.h"

#include <dirent.h>
#include <sched.h>
#include <sys/prctl.h>

static uint64_t seed;

// Shared by all: how many rounds the present worker has done.
static volatile long *rounds;

static uint64_t draw(uint64_t below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed % below;
}

static void spin(uint64_t turns) {
  for (volatile uint64_t i = 0; i < turns; i++) continue;
}

// What the children of a worker become: reads all of its input, writes half of it.
static int filter(void) {
  char bytes[4096];
  ssize_t count;
  while ((count = read(0, bytes, sizeof bytes)) > 0)
    if (write(1, bytes, (size_t)(count + 1) / 2) < 0) return 1;
  return 0;
}

// Two children connected by a pipe, one of them perhaps another program.
static void chain(void) {
  int ends[2], back[2];
  if (pipe(ends) < 0 || pipe(back) < 0) _exit(3);
  pid_t source = fork();
  if (source == 0) {
    char bytes[3000];
    memset(bytes, 's', sizeof bytes);
    close(ends[0]);
    close(back[0]);
    close(back[1]);
    for (int i = 0; i < 10; i++)
      if (write(ends[1], bytes, sizeof bytes) < 0) break;
    _exit(0);
  }
  int replaced = draw(2) == 0;
  // While a child of vfork is not yet another program, the worker waits and its ends of the pipes stay open.
  pid_t middle = replaced && draw(2) == 0 ? vfork() : fork();
  if (middle == 0) {
    if (dup2(ends[0], 0) < 0 || dup2(back[1], 1) < 0) _exit(4);
    for (int i = 3; i < 12; i++)
      if (i != 9) close(i);
    if (replaced) execl("/proc/self/exe", "chaos", "filter", NULL);
    _exit(filter());
  }
  close(ends[0]);
  close(ends[1]);
  close(back[1]);
  char bytes[4096];
  while (read(back[0], bytes, sizeof bytes) > 0) continue;
  close(back[0]);
  waitpid(source, NULL, 0);
  waitpid(middle, NULL, 0);
}

static void worker(uint64_t its_seed) {
  seed = its_seed | 1;
  setpgid(0, 0);
  // Orphans of a worker that is killed alone end with it.
  signal(SIGPIPE, SIG_DFL);
  for (;;) {
    chain();
    size_t size = (draw(64) + 1) * 4096;
    char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) _exit(5);
    for (size_t i = 0; i < size; i += 4096) area[i] = 1;
    pid_t child = fork();
    if (child == 0) {
      for (size_t i = 0; i < size; i += 8192) area[i] = 2;
      _exit(0);
    }
    munmap(area, size);
    waitpid(child, NULL, 0);
    char name[32];
    snprintf(name, sizeof name, "worker%d", getpid());
    int file = open(name, O_RDWR | O_CREAT, 0600);
    if (write(file, name, sizeof name) < 0) _exit(6);
    close(file);
    unlink(name);
    ++*rounds;
  }
}

// Descriptors that are open now.
static int open_count(void) {
  int count = 0;
  for (int i = 0; i < 64; i++) count += fcntl(i, F_GETFD) >= 0;
  return count;
}

// Processes of ours that /proc shows beside ourselves.
static int relatives(void) {
  DIR *all = opendir("/proc");
  if (!all) return 0;
  int count = 0;
  for (struct dirent *entry; (entry = readdir(all));) {
    int pid = atoi(entry->d_name), parent = 0;
    char path[300], text[512], *end;
    if (pid <= 0) continue;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    close(file);
    if (size <= 0) continue;
    text[size] = 0;
    if ((end = strrchr(text, ')')) && sscanf(end + 1, " %*c %d", &parent) == 1 && parent == getpid()) count++;
  }
  closedir(all);
  return count;
}

// Free memory in KiB. On a machine of its own, where nobody else takes any, it must not shrink.
static long free_memory(void) {
  char text[4096];
  int file = open("/proc/meminfo", O_RDONLY);
  ssize_t size = file < 0 ? 0 : read(file, text, sizeof text - 1);
  close(file);
  text[size > 0 ? size : 0] = 0;
  const char *line = strstr(text, "MemFree:");
  return line ? atol(line + 8) : 0;
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "filter") == 0) return filter();
  if (count != 3) return 2;
  close_inherited();
  uint64_t own_seed = strtoull(words[1], NULL, 10) * 0x9e3779b97f4a7c15 | 1;
  long kills = atol(words[2]), done = 0, groups = 0, total = 0;
  rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  // Orphans come to us, so that none is left over unseen.
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
  int before = open_count();
  // The first rounds let heaps and caches grow to what they need.
  long early = 0;
  for (; done < kills && failures == 0; done++) {
    if (done == kills / 2) early = free_memory();
    int gone[2];
    seed = own_seed;
    uint64_t its_seed = draw(UINT64_MAX), turns = draw(2) ? draw(20000) : draw(2000000);
    int whole_group = draw(2) == 0;
    long wanted = (long)draw(4);
    *rounds = 0;
    own_seed = seed;
    CHECK(pipe(gone) == 0);
    pid_t child = fork();
    if (child == 0) {
      dup2(gone[1], 9);
      close(gone[0]);
      close(gone[1]);
      worker(its_seed);
    }
    CHECK(child > 0);
    if (child < 0) break;
    setpgid(child, child);
    close(gone[1]);
    // Some die at once, some in the middle of their life; the rest of the way is counted in instructions.
    while (*rounds < wanted) sched_yield();
    spin(turns);
    total += *rounds;
    CHECK(kill(child, SIGKILL) == 0);
    if (whole_group) {
      groups++;
      killpg(child, SIGKILL);
    }
    int status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    // Those of its children that were left end by themselves or are killed now; none may hold the pipe for ever.
    killpg(child, SIGKILL);
    char byte;
    CHECK(read(gone[0], &byte, 1) == 0);
    close(gone[0]);
    while (wait(&status) > 0) continue;
    CHECK(errno == ECHILD);
  }
  CHECK(total >= done);
  CHECK(relatives() == 0);
  CHECK(open_count() == before);
  // We are the first process only where the machine was started for us.
  if (getpid() == 1) {
    CHECK(early > 0);
    CHECK(free_memory() >= early - 64);
  }
  // After all that, ordinary life goes on.
  seed = 1;
  for (int i = 0; i < 5; i++) chain();
  CHECK(wait(NULL) < 0);
  if (getenv("VERBOSE")) fprintf(stderr, "%ld rounds\n", total);
  say("%ld workers killed, %ld of them with their groups\n", done, groups);
  return finish();
}
