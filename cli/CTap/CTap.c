/* SPDX-License-Identifier: Apache-2.0 */
/* CTap.c: what Swift cannot call: ioctl for the TAP device, and addresses of sockets. */
#define _GNU_SOURCE
#include "CTap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in internet(uint32_t address, uint16_t port) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
}

static int set_up(int control, const char *name, uint32_t address, int mtu) {
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  struct sockaddr_in place = internet(address, 0);
  memcpy(&request.ifr_addr, &place, sizeof place);
  if (ioctl(control, SIOCSIFADDR, &request) < 0) return -errno;
  place = internet(0xffffff00, 0);
  memcpy(&request.ifr_netmask, &place, sizeof place);
  if (ioctl(control, SIOCSIFNETMASK, &request) < 0) return -errno;
  request.ifr_mtu = mtu;
  if (ioctl(control, SIOCSIFMTU, &request) < 0) return -errno;
  // A longer queue, where we may: a namespace of one's own does not allow it everywhere.
  request.ifr_qlen = 10000;
  (void)ioctl(control, SIOCSIFTXQLEN, &request);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(control, SIOCSIFFLAGS, &request) < 0) return -errno;
  return 0;
}

int ctap_open(const char *name, uint32_t address, int mtu) {
  int descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return -errno;
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(descriptor, TUNSETIFF, &request) < 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int error = control < 0 ? -errno : set_up(control, name, address, mtu);
  if (control >= 0) close(control);
  if (error < 0) {
    close(descriptor);
    return error;
  }
  return descriptor;
}

static int stream_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

int ctap_connect(uint32_t address, uint16_t port) {
  int descriptor = stream_socket();
  if (descriptor < 0) return -errno;
  struct sockaddr_in place = internet(address, port);
  if (connect(descriptor, (struct sockaddr *)&place, sizeof place) < 0 && errno != EINPROGRESS) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}

int ctap_listen(uint16_t port) {
  int descriptor = stream_socket();
  if (descriptor < 0) return -errno;
  int yes = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in place = internet(INADDR_ANY, port);
  if (bind(descriptor, (struct sockaddr *)&place, sizeof place) < 0 || listen(descriptor, 4096) < 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}

int ctap_accept(int listener) {
  int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int ctap_socket_error(int descriptor) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return errno;
  return error;
}

void ctap_end_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

void ctap_wait(int descriptor, int64_t nanoseconds) {
  struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  struct pollfd polled = {.fd = descriptor, .events = POLLIN};
  ppoll(&polled, 1, &time, NULL);
}
