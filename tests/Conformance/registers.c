// SPDX-License-Identifier: Apache-2.0
// registers.c: a program finds in its registers what it left there, whatever comes between.
//
// apus: compare: host
// apus: timeout: 600
//
// Patterns stand in all general registers, the flags, the x87 stack, MXCSR and the vector registers, across system
// calls, page faults, exceptions with handlers, signals, preemption and fork.

#include "check.h"

#include <cpuid.h>
#include <sched.h>
#include <sys/time.h>
#include <ucontext.h>

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15, GENERAL };

// The layout is known to the assembly below.
struct state {
  uint64_t general[GENERAL];
  uint64_t flags;
  uint32_t mxcsr;
  uint16_t x87_control;
  uint16_t padding;
  uint8_t x87[8][16];
  uint8_t vectors[16][32];
  uint8_t x87_image[112];
};

struct state wanted __attribute__((aligned(64)));
struct state found __attribute__((aligned(64)));
uint64_t has_avx;
uint64_t own_stack;

// hold_NAME loads everything from `wanted`, does one thing, and stores everything into `found`. The stack pointer
// alone is the program's own. Nothing between load and store changes the flags, the spinning loop included.
void hold_spin(void);
void hold_call(void);
void hold_touch(void);
void hold_breakpoint(void);
void hold_undefined(void);
void hold_divide(void);

__asm__(
    ".macro LOAD\n"
    "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "  sub $8, %rsp\n"
    "  mov %rsp, own_stack(%rip)\n"
    "  fninit\n"
    "  fldcw wanted+140(%rip)\n"
    "  fldt wanted+144+16*0(%rip); fldt wanted+144+16*1(%rip); fldt wanted+144+16*2(%rip)\n"
    "  fldt wanted+144+16*3(%rip); fldt wanted+144+16*4(%rip); fldt wanted+144+16*5(%rip)\n"
    "  fldt wanted+144+16*6(%rip); fldt wanted+144+16*7(%rip)\n"
    "  ldmxcsr wanted+136(%rip)\n"
    "  cmpq $0, has_avx(%rip)\n"
    "  je 1f\n"
    "  .set n, 0\n"
    "  .irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    vmovdqu wanted+272+32*n(%rip), %ymm\\r\n"
    "    .set n, n+1\n"
    "  .endr\n"
    "  jmp 2f\n"
    "1:\n"
    "  .set n, 0\n"
    "  .irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    movdqu wanted+272+32*n(%rip), %xmm\\r\n"
    "    .set n, n+1\n"
    "  .endr\n"
    "2:\n"
    "  pushq wanted+128(%rip)\n"
    "  popfq\n"
    "  mov wanted+8*0(%rip), %rax; mov wanted+8*1(%rip), %rbx; mov wanted+8*2(%rip), %rcx\n"
    "  mov wanted+8*3(%rip), %rdx; mov wanted+8*4(%rip), %rsi; mov wanted+8*5(%rip), %rdi\n"
    "  mov wanted+8*6(%rip), %rbp\n"
    "  mov wanted+8*8(%rip), %r8; mov wanted+8*9(%rip), %r9; mov wanted+8*10(%rip), %r10\n"
    "  mov wanted+8*11(%rip), %r11; mov wanted+8*12(%rip), %r12; mov wanted+8*13(%rip), %r13\n"
    "  mov wanted+8*14(%rip), %r14; mov wanted+8*15(%rip), %r15\n"
    ".endm\n"
    ".macro STORE\n"
    "  mov %rax, found+8*0(%rip); mov %rbx, found+8*1(%rip); mov %rcx, found+8*2(%rip)\n"
    "  mov %rdx, found+8*3(%rip); mov %rsi, found+8*4(%rip); mov %rdi, found+8*5(%rip)\n"
    "  mov %rbp, found+8*6(%rip); mov %rsp, found+8*7(%rip)\n"
    "  mov %r8, found+8*8(%rip); mov %r9, found+8*9(%rip); mov %r10, found+8*10(%rip)\n"
    "  mov %r11, found+8*11(%rip); mov %r12, found+8*12(%rip); mov %r13, found+8*13(%rip)\n"
    "  mov %r14, found+8*14(%rip); mov %r15, found+8*15(%rip)\n"
    "  mov own_stack(%rip), %rsp\n"
    "  pushfq\n"
    "  popq found+128(%rip)\n"
    "  cld\n"
    "  stmxcsr found+136(%rip)\n"
    "  cmpq $0, has_avx(%rip)\n"
    "  je 1f\n"
    "  .set n, 0\n"
    "  .irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    vmovdqu %ymm\\r, found+272+32*n(%rip)\n"
    "    .set n, n+1\n"
    "  .endr\n"
    "  vzeroupper\n"
    "  jmp 2f\n"
    "1:\n"
    "  .set n, 0\n"
    "  .irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
    "    movdqu %xmm\\r, found+272+32*n(%rip)\n"
    "    .set n, n+1\n"
    "  .endr\n"
    "2:\n"
    "  fnsave found+784(%rip)\n"
    "  fninit\n"
    "  push $0x1f80\n"
    "  ldmxcsr (%rsp)\n"
    "  add $16, %rsp\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "  ret\n"
    ".endm\n"
    ".text\n"
    ".globl hold_spin\nhold_spin:\n LOAD\n"
    // lea and jrcxz leave the flags alone.
    "3: lea -1(%rcx), %rcx; jrcxz 4f; jmp 3b\n4:\n STORE\n"
    ".globl hold_call\nhold_call:\n LOAD\n syscall\n STORE\n"
    ".globl hold_touch\nhold_touch:\n LOAD\n movb $1, (%rdx)\n STORE\n"
    ".globl hold_breakpoint\nhold_breakpoint:\n LOAD\n int3\n STORE\n"
    ".globl hold_undefined\nhold_undefined:\n LOAD\n ud2\n STORE\n"
    // The handler puts 1 into the divisor; the division itself changes rax, rdx and perhaps flags.
    ".globl hold_divide\nhold_divide:\n LOAD\n div %r8\n STORE\n");

_Static_assert(__builtin_offsetof(struct state, flags) == 128, "known to the assembly");
_Static_assert(__builtin_offsetof(struct state, mxcsr) == 136, "known to the assembly");
_Static_assert(__builtin_offsetof(struct state, x87_control) == 140, "known to the assembly");
_Static_assert(__builtin_offsetof(struct state, x87) == 144, "known to the assembly");
_Static_assert(__builtin_offsetof(struct state, vectors) == 272, "known to the assembly");
_Static_assert(__builtin_offsetof(struct state, x87_image) == 784, "known to the assembly");

static uint64_t next_pattern(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

static void fill(uint64_t seed) {
  seed = seed * 0x9e3779b97f4a7c15 + 1;
  memset(&found, 0, sizeof found);
  for (int i = 0; i < GENERAL; i++) wanted.general[i] = next_pattern(&seed);
  // Carry, parity, adjust, zero, sign, direction, overflow and identification, all or every other of them; bit 1 is
  // always set and interrupts are always on in ring 3.
  uint64_t choice = next_pattern(&seed);
  wanted.flags = (choice & (0x8d5 | 0x400 | 0x200000)) | 0x202;
  wanted.mxcsr = 0x1f80 | ((choice >> 20 & 3) << 13) | (choice >> 22 & 1) << 15 | (choice >> 23 & 0x3f);
  wanted.x87_control = 0x37f ^ (uint16_t)((choice >> 32 & 3) << 10);
  for (int i = 0; i < 8; i++) {
    // Normal numbers: their leading bit is set and their exponent is neither 0 nor the largest.
    uint64_t mantissa = next_pattern(&seed) | 1ull << 63;
    uint16_t exponent = (uint16_t)(0x3f00 + (next_pattern(&seed) & 0xff)) | (uint16_t)((i & 1) << 15);
    memcpy(wanted.x87[i], &mantissa, 8);
    memcpy(wanted.x87[i] + 8, &exponent, 2);
  }
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 4; j++) {
      uint64_t part = next_pattern(&seed);
      memcpy(wanted.vectors[i] + 8 * j, &part, 8);
    }
}

// Compares all but the general registers in `except`, a set of bits, and the arithmetic flags if those changed.
static int kept(uint64_t except, int flags_too) {
  static const char *names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  int before = failures;
  for (int i = 0; i < GENERAL; i++) {
    uint64_t value = i == RSP ? own_stack : wanted.general[i];
    if (!(except >> i & 1) && found.general[i] != value) {
      failures++;
      say("FAIL %s changed\n", names[i]);
    }
  }
  if (flags_too && found.flags != wanted.flags) {
    failures++;
    say("FAIL flags changed: wanted %#lx, found %#lx\n", wanted.flags, found.flags);
  }
  if (found.mxcsr != wanted.mxcsr) {
    failures++;
    say("FAIL MXCSR changed: wanted %#x, found %#x\n", wanted.mxcsr, found.mxcsr);
  }
  uint16_t control, status, tags;
  memcpy(&control, found.x87_image, 2);
  memcpy(&status, found.x87_image + 4, 2);
  memcpy(&tags, found.x87_image + 8, 2);
  // Eight loads turn the stack's top round to 0; all tags say valid.
  if (control != wanted.x87_control || (status & 0x3800) != 0 || tags != 0) {
    failures++;
    say("FAIL x87 control, status or tags: %#x %#x %#x\n", control, status, tags);
  }
  for (int i = 0; i < 8; i++)
    if (memcmp(found.x87_image + 28 + 10 * i, wanted.x87[7 - i], 10) != 0) {
      failures++;
      say("FAIL st(%d) changed\n", i);
    }
  for (int i = 0; i < 16; i++)
    if (memcmp(found.vectors[i], wanted.vectors[i], has_avx ? 32 : 16) != 0) {
      failures++;
      say("FAIL vector register %d changed\n", i);
    }
  return failures == before;
}

static void tell(const char *what, int good) { say("%s: %s\n", what, good ? "kept" : "CHANGED"); }

// What a handler does to registers that it has no duty to keep. Its own floating-point state starts fresh or is the
// program's, but must come back whole.
static void disturb(void) {
  __asm__ volatile(
      "fninit; fldpi; fldpi; fldpi\n"
      "pcmpeqd %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pcmpeqd %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15\n"
      "push $0x7f80; ldmxcsr (%%rsp); add $8, %%rsp\n" ::: "memory", "cc", "xmm0", "xmm1", "xmm7", "xmm15");
  if (has_avx)
    __asm__ volatile("vxorps %%ymm2, %%ymm2, %%ymm2; vxorps %%ymm14, %%ymm14, %%ymm14" ::: "xmm2", "xmm14");
}

static volatile sig_atomic_t handled;
static volatile sig_atomic_t last_code;
static uint8_t *area;

static void on_trap(int number, siginfo_t *info, void *context) {
  ucontext_t *where = context;
  disturb();
  handled++;
  last_code = info->si_code;
  if (number == SIGILL) where->uc_mcontext.gregs[REG_RIP] += 2;
  if (number == SIGFPE) where->uc_mcontext.gregs[REG_R8] = 1;
  if (number == SIGSEGV) CHECK(mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE) == 0);
}

static int nested;

static void on_inner(int number) {
  (void)number;
  disturb();
  handled++;
}

static void on_outer(int number) {
  (void)number;
  disturb();
  if (nested) raise(SIGUSR2);
  handled++;
}

static void on_tick(int number) {
  (void)number;
  disturb();
  handled++;
}

static void calls(void) {
  section("system calls");
  int good = 1;
  long numbers[] = {SYS_getppid, SYS_getpid, 9999, SYS_sched_yield, SYS_gettid};
  for (int i = 0; i < 50; i++) {
    fill(i + 1);
    wanted.general[RAX] = numbers[i % 5];
    hold_call();
    // The instruction itself takes rcx and r11, the call returns in rax.
    good &= kept(1 << RAX | 1 << RCX | 1 << R11, 1);
    if (i % 5 == 2) CHECK((long)found.general[RAX] == -ENOSYS);
    if (i % 5 == 0) CHECK((long)found.general[RAX] == getppid());
  }
  tell("across calls", good);
  int pair[2];
  CHECK(pipe(pair) == 0);
  fill(77);
  pid_t child = fork();
  if (child == 0) {
    close(pair[0]);
    for (int i = 0; i < 5; i++) sched_yield();
    CHECK(write(pair[1], "x", 1) == 1);
    _exit(0);
  }
  char byte = 0;
  wanted.general[RAX] = SYS_read;
  wanted.general[RDI] = pair[0];
  wanted.general[RSI] = (uintptr_t)&byte;
  wanted.general[RDX] = 1;
  hold_call();
  CHECK(found.general[RAX] == 1 && byte == 'x');
  tell("across a call that waits", kept(1 << RAX | 1 << RCX | 1 << R11, 1));
  wait_for(child);
}

static void faults(void) {
  section("page faults");
  int good = 1;
  area = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 64; i++) {
    fill(100 + i);
    wanted.general[RDX] = (uintptr_t)area + 4096 * i + 17 * i;
    hold_touch();
    good &= kept(0, 1);
    CHECK(area[4096 * i + 17 * i] == 1);
  }
  tell("first touch", good);
  good = 1;
  pid_t child = fork();
  for (int i = 0; i < 64; i++) {
    fill(200 + i);
    wanted.general[RDX] = (uintptr_t)area + 4096 * i + 9;
    hold_touch();
    good &= kept(0, 1);
  }
  if (child == 0) _exit(good ? 0 : 1);
  say_status("touch after fork, in the child", wait_for(child));
  tell("touch after fork", good);
  good = 1;
  for (int i = 0; i < 16; i++) {
    CHECK(mprotect(area, 4096, PROT_READ) == 0);
    fill(300 + i);
    wanted.general[RDX] = (uintptr_t)area;
    hold_touch();
    good &= kept(0, 1);
  }
  CHECK(handled == 16);
  tell("protection fault with a handler", good);
}

static void exceptions(void) {
  section("exceptions");
  handled = 0;
  int good = 1;
  for (int i = 0; i < 20; i++) {
    fill(400 + i);
    hold_breakpoint();
    good &= kept(0, 1);
  }
  say("breakpoints handled: %d, code %d\n", (int)handled, (int)last_code);
  tell("breakpoint", good);
  good = 1;
  for (int i = 0; i < 20; i++) {
    fill(500 + i);
    hold_undefined();
    good &= kept(0, 1);
  }
  say("undefined instructions handled: %d, code %d\n", (int)handled, (int)last_code);
  tell("undefined instruction", good);
  good = 1;
  for (int i = 0; i < 20; i++) {
    fill(600 + i);
    wanted.general[R8] = 0;
    wanted.general[RDX] = 0;
    hold_divide();
    good &= kept(1 << RAX | 1 << RDX | 1 << R8, 0);
    CHECK(found.general[RAX] == wanted.general[RAX] && found.general[RDX] == 0 && found.general[R8] == 1);
  }
  say("divisions handled: %d, code %d\n", (int)handled, (int)last_code);
  tell("division by zero", good);
}

static void signals(void) {
  section("signals");
  catch_signal(SIGUSR1, on_outer, SA_ONSTACK);
  catch_signal(SIGUSR2, on_inner, 0);
  catch_signal(SIGALRM, on_tick, SA_RESTART);
  int good = 1;
  for (nested = 0; nested < 2; nested++) {
    handled = 0;
    for (int i = 0; i < 20; i++) {
      fill(700 + i);
      wanted.general[RAX] = SYS_kill;
      wanted.general[RDI] = getpid();
      wanted.general[RSI] = SIGUSR1;
      hold_call();
      CHECK(found.general[RAX] == 0);
      good &= kept(1 << RAX | 1 << RCX | 1 << R11, 1);
    }
    say("handled: %d\n", (int)handled);
    tell(nested ? "nested handlers" : "a handler", good);
  }
  handled = 0;
  good = 1;
  struct itimerval every = {{0, 1000}, {0, 1000}};
  CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
  for (int i = 0; handled < 20; i++) {
    fill(800 + i);
    wanted.general[RCX] = 200000;
    hold_spin();
    wanted.general[RCX] = 0;
    good &= kept(0, 1);
  }
  struct itimerval none = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
  tell("signals at any instruction", good);
}

static void preemption(void) {
  section("preemption");
  pid_t children[3];
  // Four processes, each with patterns of its own, share the processor for long enough to be switched many times.
  for (int i = 0; i < 3; i++)
    if ((children[i] = fork()) == 0) {
      int good = 1;
      for (int j = 0; j < 30; j++) {
        fill(10000 * (i + 1) + j);
        wanted.general[RCX] = 500000;
        hold_spin();
        wanted.general[RCX] = 0;
        good &= kept(0, 1);
      }
      _exit(good ? 0 : 1);
    }
  int good = 1;
  for (int j = 0; j < 30; j++) {
    fill(900 + j);
    wanted.general[RCX] = 500000;
    hold_spin();
    wanted.general[RCX] = 0;
    good &= kept(0, 1);
  }
  for (int i = 0; i < 3; i++) say_status("a neighbour", wait_for(children[i]));
  tell("across switches", good);
}

static void forking(void) {
  section("fork");
  int good = 1;
  for (int i = 0; i < 10; i++) {
    fill(5000 + i);
    wanted.general[RAX] = SYS_fork;
    hold_call();
    int whole = kept(1 << RAX | 1 << RCX | 1 << R11, 1);
    if (found.general[RAX] == 0) _exit(whole ? 33 : 1);
    int status = wait_for((pid_t)found.general[RAX]);
    good &= whole && WIFEXITED(status) && WEXITSTATUS(status) == 33;
  }
  tell("in parent and child", good);
}

int main(void) {
  unsigned a, b, c, d;
  __cpuid(1, a, b, c, d);
  has_avx = (c & bit_AVX) && (c & bit_OSXSAVE);
  stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
  CHECK(sigaltstack(&other, NULL) == 0);
  catch_signal_info(SIGTRAP, on_trap, SA_ONSTACK);
  catch_signal_info(SIGILL, on_trap, 0);
  catch_signal_info(SIGFPE, on_trap, SA_ONSTACK);
  catch_signal_info(SIGSEGV, on_trap, SA_NODEFER);
  calls();
  faults();
  exceptions();
  signals();
  preemption();
  forking();
  return finish();
}
