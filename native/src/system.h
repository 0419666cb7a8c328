// SPDX-License-Identifier: Apache-2.0
/* Small system calls that Node lacks. Each returns 0 or a descriptor, or -errno. */
#ifndef SLIPWAY_SYSTEM_H
#define SLIPWAY_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

int system_pipe(int fds[2]);

/* A connected pair of sockets, close-on-exec, blocking. */
int system_socketpair(bool packets, int fds[2]);

/* A pty of the devpts that `devpts` is a directory of; the master is non-blocking. */
int system_pty(int devpts, int *master, int *slave);
int system_window_size(int fd, unsigned short columns, unsigned short rows);
int system_peer(int fd, struct ucred *peer);

/* Non-blocking connect to an abstract name of exactly `len` bytes. */
int system_connect(const char *name, size_t len);

/* One message with descriptors; all of it or -errno (-EAGAIN: try later). */
int system_send_fds(int socket, const char *data, size_t len, const int *fds,
		    int count);

/* sd_notify. 0 when there is nobody to tell. */
int system_notify(const char *message);

int system_pidfd(pid_t pid);
int system_signal(pid_t pid, int number);

/* Contents of a small file, to be freed; at most `max` bytes. */
int system_read_file(const char *path, size_t max, char **data, size_t *len);

/* liblxc's version, NULL when it cannot be loaded. */
const char *system_liblxc_version(void);
bool system_liblxc_has(const char *extension);

#ifdef __cplusplus
}
#endif
#endif
