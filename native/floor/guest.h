// SPDX-License-Identifier: Apache-2.0
/* A busybox container with as little configuration as one can have. */
#ifndef SLIPWAY_GUEST_H
#define SLIPWAY_GUEST_H

#include <lxc/lxccontainer.h>

/*
 * Makes DIRECTORY/rootfs from the static busybox of this machine. An empty
 * directory becomes a new one below /var/tmp. 0 or -errno.
 */
int guest_prepare(char *directory);
void guest_remove(const char *directory);

/* Container number N over that root file system; NULL when liblxc refuses. */
struct lxc_container *guest_new(const char *directory, const char *bridge,
				int number);

/* Proportional memory of its monitor in KiB, or -errno. */
long guest_monitor_kib(struct lxc_container *container);

#endif
