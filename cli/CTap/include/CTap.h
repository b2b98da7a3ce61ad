/* SPDX-License-Identifier: Apache-2.0 */
/* CTap.h: a TAP device of this network namespace, and sockets that do not block. */
#ifndef CTAP_H
#define CTAP_H

#include <stdint.h>

/* Makes the TAP device `name`, gives the host's side an IPv4 address (in the machine's byte order) in a network of 24
 * bits, and starts it. Returns a descriptor that does not block, one frame a read or write; or minus an error number. */
int ctap_open(const char *name, uint32_t address, int mtu);

/* Starts a connection to an address and port; a descriptor, or minus an error number. */
int ctap_connect(uint32_t address, uint16_t port);
/* A listener on all addresses; a descriptor, or minus an error number. */
int ctap_listen(uint16_t port);
/* The next connection; a descriptor, or minus an error number: -EAGAIN when there is none. */
int ctap_accept(int listener);
/* The error of a socket, 0 when there is none. */
int ctap_socket_error(int descriptor);

/* Waits until a descriptor can be read, or so many nanoseconds. */
void ctap_wait(int descriptor, int64_t nanoseconds);

/* Has this process end when its parent does. */
void ctap_end_with_parent(void);
#endif
