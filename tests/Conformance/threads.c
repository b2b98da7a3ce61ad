// SPDX-License-Identifier: Apache-2.0
// threads.c: POSIX threads: mutexes, conditions, thread-local data, futexes, signals and the end of a threaded process.
//
// apus: compare: host
// apus: flags: -O1 -pthread
// apus: timeout: 600

#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

static __thread int own = 5;
static __thread char own_block[3000];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static long counter;
static volatile int turn;

static void *count_up(void *argument) {
  CHECK(own == 5 && own_block[2999] == 0);
  own = (int)(intptr_t)argument;
  memset(own_block, own, sizeof own_block);
  for (int i = 0; i < 10000; i++) {
    pthread_mutex_lock(&mutex);
    counter++;
    pthread_mutex_unlock(&mutex);
    if (i % 1000 == 0) sched_yield();
  }
  CHECK(own == (int)(intptr_t)argument && own_block[1500] == own);
  return (void *)(intptr_t)(own * 2);
}

static void basics(void) {
  section("threads");
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, count_up, (void *)(intptr_t)(i + 1)) == 0);
  long sum = 0;
  for (int i = 0; i < 8; i++) {
    void *result;
    CHECK(pthread_join(threads[i], &result) == 0);
    sum += (long)(intptr_t)result;
  }
  say("counter %ld, results %ld, own %d\n", counter, sum, own);
  for (int i = 0; i < 200; i++) {
    CHECK(pthread_create(&threads[0], NULL, (void *(*)(void *))(void *)strlen, "four") == 0);
    void *result;
    CHECK(pthread_join(threads[0], &result) == 0 && result == (void *)4);
  }
  say("200 threads, one after the other\n");
}

static void *play(void *argument) {
  int me = (int)(intptr_t)argument;
  for (int i = 0; i < 300; i++) {
    pthread_mutex_lock(&mutex);
    while (turn % 3 != me) pthread_cond_wait(&condition, &mutex);
    turn++;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
  }
  return NULL;
}

static void conditions(void) {
  section("conditions");
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, play, (void *)(intptr_t)i) == 0);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  say("turns %d\n", turn);
  struct timespec soon;
  clock_gettime(CLOCK_REALTIME, &soon);
  soon.tv_nsec += 20000000;
  if (soon.tv_nsec >= 1000000000) soon.tv_sec++, soon.tv_nsec -= 1000000000;
  pthread_mutex_lock(&mutex);
  SHOW(pthread_cond_timedwait(&condition, &mutex, &soon) == ETIMEDOUT);
  pthread_mutex_unlock(&mutex);
  sem_t semaphore;
  sem_init(&semaphore, 0, 1);
  SHOW(sem_wait(&semaphore));
  SHOW(sem_trywait(&semaphore));
  SHOW(sem_timedwait(&semaphore, &soon));
}

// Not every C library comes with the kernel's headers (linux/futex.h).
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };

static int word;

static long futex(int *where, int operation, int value, const struct timespec *limit) {
  return syscall(SYS_futex, where, operation, value, limit, NULL, 0);
}

static void *wake_up(void *argument) {
  (void)argument;
  while (futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL) == 0) sched_yield();
  return NULL;
}

static void futexes(void) {
  section("futexes");
  struct timespec soon = {0, 10000000};
  SHOW(futex(&word, FUTEX_WAIT, 1, NULL));
  SHOW(futex(&word, FUTEX_WAIT, 0, &soon));
  SHOW(futex(&word, FUTEX_WAKE, INT_MAX, NULL));
  SHOW(futex(nowhere, FUTEX_WAIT, 0, NULL));
  SHOW(futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, NULL));
  SHOW(futex(&word, 99, 0, NULL));
  soon.tv_nsec = -1;
  SHOW(futex(&word, FUTEX_WAIT, 0, &soon));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, wake_up, NULL) == 0);
  SHOW(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL));
  pthread_join(thread, NULL);
  // Between processes that share memory.
  int *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (child == 0) _exit(futex(both, FUTEX_WAIT, 0, NULL) == 0 ? 0 : 1);
  while (futex(both, FUTEX_WAKE, 1, NULL) == 0) sched_yield();
  say_status("woken by another process", wait_for(child));
}

static volatile sig_atomic_t handled;
static pthread_t handled_by;

static void note(int number) {
  (void)number;
  handled_by = pthread_self();
  handled = 1;
}

static void *wait_long(void *argument) {
  sigset_t set;
  sigemptyset(&set);
  pthread_sigmask(SIG_SETMASK, &set, NULL);
  *(volatile int *)argument = 1;
  while (!handled) usleep(1000);
  return NULL;
}

static void signals(void) {
  section("signals");
  catch_signal(SIGUSR1, note, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  volatile int ready = 0;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, wait_long, (void *)&ready) == 0);
  while (!ready) sched_yield();
  // The process's signal goes to the thread that does not block it.
  kill(getpid(), SIGUSR1);
  pthread_join(thread, NULL);
  say("handled by the other: %d\n", pthread_equal(handled_by, thread) != 0);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  handled = 0;
  pthread_kill(pthread_self(), SIGUSR1);
  say("handled by oneself: %d\n", handled && pthread_equal(handled_by, pthread_self()));
}

__attribute__((noreturn)) static void *sleep_for_ever(void *argument) {
  (void)argument;
  for (;;) pause();
}

__attribute__((noreturn)) static void *spin_for_ever(void *argument) {
  for (;;) ++*(volatile long *)argument;
}

static void *leave(void *argument) {
  usleep(5000);
  exit((int)(intptr_t)argument);
}

static void *crash(void *argument) {
  usleep(5000);
  *(volatile char *)nowhere = 1;
  return argument;
}

static void *run_program(void *argument) {
  (void)argument;
  execl("/proc/self/exe", "threads", "again", NULL);
  _exit(1);
}

static void start(void *(*body)(void *), void *argument) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, argument) == 0);
}

static void ends(void) {
  section("ends");
  static long spins;
  IN_CHILD("exit while others sleep", {
    for (int i = 0; i < 5; i++) start(sleep_for_ever, NULL);
    _exit(9);
  });
  IN_CHILD("exit while others run", {
    for (int i = 0; i < 3; i++) start(spin_for_ever, &spins);
    usleep(10000);
    _exit(10);
  });
  IN_CHILD("another thread exits", {
    start(leave, (void *)11);
    sleep_for_ever(NULL);
  });
  IN_CHILD("another thread crashes", {
    start(crash, NULL);
    sleep_for_ever(NULL);
  });
  IN_CHILD("the first thread ends first", {
    start(leave, (void *)12);
    pthread_exit(NULL);
  });
  IN_CHILD("a program replaces all threads", {
    for (int i = 0; i < 3; i++) start(spin_for_ever, &spins);
    execl("/proc/self/exe", "threads", "again", NULL);
  });
  IN_CHILD("another thread runs a program", {
    start(run_program, NULL);
    sleep_for_ever(NULL);
  });
  IN_CHILD("fork takes the calling thread only", {
    start(sleep_for_ever, NULL);
    pid_t child = fork();
    if (child == 0) _exit(13);
    _exit(WEXITSTATUS(wait_for(child)));
  });
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 5; i++) start(sleep_for_ever, NULL);
    sleep_for_ever(NULL);
  }
  usleep(10000);
  kill(child, SIGKILL);
  say_status("killed", wait_for(child));
  CHECK(getpid() == (pid_t)syscall(SYS_gettid));
}

int main(int count, char **words) {
  if (count > 1 && strcmp(words[1], "again") == 0) return getpid() == (pid_t)syscall(SYS_gettid) ? 77 : 1;
  close_inherited();
  basics();
  conditions();
  futexes();
  signals();
  ends();
  return finish();
}
