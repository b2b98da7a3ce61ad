/* SPDX-License-Identifier: Apache-2.0 */
/* CHost.h: what the host command needs from Linux and cannot say in Swift. */
#ifndef CHOST_H
#define CHOST_H

#include <stdint.h>
#include <sys/types.h>

/* Starts a program in a process group of its own, killed when the caller dies. The three descriptors become its
 * standard streams; -1 means /dev/null. Signal mask and dispositions are the defaults. Returns its process id, or minus an
 * error number: also when the program cannot be executed. */
pid_t chost_spawn(const char *path, char *const argv[], char *const envp[], int input, int output, int error);

/* Like chost_spawn, in `directory` (NULL: here), in the caller's process group when `foreground` is not 0. */
pid_t chost_spawn_at(const char *path, char *const argv[], char *const envp[], int input, int output, int error,
                     const char *directory, int foreground);

/* Starts a program in `directory` at a new terminal of 24 rows and 80 columns; `master` becomes its other side. */
pid_t chost_spawn_at_terminal(const char *path, char *const argv[], char *const envp[], const char *directory,
                              int *master);
int chost_set_terminal_size(int descriptor, uint16_t rows, uint16_t columns);
/* Whether a terminal edits lines and echoes, as it does for a shell. */
int chost_terminal_is_cooked(int descriptor);

/* A pipe whose ends are not inherited, with room for `size` bytes if the system allows; 0 or minus an error number. */
int chost_pipe(int ends[2], int size);

/* A file in `directory` (or in memory, if that cannot be) that has no name and vanishes with its last descriptor;
 * minus an error number when there is none. */
int chost_nameless_file(const char *directory);

/* Blocks SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH and SIGCHLD, ignores SIGPIPE, and returns a
 * descriptor that reports the blocked ones, or minus an error number. */
int chost_signals(void);

/* The number of the next reported signal, 0 when there is none. */
int chost_next_signal(int descriptor);

/* Lets `signal` have its default effect on this process: does not return if that is to end it. */
void chost_take_signal(int signal);

/* Puts the terminal into raw mode and remembers how it was; 0 or minus an error number. A fatal error of this process
 * restores it too. */
int chost_terminal_raw(int descriptor);
/* Puts the terminal back if it was made raw. */
void chost_terminal_restore(void);

/* Rows and columns; 0 when it worked. */
int chost_terminal_size(int descriptor, uint16_t *rows, uint16_t *columns);

/* Locks a file for this process unless another has (flock(2)): 0 or minus an error number. */
int chost_lock(int descriptor);

/* A Unix stream socket called `name` in `directory`, however long that path is: one that listens, or one connected to
 * it; neither blocks the caller when it accepts. A descriptor or minus an error number. */
int chost_listen(const char *directory, const char *name);
int chost_connect(const char *directory, const char *name);
/* The next connection, whose descriptor never blocks; negative when there is none. */
int chost_accept(int listener);

/* Whether a virtual machine can be made with KVM: 0, or minus the error number of what failed. */
int chost_kvm_usable(void);

/* A Swift symbol's name for people, to be freed; NULL if it is none. */
char *chost_demangle(const char *name);

/* Process status as wait(2) reports it: exit status, or 128 + signal. */
int chost_exit_status(int status);
#endif
