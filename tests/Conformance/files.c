// SPDX-License-Identifier: Apache-2.0
// files.c: opening, reading, writing, positions, sizes and what stat says.
//
// apus: compare: host
// apus: timeout: 600

#include "check.h"

#include <limits.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

static char buffer[200000];

static int make(const char *path, const char *text) {
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  CHECK(file >= 0);
  CHECK(write(file, text, strlen(text)) == (ssize_t)strlen(text));
  CHECK(lseek(file, 0, SEEK_SET) == 0);
  return file;
}

static const char *content(const char *path) {
  int file = open(path, O_RDONLY);
  ssize_t size = read(file, buffer, sizeof buffer - 1);
  if (size < 0) return error_name(errno);
  buffer[size] = 0;
  close(file);
  return buffer;
}

static void opening(void) {
  section("open");
  close(make("file", "text"));
  CHECK(mkdir("directory", 0755) == 0);
  CHECK(symlink("file", "link") == 0 && symlink("nowhere", "dangling") == 0 && symlink("directory", "way") == 0);
  CHECK(symlink("circle", "circle") == 0);
  SHOW(open("missing", O_RDONLY));
  SHOW(open("", O_RDONLY));
  SHOW(open(nowhere, O_RDONLY));
  SHOW(open("file/below", O_RDONLY));
  SHOW(open("file/", O_RDONLY));
  SHOW(open("directory", O_WRONLY));
  SHOW(open("directory", O_RDWR));
  SHOW(open("directory/", O_RDONLY | O_CREAT, 0600));
  SHOW(open("new/", O_RDWR | O_CREAT, 0600));
  SHOW(open("file", O_RDONLY | O_DIRECTORY));
  SHOW(open("link", O_RDONLY | O_NOFOLLOW));
  SHOW(open("way", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  SHOW(open("circle", O_RDONLY));
  SHOW(open("dangling", O_RDONLY));
  SHOW(open("file", O_RDWR | O_CREAT | O_EXCL, 0600));
  SHOW(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600));
  SHOW(open("directory", O_RDONLY | O_CREAT | O_EXCL, 0600));
  SHOW(open("missing/new", O_RDWR | O_CREAT, 0600));
  SHOW(close(open("dangling", O_RDWR | O_CREAT, 0600)));
  SHOW(access("nowhere", F_OK));
  SHOW(unlink("nowhere"));
  memset(buffer, 'n', 256);
  buffer[256] = 0;
  SHOW(open(buffer, O_RDONLY));
  buffer[255] = 0;
  SHOW(close(open(buffer, O_RDWR | O_CREAT, 0600)));
  SHOW(unlink(buffer));
  for (int i = 0; i < 4096; i++) buffer[i] = i % 2 ? '/' : '.';
  buffer[4096] = 0;
  SHOW(open(buffer, O_RDONLY));
  buffer[4095] = 0;
  SHOW(close(open(buffer, O_RDONLY)));
  int file = open("file", O_RDONLY);
  SHOW(write(file, "x", 1));
  SHOW(ftruncate(file, 0));
  close(file);
  file = open("file", O_WRONLY);
  SHOW(read(file, buffer, 1));
  close(file);
  SHOW(close(file));
  SHOW(read(file, buffer, 1));
  SHOW(close(-1));
  file = open("directory", O_RDONLY);
  SHOW(read(file, buffer, 1));
  SHOW(lseek(file, 0, SEEK_SET));
  close(file);
  file = open("file", O_RDONLY | O_TRUNC);
  close(file);
  struct stat facts;
  CHECK(stat("file", &facts) == 0);
  say("size after O_RDONLY|O_TRUNC: %ld\n", (long)facts.st_size);
  file = open("file", O_PATH);
  SHOW(read(file, buffer, 1));
  SHOW(fstat(file, &facts));
  SHOW(fcntl(file, F_GETFL) == O_PATH);
  close(file);
  file = open("link", O_PATH | O_NOFOLLOW);
  SHOW(fstat(file, &facts));
  SHOW(S_ISLNK(facts.st_mode));
  SHOW(readlinkat(file, "", buffer, sizeof buffer));
  close(file);
  file = open(".", O_RDWR | O_TMPFILE, 0600);
  if (file >= 0) {
    SHOW(write(file, "temporary", 9));
    SHOW(fstat(file, &facts));
    SHOW(facts.st_nlink);
    close(file);
  }
  SHOW(unlink("file") | unlink("link") | unlink("dangling") | unlink("way") | unlink("circle") | rmdir("directory"));
}

static void positions(void) {
  section("positions");
  int file = make("file", "0123456789");
  SHOW(lseek(file, 3, SEEK_SET));
  SHOW(read(file, buffer, 2));
  say("%.2s\n", buffer);
  SHOW(lseek(file, 0, SEEK_CUR));
  SHOW(lseek(file, -1, SEEK_CUR));
  SHOW(lseek(file, -2, SEEK_END));
  SHOW(read(file, buffer, 10));
  SHOW(read(file, buffer, 10));
  SHOW(lseek(file, -1, SEEK_SET));
  SHOW(lseek(file, -100, SEEK_CUR));
  SHOW(lseek(file, 0, 99));
  SHOW(lseek(file, LONG_MAX, SEEK_CUR));
  SHOW(lseek(file, 100, SEEK_SET));
  SHOW(read(file, buffer, 1));
  SHOW(write(file, "x", 1));
  SHOW(lseek(file, 0, SEEK_END));
  SHOW(pread(file, buffer, 5, 98));
  CHECK(buffer[0] == 0 && buffer[1] == 0 && buffer[2] == 'x');
  SHOW(pread(file, buffer, 5, 1000));
  SHOW(pread(file, buffer, 5, -1));
  SHOW(pwrite(file, "AB", 2, 1));
  SHOW(pwrite(file, "AB", 2, -1));
  SHOW(lseek(file, 0, SEEK_CUR));
  // Two descriptors of one description share a position; two openings do not; a child's copy does.
  int copy = dup(file), other = open("file", O_RDONLY);
  lseek(file, 5, SEEK_SET);
  SHOW(lseek(copy, 0, SEEK_CUR));
  SHOW(lseek(other, 0, SEEK_CUR));
  IN_CHILD("a child moves it", lseek(file, 7, SEEK_SET));
  SHOW(lseek(file, 0, SEEK_CUR));
  close(copy);
  close(other);
  // Holes.
  SHOW(ftruncate(file, 0));
  CHECK(pwrite(file, "end", 3, 1 << 20) == 3);
  SHOW(lseek(file, 0, SEEK_DATA) > 0);
  SHOW(lseek(file, 0, SEEK_HOLE));
  SHOW(lseek(file, 1 << 20, SEEK_HOLE));
  SHOW(lseek(file, 2 << 20, SEEK_DATA));
  SHOW(pread(file, buffer, 4096, 5000));
  for (int i = 0; i < 4096; i++) CHECK(buffer[i] == 0);
  struct stat facts;
  CHECK(fstat(file, &facts) == 0);
  SHOW(facts.st_size);
  SHOW(facts.st_blocks < 1000);
  close(file);
  int ends[2];
  CHECK(pipe(ends) == 0);
  SHOW(lseek(ends[0], 0, SEEK_SET));
  SHOW(pread(ends[0], buffer, 1, 0));
  SHOW(pwrite(ends[1], buffer, 1, 0));
  close(ends[0]);
  close(ends[1]);
  unlink("file");
}

static void writing(void) {
  section("writing");
  int file = make("file", "abc");
  int end = open("file", O_WRONLY | O_APPEND);
  SHOW(write(end, "def", 3));
  SHOW(write(file, "X", 1));
  SHOW(pwrite(end, "ghi", 3, 0));
  SHOW(lseek(end, 0, SEEK_CUR));
  lseek(end, 0, SEEK_SET);
  SHOW(write(end, "!", 1));
  say("%s\n", content("file"));
  SHOW(fcntl(end, F_GETFL) == (O_WRONLY | O_APPEND | 0100000));
  SHOW(fcntl(file, F_SETFL, O_APPEND));
  lseek(file, 0, SEEK_SET);
  SHOW(write(file, "?", 1));
  say("%s\n", content("file"));
  close(end);
  SHOW(truncate("file", 4));
  say("%s\n", content("file"));
  SHOW(ftruncate(file, 6));
  SHOW(content("file")[5]);
  SHOW(ftruncate(file, -1));
  SHOW(truncate("missing", 1));
  SHOW(truncate(".", 1));
  struct iovec parts[3] = {{"one", 3}, {"", 0}, {"three", 5}};
  SHOW(ftruncate(file, 0));
  SHOW(writev(file, parts, 3));
  SHOW(writev(file, parts, 0));
  volatile int wrong = -1, many = 2000;
  SHOW(writev(file, parts, wrong));
  SHOW(writev(file, parts, many));
  SHOW(writev(file, (struct iovec[]){{"x", (size_t)-1}}, 1));
  char a[4] = "", b[10] = "";
  struct iovec into[2] = {{a, 2}, {b, 9}};
  lseek(file, 0, SEEK_SET);
  SHOW(readv(file, into, 2));
  say("%s|%s\n", a, b);
  SHOW(preadv(file, into, 2, 3));
  SHOW(pwritev(file, parts, 1, 20));
  // A buffer that ends where memory ends: what fits is written.
  char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(munmap(edge + 4096, 4096) == 0);
  memset(edge, 'e', 4096);
  SHOW(ftruncate(file, 0));
  SHOW(write(file, edge + 4090, 10) > 0 || errno == EFAULT);
  SHOW(write(file, nowhere, 10));
  SHOW(write(file, nowhere, 0));
  CHECK(pwrite(file, "x", 1, 0) == 1);
  SHOW(pread(file, nowhere, 10, 0));
  // A large file, written and read in odd pieces.
  SHOW(ftruncate(file, 0));
  for (unsigned i = 0; i < sizeof buffer; i++) buffer[i] = (char)(i * 31 ^ i >> 8);
  long written = 0;
  for (int i = 0; i < 50; i++) written += write(file, buffer, 99999);
  say("written %ld\n", written);
  char *copy = malloc(99999);
  lseek(file, 0, SEEK_SET);
  for (int i = 0; i < 50; i++) {
    CHECK(read(file, copy, 99999) == 99999);
    CHECK(memcmp(copy, buffer, 99999) == 0);
  }
  free(copy);
  int second = open("second", O_RDWR | O_CREAT | O_TRUNC, 0600);
  off_t from = 10;
  SHOW(sendfile(second, file, &from, 100000));
  SHOW(from);
  CHECK(fcntl(file, F_SETFL, 0) == 0);
  SHOW(fallocate(second, 0, 0, 300000));
  struct stat facts;
  CHECK(fstat(second, &facts) == 0);
  SHOW(facts.st_size);
  SHOW(fsync(second));
  SHOW(fdatasync(second));
  struct rlimit limit = {1000, RLIM_INFINITY};
  signal(SIGXFSZ, SIG_IGN);
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  // Nothing is printed meanwhile: standard output may be a file, too.
  long first = pwrite(second, buffer, 100, 950), next = pwrite(second, buffer, 100, 1000), cut = ftruncate(second, 2000);
  int reason = errno;
  limit.rlim_cur = RLIM_INFINITY;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  say("at the limit: %ld, beyond it: %ld, %ld, %s\n", first, next, cut, error_name(reason));
  close(second);
  close(file);
  SHOW(unlink("file") | unlink("second"));
}

static void facts(void) {
  section("stat");
  struct stat facts, again;
  int file = make("file", "12345");
  SHOW(fstat(file, &facts));
  say("mode %o, links %lu, size %ld, uid %u, gid %u, block size %ld\n", facts.st_mode, (long)facts.st_nlink, (long)facts.st_size,
      facts.st_uid, facts.st_gid, (long)facts.st_blksize);
  CHECK(facts.st_blocks > 0 && facts.st_blocks <= 16);
  CHECK(stat("file", &again) == 0 && again.st_ino == facts.st_ino && again.st_dev == facts.st_dev);
  CHECK(link("file", "hard") == 0 && stat("hard", &again) == 0);
  say("links %lu, same file %d\n", (long)again.st_nlink, again.st_ino == facts.st_ino);
  CHECK(symlink("file", "soft") == 0);
  CHECK(lstat("soft", &again) == 0);
  say("link: mode %o, size %ld\n", again.st_mode, (long)again.st_size);
  CHECK(stat("soft", &again) == 0 && again.st_ino == facts.st_ino);
  SHOW(stat("missing", &again));
  SHOW(stat("file/x", &again));
  SHOW(stat("file", nowhere));
  SHOW(fstat(99, &again));
  CHECK(stat("/dev/null", &again) == 0);
  say("/dev/null: mode %o, device %u %u\n", again.st_mode & S_IFMT, major(again.st_rdev), minor(again.st_rdev));
  CHECK(stat("/", &again) == 0 && S_ISDIR(again.st_mode));
  struct statx more;
  SHOW(statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &more));
  say("mode %o, links %u, size %llu\n", more.stx_mode, more.stx_nlink, more.stx_size);
  CHECK((more.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
  SHOW(statx(file, "", AT_EMPTY_PATH, STATX_SIZE, &more));
  SHOW(statx(AT_FDCWD, "soft", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &more));
  SHOW(S_ISLNK(more.stx_mode));
  SHOW(statx(AT_FDCWD, "file", 0x40000000, STATX_SIZE, &more));
  SHOW(fstatat(AT_FDCWD, "soft", &again, AT_SYMLINK_NOFOLLOW));
  SHOW(fstatat(file, "", &again, AT_EMPTY_PATH));
  SHOW(fstatat(file, "", &again, 0));
  SHOW(fstatat(file, "x", &again, 0));
  SHOW(fstatat(AT_FDCWD, "file", &again, 0x80000));
  struct statfs system;
  SHOW(statfs(".", &system));
  CHECK(system.f_bsize > 0 && system.f_blocks > 0 && system.f_namelen == 255);
  SHOW(fstatfs(file, &system));
  SHOW(statfs("missing", &system));

  section("times");
  struct timespec times[2] = {{1000, 5}, {2000000000, 999999999}};
  SHOW(utimensat(AT_FDCWD, "file", times, 0));
  CHECK(stat("file", &again) == 0);
  say("%ld.%09ld %ld.%09ld\n", (long)again.st_atim.tv_sec, again.st_atim.tv_nsec, (long)again.st_mtim.tv_sec, again.st_mtim.tv_nsec);
  times[0].tv_nsec = UTIME_OMIT;
  times[1].tv_nsec = UTIME_NOW;
  SHOW(futimens(file, times));
  CHECK(fstat(file, &again) == 0);
  say("%ld, now %d\n", (long)again.st_atim.tv_sec, labs(again.st_mtim.tv_sec - time(NULL)) < 100);
  times[0].tv_nsec = -1;
  SHOW(futimens(file, times));
  SHOW(utimensat(AT_FDCWD, "missing", NULL, 0));
  times[0] = times[1] = (struct timespec){77, 0};
  SHOW(utimensat(AT_FDCWD, "soft", times, AT_SYMLINK_NOFOLLOW));
  CHECK(lstat("soft", &again) == 0 && again.st_mtim.tv_sec == 77);
  // Writing, truncating and renaming touch what they should.
  times[0] = times[1] = (struct timespec){500, 0};
  futimens(file, times);
  CHECK(fstat(file, &facts) == 0 && facts.st_ctim.tv_sec > 1000000000);
  SHOW(write(file, "", 0));
  CHECK(fstat(file, &again) == 0 && again.st_mtim.tv_sec == 500);
  SHOW(write(file, "x", 1));
  CHECK(fstat(file, &again) == 0 && again.st_mtim.tv_sec > 1000000000);
  close(file);
  SHOW(unlink("file") | unlink("hard") | unlink("soft"));
}

static void descriptors(void) {
  section("descriptors");
  int file = make("file", "abc");
  SHOW(file);
  SHOW(dup(file));
  SHOW(dup2(file, 10));
  SHOW(dup2(file, file));
  SHOW(dup3(file, file, 0));
  SHOW(dup2(99, 5));
  SHOW(dup2(99, 99));
  SHOW(dup2(file, -1));
  SHOW(dup2(file, 1 << 30));
  SHOW(fcntl(file, F_DUPFD, 20));
  SHOW(fcntl(file, F_DUPFD, -1));
  SHOW(fcntl(file, F_DUPFD_CLOEXEC, 5));
  SHOW(fcntl(5, F_GETFD));
  SHOW(fcntl(file, F_GETFD));
  SHOW(fcntl(file, F_SETFD, FD_CLOEXEC));
  SHOW(fcntl(file, F_GETFD));
  SHOW(fcntl(99, F_GETFD));
  SHOW(fcntl(file, 9999));
  SHOW(close_range(4, 30, 0));
  SHOW(fcntl(10, F_GETFD));
  SHOW(open("/dev/null", O_RDONLY));
  SHOW(close(4));
  SHOW(flock(file, LOCK_EX));
  int other = open("file", O_RDWR);
  SHOW(flock(other, LOCK_EX | LOCK_NB));
  SHOW(flock(file, LOCK_UN));
  SHOW(flock(other, LOCK_SH | LOCK_NB));
  SHOW(flock(file, LOCK_SH | LOCK_NB));
  close(other);
  struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
  SHOW(fcntl(file, F_SETLK, &range));
  IN_CHILD("a child's lock", {
    SHOW(fcntl(file, F_SETLK, &range));
    struct flock asked = range;
    CHECK(fcntl(file, F_GETLK, &asked) == 0 && asked.l_pid == getppid());
    say("held: type %d, start %ld, length %ld\n", asked.l_type, (long)asked.l_start, (long)asked.l_len);
    range.l_start = 10;
    SHOW(fcntl(file, F_SETLK, &range));
    _exit(0);
  });
  int waiting = 0;
  SHOW(ioctl(file, FIONREAD, &waiting));
  SHOW(waiting);
  SHOW(isatty(file));
  struct winsize size;
  SHOW(ioctl(file, TIOCGWINSZ, &size));
  SHOW(ioctl(99, TIOCGWINSZ, &size));
  close(file);
  SHOW(unlink("file"));
}

static void unlinked(void) {
  section("unlinked while open");
  int file = make("file", "still here");
  SHOW(unlink("file"));
  SHOW(access("file", F_OK));
  struct stat facts;
  CHECK(fstat(file, &facts) == 0);
  say("links %lu, size %ld\n", (long)facts.st_nlink, (long)facts.st_size);
  SHOW(read(file, buffer, 100));
  SHOW(write(file, "more", 4));
  SHOW(lseek(file, 0, SEEK_END));
  int fresh = make("file", "another");
  struct stat second;
  CHECK(fstat(fresh, &second) == 0 && second.st_ino != facts.st_ino);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  ssize_t length = readlink(path, buffer, sizeof buffer - 1);
  buffer[length > 0 ? length : 0] = 0;
  say("%s\n", strrchr(buffer, '/'));
  int through = open(path, O_RDONLY);
  SHOW(read(through, buffer, 100));
  close(through);
  close(file);
  close(fresh);
  SHOW(unlink("file"));
  // A directory that is gone.
  CHECK(mkdir("gone", 0700) == 0);
  int directory = open("gone", O_RDONLY | O_DIRECTORY);
  CHECK(rmdir("gone") == 0);
  SHOW(openat(directory, "x", O_RDWR | O_CREAT, 0600));
  SHOW(mkdirat(directory, "x", 0700));
  CHECK(fstat(directory, &facts) == 0);
  SHOW(syscall(SYS_getdents64, directory, buffer, sizeof buffer));
  close(directory);
  CHECK(mkdir("gone", 0700) == 0);
  IN_CHILD("in a place that is gone", {
    CHECK(chdir("gone") == 0);
    CHECK(rmdir("../gone") == 0);
    SHOW(getcwd(buffer, sizeof buffer) == NULL);
    SHOW(open("x", O_RDWR | O_CREAT, 0600));
    SHOW(open("..", O_RDONLY) > 0);
    _exit(0);
  });
}

int main(void) {
  close_inherited();
  umask(022);
  opening();
  positions();
  writing();
  facts();
  descriptors();
  unlinked();
  return finish();
}
