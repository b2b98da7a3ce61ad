// SPDX-License-Identifier: Apache-2.0
// names.c: directories, links, renaming, paths, and who may do what.
//
// apus: compare: host
// apus: timeout: 600

#include "check.h"

#include <dirent.h>
#include <grp.h>
#include <limits.h>
#include <sys/fsuid.h>

static char buffer[70000];

static void make(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
  close(file);
}

static const char *content(const char *path) {
  static char text[100];
  int file = open(path, O_RDONLY);
  ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (size < 0) return error_name(errno);
  text[size] = 0;
  close(file);
  return text;
}

static int by_name(const void *left, const void *right) { return strcmp(*(char *const *)left, *(char *const *)right); }

// Prints a directory's names in order.
static void list(const char *path) {
  DIR *directory = opendir(path);
  if (!directory) {
    say("%s: %s\n", path, error_name(errno));
    return;
  }
  char *names[100];
  int count = 0;
  for (struct dirent *entry; (entry = readdir(directory)) && count < 100;) {
    static const char kinds[] = {[DT_REG] = 'f', [DT_DIR] = 'd', [DT_LNK] = 'l', [DT_FIFO] = 'p', [DT_SOCK] = 's'};
    char name[300];
    snprintf(name, sizeof name, "%s:%c", entry->d_name, kinds[entry->d_type] ? kinds[entry->d_type] : '?');
    names[count++] = strdup(name);
  }
  closedir(directory);
  qsort(names, (size_t)count, sizeof *names, by_name);
  say("%s:", path);
  for (int i = 0; i < count; i++) {
    say(" %s", names[i]);
    free(names[i]);
  }
  say("\n");
}

static long links(const char *path) {
  struct stat facts;
  return lstat(path, &facts) == 0 ? (long)facts.st_nlink : -1;
}

static void directories(void) {
  section("directories");
  SHOW(mkdir("d", 0755));
  SHOW(mkdir("d", 0755));
  SHOW(mkdir("d/", 0755));
  SHOW(mkdir("missing/d", 0755));
  SHOW(mkdir("new/", 0755));
  SHOW(mkdir("", 0755));
  SHOW(mkdir("/", 0755));
  SHOW(mkdir(".", 0755));
  SHOW(mkdir("d/..", 0755));
  make("file", "x");
  SHOW(mkdir("file", 0755));
  SHOW(mkdir("file/d", 0755));
  SHOW(rmdir("file"));
  SHOW(rmdir("missing"));
  SHOW(rmdir("d/."));
  SHOW(rmdir("d/.."));
  SHOW(rmdir("."));
  SHOW(rmdir("/"));
  make("d/inside", "x");
  SHOW(rmdir("d"));
  SHOW(unlink("d"));
  SHOW(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
  SHOW(unlinkat(AT_FDCWD, "d/inside", AT_REMOVEDIR));
  SHOW(unlinkat(AT_FDCWD, "d/inside", 0x1000));
  SHOW(unlink("d/inside/"));
  SHOW(unlink("d/inside"));
  SHOW(unlink("d/inside"));
  SHOW(unlink(""));
  SHOW(rmdir("d/"));
  SHOW(rmdir("new"));
  SHOW(unlink("file"));
  // A directory read while it changes: what stays is seen once, what goes and comes at most once.
  CHECK(mkdir("busy", 0755) == 0);
  char path[64];
  for (int i = 0; i < 500; i++) {
    snprintf(path, sizeof path, "busy/stays%03d", i);
    make(path, "");
  }
  int seen[500] = {0}, fresh = 0, steps = 0;
  DIR *directory = opendir("busy");
  for (struct dirent *entry; (entry = readdir(directory));) {
    if (strncmp(entry->d_name, "stays", 5) == 0) seen[atoi(entry->d_name + 5)]++;
    if (strncmp(entry->d_name, "fresh", 5) == 0) fresh++;
    if (++steps % 10 == 0 && steps < 1000) {
      snprintf(path, sizeof path, "busy/fresh%03d", steps);
      make(path, "");
    }
  }
  int once = 1;
  for (int i = 0; i < 500; i++) once &= seen[i] == 1;
  say("each seen once: %d, bounded: %d\n", once, fresh <= 100);
  rewinddir(directory);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(directory));) count++;
  closedir(directory);
  CHECK(count >= 502);
  // Removing while reading, as rm -r does.
  directory = opendir("busy");
  for (struct dirent *entry; (entry = readdir(directory));)
    if (entry->d_name[0] != '.') CHECK(unlinkat(dirfd(directory), entry->d_name, 0) == 0);
  closedir(directory);
  list("busy");
  SHOW(rmdir("busy"));
  // Positions in a directory can be gone back to.
  CHECK(mkdir("seek", 0755) == 0);
  for (int i = 0; i < 20; i++) {
    snprintf(path, sizeof path, "seek/%d", i);
    make(path, "");
  }
  directory = opendir("seek");
  for (int i = 0; i < 10; i++) readdir(directory);
  long position = telldir(directory);
  char name[256];
  strcpy(name, readdir(directory)->d_name);
  while (readdir(directory)) continue;
  seekdir(directory, position);
  SHOW(strcmp(name, readdir(directory)->d_name));
  closedir(directory);
  int file = open("seek", O_RDONLY | O_DIRECTORY);
  SHOW(syscall(SYS_getdents64, file, buffer, 10));
  SHOW(syscall(SYS_getdents64, file, nowhere, 1000));
  SHOW(syscall(SYS_getdents64, 99, buffer, 1000));
  close(file);
  for (int i = 0; i < 20; i++) {
    snprintf(path, sizeof path, "seek/%d", i);
    unlink(path);
  }
  CHECK(rmdir("seek") == 0);
  // The count of a directory's links shows its subdirectories, where the file system counts them at all.
  CHECK(mkdir("p", 0755) == 0);
  long before = links("p");
  CHECK(mkdir("p/a", 0755) == 0 && mkdir("p/b", 0755) == 0);
  CHECK(links("p") == before + 2 || links("p") == 1);
  CHECK(rmdir("p/a") == 0 && rmdir("p/b") == 0 && links("p") == before && rmdir("p") == 0);
}

static void linking(void) {
  section("links");
  make("file", "text");
  CHECK(mkdir("d", 0755) == 0);
  SHOW(link("file", "hard"));
  SHOW(links("file"));
  SHOW(link("file", "hard"));
  SHOW(link("missing", "x"));
  SHOW(link("d", "x"));
  SHOW(link("file", "d"));
  SHOW(link("file", "missing/x"));
  SHOW(link("file", "x/"));
  SHOW(link("file/", "x"));
  SHOW(symlink("file", "soft"));
  SHOW(symlink("file", "soft"));
  SHOW(symlink("", "x"));
  SHOW(symlink("x", ""));
  SHOW(symlink("x", "new/"));
  SHOW(link("soft", "to-link"));
  SHOW(readlink("to-link", buffer, 100));
  SHOW(linkat(AT_FDCWD, "soft", AT_FDCWD, "to-file", AT_SYMLINK_FOLLOW));
  SHOW(links("file"));
  SHOW(readlink("soft", buffer, 100));
  SHOW(readlink("soft", buffer, 2));
  say("%.2s\n", buffer);
  SHOW(readlink("soft", buffer, 0));
  SHOW(readlink("file", buffer, 100));
  SHOW(readlink("missing", buffer, 100));
  SHOW(readlink("soft", nowhere, 100));
  SHOW(unlink("soft"));
  say("%s\n", content("hard"));
  SHOW(symlink("d", "way"));
  SHOW(mkdir("way/inside", 0755));
  SHOW(rmdir("way"));
  SHOW(rmdir("way/"));
  SHOW(unlink("way/"));
  SHOW(access("way/inside/..", F_OK));
  list("way/");
  // Forty links in a row are followed, more are not.
  char from[32], to[32];
  for (int i = 0; i < 45; i++) {
    snprintf(to, sizeof to, "chain%d", i);
    if (i == 0) CHECK(symlink("file", to) == 0);
    else CHECK(symlink(from, to) == 0);
    strcpy(from, to);
  }
  SHOW(access("chain39", F_OK));
  SHOW(access("chain40", F_OK));
  for (int i = 0; i < 45; i++) {
    snprintf(to, sizeof to, "chain%d", i);
    unlink(to);
  }
  SHOW(symlink("loop", "loop"));
  SHOW(access("loop/x", F_OK));
  SHOW(lstat("loop", &(struct stat){0}));
  memset(buffer, 'x', 5000);
  buffer[4096] = 0;
  SHOW(symlink(buffer, "long"));
  buffer[4095] = 0;
  SHOW(symlink(buffer, "long"));
  SHOW(access("long", F_OK));
  unlink("long");
  SHOW(unlink("file") | unlink("hard") | unlink("to-link") | unlink("to-file") | unlink("way") | unlink("loop"));
  SHOW(rmdir("d/inside") | rmdir("d"));
}

static void renaming(void) {
  section("rename");
  make("a", "A");
  make("b", "B");
  CHECK(mkdir("d", 0755) == 0 && mkdir("e", 0755) == 0 && mkdir("full", 0755) == 0);
  make("full/x", "x");
  SHOW(rename("a", "c"));
  SHOW(access("a", F_OK));
  SHOW(rename("c", "b"));
  say("%s\n", content("b"));
  SHOW(rename("missing", "b"));
  SHOW(rename("b", "missing/b"));
  SHOW(rename("b", "d"));
  SHOW(rename("d", "b"));
  SHOW(rename("d", "e"));
  SHOW(rename("e", "full"));
  SHOW(rename("full", "e"));
  say("%s\n", content("e/x"));
  SHOW(rename("e", "e/below"));
  SHOW(rename("e", "e/x"));
  SHOW(rename("e/x", "e"));
  SHOW(rename("e", "."));
  SHOW(rename("e", "/"));
  SHOW(rename("e/.", "f"));
  SHOW(rename("..", "f"));
  SHOW(rename("b", "b/"));
  SHOW(rename("b/", "c"));
  SHOW(rename("b", "c/"));
  SHOW(rename("e/", "g/"));
  SHOW(rename("g", "e"));
  SHOW(rename("b", "b"));
  CHECK(link("b", "same") == 0);
  SHOW(rename("b", "same"));
  SHOW(access("b", F_OK));
  CHECK(symlink("b", "s") == 0);
  SHOW(rename("s", "t"));
  SHOW(readlink("t", buffer, 10));
  SHOW(rename("same", "t"));
  SHOW(links("t"));
  SHOW(rename("", "x"));
  SHOW(rename("b", ""));
  SHOW(renameat2(AT_FDCWD, "b", AT_FDCWD, "t", RENAME_NOREPLACE));
  SHOW(renameat2(AT_FDCWD, "b", AT_FDCWD, "u", RENAME_NOREPLACE));
  make("v", "V");
  SHOW(renameat2(AT_FDCWD, "v", AT_FDCWD, "e", RENAME_EXCHANGE));
  say("%s, %s\n", content("e"), content("v/x"));
  SHOW(renameat2(AT_FDCWD, "v", AT_FDCWD, "missing", RENAME_EXCHANGE));
  SHOW(renameat2(AT_FDCWD, "v", AT_FDCWD, "e", 64));
  // A directory moves with what is below it, and its own way up follows.
  CHECK(mkdir("v/deep", 0755) == 0 && mkdir("w", 0755) == 0);
  int inside = open("v/deep", O_RDONLY | O_DIRECTORY);
  CHECK(rename("v/deep", "w/moved") == 0);
  make("w/marker", "found");
  int up = openat(inside, "../marker", O_RDONLY);
  SHOW(read(up, buffer, 10));
  close(up);
  close(inside);
  CHECK(unlink("w/marker") == 0);
  // What is renamed over lives on while it is open.
  int file = open("e", O_RDONLY);
  CHECK(rename("u", "e") == 0);
  SHOW(read(file, buffer, 10));
  close(file);
  SHOW(unlink("e") | unlink("t") | unlink("v/x") | rmdir("v") | rmdir("w/moved") | rmdir("w"));
  list(".");
}

static void paths(void) {
  section("paths");
  CHECK(mkdir("p", 0755) == 0 && mkdir("p/q", 0755) == 0);
  char start[PATH_MAX], now[PATH_MAX];
  CHECK(getcwd(start, sizeof start) != NULL);
  CHECK(chdir("p/q/../q/./") == 0 && getcwd(now, sizeof now) != NULL);
  say("%s\n", now + strlen(start));
  SHOW(syscall(SYS_getcwd, now, sizeof now) == (long)strlen(now) + 1);
  SHOW(syscall(SYS_getcwd, now, 2));
  SHOW(syscall(SYS_getcwd, nowhere, 4096));
  SHOW(chdir("missing"));
  SHOW(chdir(".."));
  make("file", "x");
  SHOW(chdir("file"));
  int file = open("file", O_RDONLY), directory = open("q", O_RDONLY | O_DIRECTORY);
  SHOW(fchdir(file));
  SHOW(fchdir(99));
  SHOW(fchdir(directory));
  SHOW(access("../file", F_OK));
  SHOW(chdir("/../../.."));
  CHECK(getcwd(now, sizeof now) != NULL);
  say("%s\n", now);
  CHECK(chdir(start) == 0);
  SHOW(openat(file, "x", O_RDONLY));
  SHOW(openat(99, "x", O_RDONLY));
  SHOW(openat(99, "/dev/null", O_RDONLY) > 0);
  SHOW(openat(directory, "../file", O_RDONLY) > 0);
  SHOW(mkdirat(directory, "r", 0755));
  SHOW(symlinkat("x", directory, "s"));
  SHOW(renameat(directory, "s", AT_FDCWD, "p/t"));
  SHOW(linkat(AT_FDCWD, "p/file", directory, "hard", 0));
  SHOW(mknodat(directory, "fifo", S_IFIFO | 0600, 0));
  SHOW(faccessat(directory, "hard", R_OK, 0));
  SHOW(fchmodat(directory, "hard", 0600, 0));
  SHOW(mknod("p/regular", S_IFREG | 0600, 0));
  SHOW(mknod("p/odd", 0xf000 | 0600, 0));
  list("p");
  list("p/q");
  SHOW(unlinkat(directory, "hard", 0) | unlinkat(directory, "fifo", 0) | unlinkat(directory, "r", AT_REMOVEDIR));
  SHOW(unlink("p/t") | unlink("p/regular") | unlink("p/file") | rmdir("p/q") | rmdir("p"));
  for (int i = 3; i < 20; i++) close(i);
  // Deeper than one path can say.
  CHECK(getcwd(start, sizeof start) != NULL);
  memset(buffer, 'd', 200);
  buffer[200] = 0;
  for (int i = 0; i < 25; i++) CHECK(mkdir(buffer, 0755) == 0 && chdir(buffer) == 0);
  SHOW(syscall(SYS_getcwd, now, sizeof now));
  for (int i = 0; i < 25; i++) CHECK(chdir("..") == 0 && rmdir(buffer) == 0);
  CHECK(getcwd(now, sizeof now) && strcmp(now, start) == 0);
  IN_CHILD("chroot", {
    CHECK(mkdir("jail", 0755) == 0);
    make("jail/file", "x");
    SHOW(chroot("jail"));
    SHOW(chdir("/"));
    SHOW(access("/file", F_OK));
    SHOW(access("../../file", F_OK));
    SHOW(access("/dev", F_OK));
    _exit(0);
  });
  SHOW(unlink("jail/file") | rmdir("jail"));
}

static unsigned mode_of(const char *path) {
  struct stat facts;
  return lstat(path, &facts) == 0 ? facts.st_mode & 07777 : 0xffff;
}

#define SHOW_MODE(path) say("%s: %o\n", path, mode_of(path))

static void modes(void) {
  section("modes");
  SHOW(umask(027));
  close(open("file", O_RDWR | O_CREAT, 0666));
  CHECK(mkdir("d", 0777) == 0 && mknod("fifo", S_IFIFO | 0666, 0) == 0);
  SHOW_MODE("file");
  SHOW_MODE("d");
  SHOW_MODE("fifo");
  SHOW(umask(0777777));
  SHOW(umask(022));
  SHOW(chmod("file", 07777));
  SHOW_MODE("file");
  SHOW(chmod("file", 0177777));
  SHOW_MODE("file");
  SHOW(chmod("missing", 0));
  SHOW(chmod("file/x", 0));
  int file = open("file", O_RDWR);
  SHOW(fchmod(file, 06755));
  SHOW(write(file, "x", 1));
  SHOW_MODE("file");
  SHOW(chown("file", 1000, 1001));
  struct stat facts;
  CHECK(fstat(file, &facts) == 0);
  say("owner %u, group %u\n", facts.st_uid, facts.st_gid);
  SHOW(fchown(file, -1, 5));
  SHOW(fstat(file, &facts) | facts.st_gid);
  SHOW(facts.st_uid);
  CHECK(symlink("file", "soft") == 0);
  SHOW(lchown("soft", 7, 7));
  CHECK(lstat("soft", &facts) == 0);
  SHOW(facts.st_uid);
  SHOW(chown("missing", 1, 1));
  SHOW(access("file", R_OK | W_OK));
  SHOW(chmod("file", 0));
  SHOW(access("file", R_OK | W_OK));
  SHOW(access("file", X_OK));
  SHOW(access("d", X_OK));
  SHOW(access("file", 8));
  close(file);
  CHECK(chmod("d", 02755) == 0 && chown("d", 0, 33) == 0);
  close(open("d/file", O_RDWR | O_CREAT, 0644));
  CHECK(stat("d/file", &facts) == 0);
  say("a set-group-id directory gives its group: %u\n", facts.st_gid);
  CHECK(mkdir("d/d", 0755) == 0);
  SHOW_MODE("d/d");
  SHOW(unlink("file") | unlink("soft") | unlink("fifo") | unlink("d/file") | rmdir("d/d") | rmdir("d"));
}

static void others(void) {
  section("another user");
  umask(022);
  CHECK(chmod(".", 0755) == 0);
  make("readable", "x");
  make("private", "x");
  CHECK(chmod("private", 0600) == 0);
  make("writable", "x");
  CHECK(chmod("writable", 0666) == 0);
  CHECK(mkdir("closed", 0700) == 0 && mkdir("open", 0777) == 0 && chmod("open", 0777) == 0);
  CHECK(mkdir("sticky", 01777) == 0 && chmod("sticky", 01777) == 0);
  CHECK(mkdir("blind", 0711) == 0);
  make("closed/file", "x");
  make("open/file", "x");
  make("sticky/file", "x");
  make("blind/file", "x");
  make("mine", "x");
  CHECK(chown("mine", 1000, 1000) == 0 && chmod("mine", 0400) == 0);
  make("group", "x");
  CHECK(chown("group", 0, 2000) == 0 && chmod("group", 0640) == 0);
  int held = open("private", O_RDONLY);
  IN_CHILD("another user", {
    gid_t groups[1] = {2000};
    SHOW(setgroups(1, groups));
    SHOW(setresgid(1000, 1000, 1000));
    SHOW(setresuid(1000, 1000, 1000));
    SHOW(getuid());
    SHOW(geteuid());
    SHOW(getegid());
    SHOW(setuid(0));
    SHOW(seteuid(0));
    SHOW(setgroups(0, NULL));
    SHOW(getgroups(0, NULL));
    SHOW(open("readable", O_RDONLY) > 0);
    SHOW(open("readable", O_WRONLY));
    SHOW(open("private", O_RDONLY));
    SHOW(read(held, buffer, 10));
    SHOW(open("writable", O_RDWR) > 0);
    SHOW(open("group", O_RDONLY) > 0);
    SHOW(open("group", O_RDWR));
    SHOW(open("closed/file", O_RDONLY));
    SHOW(open("blind/file", O_RDONLY) > 0);
    SHOW(open("blind", O_RDONLY));
    SHOW(open("new", O_RDWR | O_CREAT, 0600));
    SHOW(open("open/new", O_RDWR | O_CREAT, 0600) > 0);
    SHOW(mkdir("new", 0700));
    SHOW(unlink("readable"));
    SHOW(unlink("open/file"));
    SHOW(unlink("sticky/file"));
    SHOW(rename("sticky/file", "sticky/other"));
    SHOW(open("sticky/own", O_RDWR | O_CREAT, 0600) > 0);
    SHOW(unlink("sticky/own"));
    SHOW(chmod("readable", 0777));
    SHOW(chown("mine", 0, 0));
    SHOW(chown("mine", -1, 2000));
    SHOW(chmod("mine", 0200));
    SHOW(open("mine", O_RDONLY));
    SHOW(open("mine", O_WRONLY) > 0);
    SHOW(access("private", R_OK));
    SHOW(access("closed", X_OK));
    SHOW(truncate("readable", 0));
    SHOW(utimensat(AT_FDCWD, "readable", (struct timespec[2]){{1, 0}, {1, 0}}, 0));
    SHOW(utimensat(AT_FDCWD, "readable", NULL, 0));
    SHOW(utimensat(AT_FDCWD, "writable", NULL, 0));
    SHOW(chroot("."));
    SHOW(mknod("open/device", S_IFCHR | 0600, 0x103));
    SHOW(kill(getppid(), 0));
    SHOW(link("readable", "open/linked") == 0 || errno == EPERM);
    _exit(0);
  });
  IN_CHILD("effective ids", {
    SHOW(seteuid(1000));
    SHOW(open("private", O_RDONLY));
    SHOW(access("private", R_OK));
    SHOW(faccessat(AT_FDCWD, "private", R_OK, AT_EACCESS));
    SHOW(seteuid(0));
    SHOW(open("private", O_RDONLY) > 0);
    SHOW(setreuid(5, 6));
    uid_t real;
    uid_t effective;
    uid_t saved;
    CHECK(getresuid(&real, &effective, &saved) == 0);
    say("%u %u %u\n", real, effective, saved);
    SHOW(setuid(5));
    SHOW(setuid(7));
    _exit(0);
  });
  close(held);
  unlink("open/new");
  unlink("open/linked");
  SHOW(unlink("readable") | unlink("private") | unlink("writable") | unlink("closed/file") | unlink("sticky/file"));
  SHOW(unlink("blind/file") | unlink("mine") | unlink("group"));
  SHOW(rmdir("closed") | rmdir("open") | rmdir("sticky") | rmdir("blind"));
}

int main(void) {
  close_inherited();
  umask(022);
  directories();
  linking();
  renaming();
  paths();
  modes();
  others();
  return finish();
}
