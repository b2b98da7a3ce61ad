/* SPDX-License-Identifier: Apache-2.0 */
/* linux.h: what the parts of the Linux bench program share. */
#ifndef LINUX_H
#define LINUX_H
#include "measure.h"
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum { PAGE = 4096, BATCH = 100, REGION = 2 << 20 };

/* Samples of each metric. */
extern unsigned samples;

/* Gives up, saying why, unless a condition holds. */
void require(int condition, const char *what);

/* Prints a line for the host; of a measurement on the second channel, the second. */
void print_measurement(const struct measurement *measurement);
void print_second_measurement(const struct measurement *measurement);

/* Has a signal handled; the handler may be interrupted by its own signal. */
void install(int signal, void (*handler)(int, siginfo_t *, void *));
/* A handler that goes on after an instruction of two bytes. */
void step_over(int signal, siginfo_t *information, void *context);
/* Waits for a child, which has to succeed. */
void finish_child(pid_t child);

/* linux-memory.c */
void measure_appel(void), measure_map1(void), measure_map100(void), measure_unmap100(void);
/* linux-processes.c */
void measure_yield(void), measure_switch(void), measure_fork(void), measure_exec(void);
/* linux-pager.c, in the program of the applications only */
__attribute__((weak)) void measure_pager(void);
/* linux-collector.c, likewise */
__attribute__((weak)) void measure_collector(void);
/* linux-messages.c */
void measure_pipe(void), measure_messages(void);
#endif
