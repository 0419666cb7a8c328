// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>

#include "step.h"

/*
 * Before: the host's mount namespace. After: our own, a slave of it: the plan's
 * mounts stay here, the host's unmounts still arrive (so that a pool can be
 * taken away), and all ends with the last process that lives in it.
 */
int cmd_private_mounts(struct run *run, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (unshare(CLONE_NEWNS) < 0)
		return explain(run, -errno, "own mount namespace: %s",
			       strerror(errno));
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return explain(run, -errno, "make all mounts slaves: %s",
			       strerror(errno));
	return 0;
}
