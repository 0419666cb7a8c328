// SPDX-License-Identifier: Apache-2.0
/* Entering the namespaces of a running container, named by its init. */
#ifndef SLIPWAY_ENTER_H
#define SLIPWAY_ENTER_H

#include <sys/types.h>

/* pidfd of a process given as text, or -errno (-ESRCH when it is gone). */
int enter_pidfd(const char *pid_text, pid_t *pid);

/* Mount namespace alone: ids and capabilities stay the host's. */
int enter_mounts(int pidfd);

/* Network namespace alone: ids and capabilities stay the host's. */
int enter_network(int pidfd);

/*
 * Mount and user namespace; the caller becomes the container's root. When the
 * container has no user namespace of its own only the mounts are entered.
 */
int enter_as_root(int pidfd, pid_t pid);

/* Root of the user namespace that was just entered. */
int enter_become_root(void);

#endif
