// SPDX-License-Identifier: Apache-2.0
// exec.c: what a new program inherits, gets and loses, and when there is none.
//
// apus: compare: host
// apus: arguments: one "two words" ""
// apus: env: GREETING=hello world
// apus: timeout: 600
//
// The program runs itself in different parts: its second argument then starts with "part:".

#include "check.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/resource.h>

extern char **environ;
static const char *self = "/proc/self/exe";

static void list(const char *what, char **words) {
  say("%s:", what);
  for (; *words; words++) say(" [%s]", *words);
  say("\n");
}

static int part(int count, char **words) {
  const char *name = words[1] + 5;
  if (strcmp(name, "list") == 0) {
    say("%d words\n", count);
    list("words", words);
    list("environment", environ);
    return 21;
  }
  if (strcmp(name, "descriptors") == 0) {
    for (int i = 3; i < 12; i++)
      if (fcntl(i, F_GETFD) >= 0) say("open: %d, flags %d\n", i, fcntl(i, F_GETFD));
    return 0;
  }
  if (strcmp(name, "signals") == 0) {
    sigset_t mask, pending;
    struct sigaction action;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigpending(&pending);
    for (int i = 1; i < 32; i++) {
      sigaction(i, NULL, &action);
      if (sigismember(&mask, i) || sigismember(&pending, i) || action.sa_handler != SIG_DFL)
        say("signal %d: blocked %d, pending %d, ignored %d\n", i, sigismember(&mask, i), sigismember(&pending, i),
            action.sa_handler == SIG_IGN);
    }
    stack_t stack;
    sigaltstack(NULL, &stack);
    say("no second stack: %d\n", (stack.ss_flags & SS_DISABLE) != 0);
    return 0;
  }
  if (strcmp(name, "count") == 0) {
    long total = 0;
    for (int i = 0; i < count; i++) total += (long)strlen(words[i]) + 1;
    say("%d words, %ld bytes\n", count, total);
    return 0;
  }
  if (strcmp(name, "again") == 0) {
    int left = atoi(words[2]);
    if (left == 0) {
      say("pid %s\n", atoi(words[3]) == getpid() ? "kept" : "changed");
      return 17;
    }
    char number[16];
    snprintf(number, sizeof number, "%d", left - 1);
    execl(self, "exec", "part:again", number, words[3], NULL);
    return 1;
  }
  return 99;
}

// Runs a part with the given words in a child.
static void run(const char *title, char **words, char **environment) {
  pid_t child = fork();
  if (child == 0) {
    execve(self, words, environment);
    say("%s: %s\n", title, error_name(errno));
    _exit(90);
  }
  say_status(title, wait_for(child));
}

static void write_file(const char *path, const void *bytes, size_t size, mode_t mode) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(file >= 0 && write(file, bytes, size) == (ssize_t)size);
  CHECK(fchmod(file, mode) == 0 && close(file) == 0);
}

static void start(char **words) {
  section("start");
  list("words", words + 1);
  say("GREETING=%s\n", getenv("GREETING") ? getenv("GREETING") : "(none)");
  CHECK(getauxval(AT_PAGESZ) == 4096);
  CHECK(getauxval(AT_PHDR) != 0 && getauxval(AT_PHENT) == sizeof(Elf64_Phdr) && getauxval(AT_PHNUM) > 0);
  CHECK(getauxval(AT_ENTRY) != 0);
  CHECK(getauxval(AT_RANDOM) != 0);
  SHOW(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid() && getauxval(AT_GID) == getgid());
  SHOW(getauxval(AT_SECURE));
  SHOW(getauxval(AT_CLKTCK));
  CHECK(strcmp((char *)getauxval(AT_PLATFORM), "x86_64") == 0);
  const char *called = (char *)getauxval(AT_EXECFN);
  CHECK(called && strcmp(strrchr(called, '/') + 1, strrchr(words[0], '/') + 1) == 0);
  CHECK(((uintptr_t)__builtin_frame_address(0) & 15) == 0);
}

static void inheritance(void) {
  section("words and environment");
  run("list", (char *[]){"name", "part:list", "a", "", "c d", NULL}, (char *[]){"A=1", "EMPTY=", "odd", NULL});
  run("no environment", (char *[]){"name", "part:list", NULL}, (char *[]){NULL});
  run("no environment at all", (char *[]){"name", "part:list", NULL}, NULL);
  char number[32];
  snprintf(number, sizeof number, "%d", getpid());
  pid_t child = fork();
  if (child == 0) {
    snprintf(number, sizeof number, "%d", getpid());
    execl(self, "exec", "part:again", "20", number, NULL);
    _exit(1);
  }
  say_status("twenty programs in a row", wait_for(child));

  section("descriptors");
  child = fork();
  if (child == 0) {
    int kept = open("/dev/null", O_RDONLY);
    CHECK(dup2(kept, 5) == 5 && dup3(kept, 6, O_CLOEXEC) == 6 && dup2(kept, 7) == 7);
    close(kept);
    fcntl(7, F_SETFD, FD_CLOEXEC);
    int both[2];
    CHECK(pipe2(both, O_CLOEXEC) == 0);
    CHECK(dup2(both[0], 8) == 8);
    CHECK(fcntl(8, F_DUPFD_CLOEXEC, 9) == 9 && fcntl(8, F_DUPFD, 10) == 10);
    execl(self, "exec", "part:descriptors", NULL);
    _exit(1);
  }
  say_status("descriptors", wait_for(child));

  section("signals");
  child = fork();
  if (child == 0) {
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, (void (*)(int))inheritance);
    signal(SIGINT, SIG_DFL);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    raise(SIGTERM);
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
    execl(self, "exec", "part:signals", NULL);
    _exit(1);
  }
  say_status("signals", wait_for(child));
}

static void limits(void) {
  section("limits");
  // A word of 128 KiB is too long (execve(2): MAX_ARG_STRLEN); many shorter ones are not.
  char *word = malloc(200000);
  memset(word, 'x', 131071);
  word[131071] = 0;
  run("the longest word", (char *[]){"name", "part:count", word, NULL}, (char *[]){NULL});
  memset(word, 'x', 131072);
  word[131072] = 0;
  run("a longer word", (char *[]){"name", "part:count", word, NULL}, (char *[]){NULL});
  enum { many = 10000 };
  char **words = calloc(many + 3, sizeof(char *));
  words[0] = "name";
  words[1] = "part:count";
  for (int i = 0; i < many; i++) words[2 + i] = "0123456789abcdef0123456789abcdef";
  run("ten thousand words", words, (char *[]){NULL});
  word[100000] = 0;
  for (int i = 0; i < many; i++) words[2 + i] = word;
  run("a gigabyte of words", words, (char *[]){NULL});
  run("words from nowhere", (char *[]){"name", nowhere, NULL}, (char *[]){NULL});
  SHOW(execve(self, nowhere, environ));
  SHOW(execve(nowhere, words, environ));
  free(words);
  free(word);
}

static void refusals(void) {
  section("what is no program");
  char *words[] = {"x", NULL};
  SHOW(execve("no-such-file", words, environ));
  SHOW(execve("", words, environ));
  SHOW(execve("/", words, environ));
  SHOW(execve("/dev/null", words, environ));
  write_file("plain", "hello\n", 6, 0644);
  SHOW(execve("plain", words, environ));
  SHOW(execve("plain/below", words, environ));
  CHECK(chmod("plain", 0755) == 0);
  SHOW(execve("plain", words, environ));
  write_file("empty", "", 0, 0755);
  SHOW(execve("empty", words, environ));
  write_file("short", "\177ELF", 4, 0755);
  SHOW(execve("short", words, environ));
  Elf64_Ehdr header;
  memset(&header, 0, sizeof header);
  memcpy(header.e_ident, ELFMAG, 4);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_AARCH64;
  header.e_version = EV_CURRENT;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  write_file("foreign", &header, sizeof header, 0755);
  SHOW(execve("foreign", words, environ));
  header.e_machine = EM_X86_64;
  header.e_phnum = 3;
  header.e_phoff = 1 << 20;
  write_file("outside", &header, sizeof header, 0755);
  SHOW(execve("outside", words, environ) < 0);
  header.e_type = ET_REL;
  write_file("object", &header, sizeof header, 0755);
  SHOW(execve("object", words, environ));
  CHECK(symlink("round", "round") == 0);
  SHOW(execve("round", words, environ));
  int file = open("plain", O_RDWR);
  SHOW(execve("plain", words, environ));
  close(file);
  SHOW(unlink("plain") | unlink("empty") | unlink("short") | unlink("foreign") | unlink("outside") | unlink("object") | unlink("round"));
}

static void scripts(void) {
  section("scripts");
  char own[4096], text[5000];
  ssize_t length = readlink(self, own, sizeof own - 1);
  CHECK(length > 0);
  own[length] = 0;
  char *words[] = {"ignored", "first", "second", NULL}, *nothing[] = {NULL};
  const char *lines[] = {"#!%s part:list", "#! %s   part:list  \nrest", "#!%s\tpart:list more words\n"};
  for (int i = 0; i < 3; i++) {
    int size = snprintf(text, sizeof text, lines[i], own);
    write_file("script", text, (size_t)size, 0755);
    pid_t child = fork();
    if (child == 0) {
      // The interpreter's own path differs from run to run, so it runs by a short name.
      CHECK(symlink(own, "interpreter") == 0);
      size = snprintf(text, sizeof text, lines[i], "./interpreter");
      write_file("script", text, (size_t)size, 0755);
      execve("./script", words, nothing);
      say("execve: %s\n", error_name(errno));
      _exit(1);
    }
    say_status("script", wait_for(child));
    CHECK(unlink("interpreter") == 0);
  }
  write_file("script", "#!/no/such/interpreter\n", 23, 0755);
  SHOW(execve("./script", words, nothing));
  write_file("script", "#!\n", 3, 0755);
  SHOW(execve("./script", words, nothing));
  write_file("script", "#!./script\n", 11, 0755);
  SHOW(execve("./script", words, nothing));
  CHECK(unlink("script") == 0);
}

static void other_ways(void) {
  section("other ways");
  pid_t child = fork();
  int directory = open("/proc/self", O_RDONLY | O_DIRECTORY);
  CHECK(directory >= 0);
  char *words[] = {"name", "part:count", NULL};
  if (child == 0) {
    int file = open(self, O_RDONLY | O_CLOEXEC);
    fexecve(file, words, environ);
    _exit(1);
  }
  say_status("fexecve", wait_for(child));
  child = fork();
  if (child == 0) {
    syscall(SYS_execveat, directory, "exe", words, environ, 0);
    _exit(1);
  }
  say_status("execveat", wait_for(child));
  child = vfork();
  if (child == 0) {
    execve(self, words, environ);
    _exit(1);
  }
  say_status("vfork and execve", wait_for(child));
  SHOW(syscall(SYS_execveat, directory, "exe", words, environ, 0x4));
  close(directory);
  // A working directory and a mask outlive the program; so does what alarm(2) set.
  CHECK(mkdir("below", 0700) == 0);
  child = fork();
  if (child == 0) {
    CHECK(chdir("below") == 0);
    umask(0);
    execve(self, words, environ);
    _exit(1);
  }
  say_status("elsewhere", wait_for(child));
  CHECK(rmdir("below") == 0);
}

int main(int count, char **words) {
  if (count > 1 && strncmp(words[1], "part:", 5) == 0) return part(count, words);
  close_inherited();
  start(words);
  inheritance();
  limits();
  refusals();
  scripts();
  other_ways();
  return finish();
}
