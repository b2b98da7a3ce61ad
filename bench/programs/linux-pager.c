// SPDX-License-Identifier: Apache-2.0
// linux-pager.c: the twin of apps/pager: the same scan over more pages than there are frames, in Linux's ways.
//
// swap: a control group's memory limit and swap on a RAM disk (brd), which copies a page and does nothing else.
// swap-locked: the same, and what the program's own policy would keep is locked in memory (mlock).
// swap-generations: swap under the multi-generational LRU, which Debian builds and leaves off. It learns from the pages
// that come back, so it has more passes before those that count.
// userfaultfd: the program's own policy, by SIGBUS on the faulting thread, which is cheaper than a second thread.
// What the kernel does not have is left out.
#define _GNU_SOURCE
#include "linux.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { PAGES = 4864, FRAMES = 4096, HOT = 256, SCANNED = PAGES - HOT, WORDS = 8, SETTLING = 2, LEARNING = 12 };
// What the limit leaves beside the frames: page tables, and what the kernel charges ahead.
enum { SLACK = 128 };

static char *region;

static inline __attribute__((always_inline)) void visit(size_t page, uint64_t factor) {
  volatile uint64_t *words = (volatile uint64_t *)(region + page * PAGE);
  for (uint64_t word = 0; word < WORDS; word++) words[word] += (word + 1) * factor;
}

static uint64_t passes, sum;

// Visits each scanned page, and after each one of the hot ones.
static void pass(void) {
  passes++;
  sum += passes;
  for (size_t index = 0; index < SCANNED; index++) {
    visit(HOT + index, passes);
    visit((index * 97 + passes) % HOT, passes);
  }
}

static int is_right(void) {
  uint64_t hot = 0;
  for (size_t page = 0; page < PAGES; page++)
    for (size_t word = 0; word < WORDS; word++) {
      uint64_t value = ((uint64_t *)(region + page * PAGE))[word];
      if (page < HOT) hot += value;
      else if (value != (word + 1) * sum) return 0;
    }
  return hot == (uint64_t)SCANNED * 36 * sum;
}

static uint64_t faults_by_hand;
static uint64_t count_by_hand(void) { return faults_by_hand; }
static uint64_t count_major(void) {
  struct rusage usage;
  require(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
  return (uint64_t)usage.ru_majflt;
}

static void measure_passes(
    const char *metric, const char *faults_metric, unsigned settling, uint64_t (*count)(void)) {
  struct measurement instructions = {.name = "pager", .metric = metric};
  struct measurement faults = {.name = "pager", .metric = faults_metric};
  passes = sum = 0;
  for (unsigned round = 0; round < settling + samples; round++) {
    uint64_t before_faults = count();
    if (round >= settling) MARK_BEGIN;
    uint64_t before = counter();
    pass();
    uint64_t ticks = counter() - before;
    if (round < settling) continue;
    MARK_END;
    add_sample(&instructions, ticks, SCANNED);
    add_sample(&faults, (count() - before_faults) * 1000, SCANNED);
  }
  require(is_right(), "memory that is wrong");
  print_measurement(&instructions);
  print_measurement(&faults);
}

static void *map_pages(size_t pages) {
  void *mapped = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(mapped != MAP_FAILED, "mmap");
  madvise(mapped, pages * PAGE, MADV_NOHUGEPAGE);
  return mapped;
}

static int put(const char *path, const char *text) {
  int file = open(path, O_WRONLY);
  if (file < 0) return 0;
  ssize_t written = write(file, text, strlen(text));
  close(file);
  return written == (ssize_t)strlen(text);
}

// ---- swap ----

// A RAM disk for twice the pages, made a swap area (Linux, include/linux/swap.h, union swap_header).
static int swap_on_ram(void) {
  int module = open("/brd.ko", O_RDONLY);
  if (module < 0) return 0;
  long loaded = syscall(SYS_finit_module, module, "rd_nr=1 rd_size=40960", 0);
  close(module);
  if (loaded != 0 || (mknod("/ram", S_IFBLK | 0600, makedev(1, 0)) != 0)) return 0;
  static char header[PAGE];
  uint32_t *words = (uint32_t *)(header + 1024);
  words[0] = 1;
  words[1] = 2 * PAGES - 1;
  memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
  int disk = open("/ram", O_WRONLY);
  if (disk < 0) return 0;
  ssize_t written = write(disk, header, PAGE);
  fsync(disk);
  close(disk);
  // No reading ahead: it would bring pages of which each costs another.
  return written == PAGE && swapon("/ram", 0) == 0 && put("/proc/sys/vm/page-cluster", "0");
}

static int make_group(void) {
  mkdir("/groups", 0755);
  if (mount("none", "/groups", "cgroup2", 0, 0) != 0) return 0;
  char limit[32];
  snprintf(limit, sizeof limit, "%llu", (unsigned long long)(FRAMES + SLACK) * PAGE);
  return put("/groups/cgroup.subtree_control", "+memory") && mkdir("/groups/pager", 0755) == 0 &&
         put("/groups/pager/memory.max", limit);
}

static void measure_swap(const char *metric, const char *faults_metric, unsigned settling, size_t locked) {
  pid_t child = fork();
  if (child == 0) {
    require(put("/groups/pager/cgroup.procs", "0"), "control group");
    region = map_pages(PAGES);
    // The pages that stay: the hot ones, and the first that are scanned.
    if (locked > 0) require(mlock(region, locked * PAGE) == 0, "mlock");
    measure_passes(metric, faults_metric, settling, count_major);
    _exit(0);
  }
  finish_child(child);
}

// ---- userfaultfd ----

static int userfault;
static char *store;
static uint8_t is_there[PAGES];
static uint16_t scanned[PAGES];
static size_t used, scanned_count;

// The page that came last of those that are scanned goes; then this one comes.
static void bring(int signal, siginfo_t *information, void *context) {
  (void)signal, (void)context;
  size_t page = (size_t)((char *)information->si_addr - region) / PAGE;
  if (page >= PAGES || is_there[page]) _exit(1);
  faults_by_hand++;
  if (used < FRAMES) {
    used++;
  } else {
    size_t victim = scanned[--scanned_count];
    memcpy(store + victim * PAGE, region + victim * PAGE, PAGE);
    madvise(region + victim * PAGE, PAGE, MADV_DONTNEED);
    is_there[victim] = 0;
  }
  struct uffdio_copy copy = {
      .dst = (uint64_t)(region + page * PAGE), .src = (uint64_t)(store + page * PAGE), .len = PAGE};
  if (ioctl(userfault, UFFDIO_COPY, &copy) != 0) _exit(1);
  is_there[page] = 1;
  if (page >= HOT) scanned[scanned_count++] = (uint16_t)page;
}

static void measure_userfault(void) {
  userfault = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  if (userfault < 0) return;
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
  if (ioctl(userfault, UFFDIO_API, &api) != 0) return;
  region = map_pages(PAGES);
  store = map_pages(PAGES);
  memset(store, 0, (size_t)PAGES * PAGE);
  struct uffdio_register range = {
      .range = {.start = (uint64_t)region, .len = (uint64_t)PAGES * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  require(ioctl(userfault, UFFDIO_REGISTER, &range) == 0, "userfaultfd");
  install(SIGBUS, bring);
  measure_passes("userfaultfd", "userfaultfd-faults", SETTLING, count_by_hand);
}

void measure_pager(void) {
  // In a process of its own, as the others are.
  pid_t child = fork();
  if (child == 0) {
    measure_userfault();
    _exit(0);
  }
  finish_child(child);
  if (!swap_on_ram() || !make_group()) return;
  measure_swap("swap", "swap-faults", SETTLING, 0);
  // A part of the frames has to be left to what passes through.
  measure_swap("swap-locked", "swap-locked-faults", SETTLING, FRAMES - 256);
  mkdir("/sys", 0555);
  mount("none", "/sys", "sysfs", 0, 0);
  if (!put("/sys/kernel/mm/lru_gen/enabled", "y")) return;
  measure_swap("swap-generations", "swap-generations-faults", LEARNING, 0);
}
