// SPDX-License-Identifier: Apache-2.0
// memory.c: mappings, protection, faults and their signals, copies after fork, the heap and the stack.
//
// apus: compare: host
// apus: timeout: 600

#include "check.h"

#include <limits.h>
#include <setjmp.h>
#include <sys/resource.h>

enum { PAGE = 4096 };

static sigjmp_buf back;
static volatile uintptr_t fault_address;
static volatile int fault_signal, fault_code;

static void on_fault(int number, siginfo_t *info, void *context) {
  (void)context;
  fault_signal = number;
  fault_code = info->si_code;
  fault_address = (uintptr_t)info->si_addr;
  siglongjmp(back, 1);
}

// Touches a byte and says what came of it, with the address relative to `base`.
static void probe(const char *what, volatile char *at, int writes, const void *base) {
  if (sigsetjmp(back, 1) == 0) {
    if (writes) *at = 1;
    else (void)*at;
    say("%s: fine\n", what);
  } else {
    say("%s: signal %d, code %d, offset %ld\n", what, fault_signal, fault_code, (long)(fault_address - (uintptr_t)base));
  }
}

static char *map(size_t size, int protection, int flags) {
  char *where = mmap(NULL, size, protection, MAP_ANONYMOUS | flags, -1, 0);
  CHECK(where != MAP_FAILED);
  return where;
}

static int is_zero(const char *from, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (from[i] != 0) return 0;
  return 1;
}

static void anonymous(void) {
  section("anonymous mappings");
  char *area = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  CHECK(((uintptr_t)area & (PAGE - 1)) == 0);
  CHECK(is_zero(area, 16 * PAGE));
  memset(area, 7, 16 * PAGE);
  SHOW(munmap(area + 4 * PAGE, PAGE));
  probe("a hole", area + 4 * PAGE + 5, 0, area);
  probe("before it", area + 4 * PAGE - 1, 1, area);
  probe("behind it", area + 5 * PAGE, 1, area);
  CHECK(area[3 * PAGE] == 7 && area[6 * PAGE] == 7);
  SHOW(mmap(area + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area + 4 * PAGE);
  CHECK(is_zero(area + 4 * PAGE, PAGE));
  SHOW(mmap(area, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
  CHECK(area[0] == 7);
  SHOW(mmap(area + 2 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area + 2 * PAGE);
  CHECK(is_zero(area + 2 * PAGE, 3 * PAGE) && area[2 * PAGE - 1] == 7 && area[5 * PAGE] == 1);
  SHOW(munmap(area, 16 * PAGE));
  SHOW(munmap(area, 16 * PAGE));
  SHOW(munmap(area + 1, PAGE));
  SHOW(munmap(area, 0));
  SHOW((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  SHOW((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
  SHOW((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
  SHOW((long)mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  char *hint = area;
  SHOW(mmap(hint, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == hint);
  SHOW(munmap(hint, PAGE));
  char *large = map(1ul << 32, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
  large[1ul << 31] = 1;
  CHECK(large[0] == 0 && large[(1ul << 31) + 1] == 0);
  SHOW(munmap(large, 1ul << 32));
}

static void protection(void) {
  section("protection");
  char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  area[0] = 'a';
  SHOW(mprotect(area, PAGE, PROT_READ));
  probe("read what is read-only", area, 0, area);
  probe("write what is read-only", area + 3, 1, area);
  SHOW(mprotect(area + PAGE, PAGE, PROT_NONE));
  probe("read what nobody may", area + PAGE, 0, area);
  probe("the page after", area + 2 * PAGE, 1, area);
  SHOW(mprotect(area, 4 * PAGE, PROT_READ | PROT_WRITE));
  probe("write again", area, 1, area);
  probe("write where nobody could", area + PAGE, 1, area);
  CHECK(area[0] == 1);
  SHOW(mprotect(area + 1, PAGE, PROT_READ));
  SHOW(munmap(area + 3 * PAGE, PAGE));
  SHOW(mprotect(area, 4 * PAGE, PROT_READ));
  probe("no address", NULL, 0, NULL);
  if (sigsetjmp(back, 1) == 0) {
    *(volatile char *)0x8000000000000000ul = 1;
  } else {
    say("no canonical address: signal %d, code %d, address %lx\n", fault_signal, fault_code, (long)fault_address);
  }
  probe("the kernel's half", (char *)0xffff800000000000ul, 0, (void *)0xffff800000000000ul);
  static const unsigned char returns_42[] = {0xb8, 42, 0, 0, 0, 0xc3};
  char *code = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memcpy(code, returns_42, sizeof returns_42);
  if (sigsetjmp(back, 1) == 0) say("runs: %d\n", ((int (*)(void))code)());
  else say("runs data: signal %d, code %d, offset %ld\n", fault_signal, fault_code, (long)(fault_address - (uintptr_t)code));
  SHOW(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
  say("runs: %d\n", ((int (*)(void))code)());
  probe("write to code", code, 1, code);
}

static void copies(void) {
  section("after fork");
  char *own = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  char *both = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
  for (int i = 0; i < 4; i++) own[i * PAGE] = both[i * PAGE] = (char)('a' + i);
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 4; i++) CHECK(own[i * PAGE] == 'a' + i);
    for (int i = 0; i < 8; i++) own[i * PAGE] = 'x', both[i * PAGE] = (char)('A' + i);
    pid_t grandchild = fork();
    if (grandchild == 0) {
      for (int i = 0; i < 8; i++) CHECK(own[i * PAGE] == 'x');
      own[0] = 'y';
      both[7 * PAGE] = 'z';
      _exit(failures);
    }
    CHECK(wait_for(grandchild) == 0 && own[0] == 'x');
    _exit(failures);
  }
  say_status("child", wait_for(child));
  for (int i = 0; i < 8; i++) say("%d%d ", own[i * PAGE], both[i * PAGE]);
  say("\n");
  // A page that a parent changes first is still the old one in the child.
  int pair[2];
  char byte;
  CHECK(pipe(pair) == 0);
  own[0] = 1;
  if ((child = fork()) == 0) {
    CHECK(read(pair[0], &byte, 1) == 1);
    _exit(own[0]);
  }
  own[0] = 2;
  CHECK(write(pair[1], "x", 1) == 1);
  say_status("the child's copy", wait_for(child));
  // The kernel writes into pages that are shared copy-on-write.
  if ((child = fork()) == 0) {
    CHECK(write(pair[1], "q", 1) == 1);
    CHECK(read(pair[0], own, 1) == 1);
    _exit(own[0] == 'q' ? 0 : 1);
  }
  say_status("a call writes into the child's copy", wait_for(child));
  CHECK(own[0] == 2);
  SHOW(mprotect(own, PAGE, PROT_READ));
  SHOW(read(pair[0], own, 0));
  CHECK(write(pair[1], "q", 1) == 1);
  SHOW(read(pair[0], own, 1));
  SHOW(write(pair[1], nowhere, 1));
  SHOW(read(pair[0], (void *)0xffff800000000000ul, 1));
  close(pair[0]);
  close(pair[1]);
}

static void moving(void) {
  section("mremap");
  char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  for (int i = 0; i < 4; i++) area[i * PAGE] = (char)i;
  SHOW(mremap(area, 4 * PAGE, 2 * PAGE, 0) == area);
  probe("cut off", area + 2 * PAGE, 0, area);
  char *wall = mmap(area + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(wall == area + 2 * PAGE);
  SHOW(mremap(area, 2 * PAGE, 8 * PAGE, 0) == MAP_FAILED && errno == ENOMEM);
  char *moved = mremap(area, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
  CHECK(moved != MAP_FAILED && moved != area);
  CHECK(moved[0] == 0 && moved[PAGE] == 1 && is_zero(moved + 2 * PAGE, 6 * PAGE));
  probe("the old place", area, 0, area);
  char *target = map(8 * PAGE, PROT_READ, MAP_PRIVATE);
  SHOW(mremap(moved, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
  CHECK(target[PAGE] == 1);
  probe("writable there", target + PAGE, 1, target);
  SHOW(mremap(moved, PAGE, PAGE, 0) == MAP_FAILED && errno == EFAULT);
  SHOW(munmap(target, 8 * PAGE));
}

static void heap(void) {
  section("brk");
  char *start = sbrk(0);
  CHECK(sbrk(3 * PAGE + 100) == start);
  CHECK(is_zero(start, 3 * PAGE + 100));
  memset(start, 1, 3 * PAGE + 100);
  CHECK(sbrk(0) == start + 3 * PAGE + 100);
  SHOW(brk(start));
  CHECK(sbrk(0) == start);
  CHECK(sbrk(8 * PAGE) == start);
  char *first_page = (char *)(((uintptr_t)start + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
  SHOW(is_zero(first_page, 4 * PAGE));
  long before = syscall(SYS_brk, 0);
  SHOW(syscall(SYS_brk, 1) == before);
  // A large allocation and its return.
  char *large = malloc(32 << 20);
  memset(large, 5, 32 << 20);
  CHECK(large[(32 << 20) - 1] == 5);
  free(large);
  char *grown = malloc(1000);
  for (size_t size = 1000; size < 8 << 20; size *= 2) {
    memset(grown, (int)(size & 127), size);
    grown = realloc(grown, size * 2);
    CHECK(grown && grown[size - 1] == (char)(size & 127));
  }
  free(grown);
}

static void files(void) {
  section("file mappings");
  int file = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
  char text[2 * PAGE];
  for (unsigned i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 23);
  CHECK(write(file, text, PAGE + 100) == PAGE + 100);
  char *own = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  char *both = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, PAGE);
  CHECK(own != MAP_FAILED && both != MAP_FAILED && second != MAP_FAILED);
  CHECK(memcmp(own, text, PAGE + 100) == 0 && is_zero(own + PAGE + 100, PAGE - 100));
  CHECK(memcmp(second, text + PAGE, 100) == 0);
  own[0] = '1';
  both[1] = '2';
  both[PAGE] = '3';
  SHOW(msync(both, 2 * PAGE, MS_SYNC));
  char start[4] = "";
  SHOW(pread(file, start, 3, 0));
  say("the file: %s, private: %.3s, shared: %.3s, second: %.1s\n", start, own, both, second);
  CHECK(pwrite(file, "W", 1, 2) == 1);
  CHECK(both[2] == 'W');
  probe("past the end", both + 2 * PAGE, 0, both);
  probe("past the end, private", own + 2 * PAGE + 1, 1, own);
  CHECK(ftruncate(file, 3 * PAGE) == 0);
  probe("grown", both + 2 * PAGE, 1, both);
  pid_t child = fork();
  if (child == 0) {
    both[5] = 'C';
    own[5] = 'P';
    _exit(0);
  }
  wait_for(child);
  CHECK(both[5] == 'C' && own[5] != 'P');
  // A mapping outlives its descriptor and its name.
  CHECK(close(file) == 0 && unlink("mapped") == 0);
  CHECK(both[5] == 'C');
  both[6] = 'D';
  CHECK(munmap(both, 3 * PAGE) == 0 && munmap(own, 3 * PAGE) == 0);
  file = open("read-only", O_RDONLY | O_CREAT, 0600);
  SHOW((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  SHOW_DONE((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) == -1 ? -1 : 0);
  SHOW((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 5));
  SHOW((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0));
  char *nothing = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
  probe("a mapping of an empty file", nothing, 0, nothing);
  close(file);
  file = open("write-only", O_WRONLY | O_CREAT, 0600);
  SHOW((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
  close(file);
  unlink("read-only");
  unlink("write-only");
  file = open("/dev/zero", O_RDWR);
  char *zeros = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  CHECK(zeros != MAP_FAILED && zeros[17] == 0);
  zeros[17] = 1;
  close(file);
}

// Uses some kilobytes of stack at each depth.
__attribute__((noinline)) static int descend(int depth) {
  volatile char space[8000];
  space[0] = (char)depth;
  space[7999] = 1;
  return depth == 0 ? 0 : descend(depth - 1) + space[7999] + (space[0] - (char)depth);
}

#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) static int forever(volatile int *depth) {
  volatile char space[4000];
  space[1] = 1;
  ++*depth;
  return forever(depth) + space[1];
}

static void stack(void) {
  section("stack");
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
  SHOW(limit.rlim_cur >= 8 << 20);
  SHOW(descend(500));
  pid_t child = fork();
  if (child == 0) {
    stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
    CHECK(sigaltstack(&other, NULL) == 0);
    catch_signal_info(SIGSEGV, on_fault, SA_ONSTACK);
    volatile int depth = 0;
    if (sigsetjmp(back, 1) == 0) forever(&depth);
    say("overflow: signal %d after enough calls: %d\n", fault_signal, depth > 1500);
    _exit(failures);
  }
  say_status("child", wait_for(child));
  catch_signal(SIGSEGV, SIG_DFL, 0);
  volatile int depth = 0;
  IN_CHILD("overflow without a second stack", forever(&depth));
  catch_signal_info(SIGSEGV, on_fault, 0);
}

static void advice(void) {
  section("advice and locks");
  char *area = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memset(area, 3, 4 * PAGE);
  SHOW(madvise(area, 2 * PAGE, MADV_DONTNEED));
  CHECK(is_zero(area, 2 * PAGE) && area[2 * PAGE] == 3);
  SHOW(madvise(area, PAGE, MADV_WILLNEED));
  SHOW(madvise(area + 1, PAGE, MADV_DONTNEED));
  SHOW(madvise(area, PAGE, 9999));
  SHOW(mlock(area, PAGE));
  SHOW(munlock(area, PAGE));
  unsigned char there[4];
  SHOW(mincore(area + 2 * PAGE, 2 * PAGE, there));
  CHECK(there[0] & 1);
  CHECK(munmap(area, 4 * PAGE) == 0);
}

int main(void) {
  catch_signal_info(SIGSEGV, on_fault, 0);
  catch_signal_info(SIGBUS, on_fault, 0);
  anonymous();
  protection();
  copies();
  moving();
  heap();
  files();
  stack();
  advice();
  return finish();
}
