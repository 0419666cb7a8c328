// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "leftovers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRIES 100
#define WAIT_NS 5000000		/* 100 * 5 ms: half a second */

/* True when something is still in it. */
static bool remove_group(const char *mount, const char *kind, const char *name)
{
	char path[PATH_MAX];
	int len;

	len = snprintf(path, sizeof(path), "%s/lxc.%s.%s", mount, kind, name);
	if (len < 0 || (size_t)len >= sizeof(path))
		return false;
	return rmdir(path) < 0 && errno == EBUSY;
}

/* liblxc moves its caller into the monitor's cgroup; we must not keep it. */
static void leave_group(const char *mount)
{
	char path[PATH_MAX];
	int fd, len;

	len = snprintf(path, sizeof(path), "%s/cgroup.procs", mount);
	if (len < 0 || (size_t)len >= sizeof(path))
		return;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Where that is refused the group stays; it does no harm. */
	if (write(fd, "0", 1) < 0)
		errno = 0;
	close(fd);
}

/* One pass over all hierarchies; true when something was busy. */
static bool remove_pass(const char *name, bool first)
{
	struct mntent *entry;
	bool busy = false;
	FILE *mounts;

	mounts = setmntent("/proc/self/mounts", "re");
	if (!mounts)
		return false;
	while ((entry = getmntent(mounts))) {
		if (strncmp(entry->mnt_type, "cgroup", 6) != 0)
			continue;
		if (first)
			leave_group(entry->mnt_dir);
		busy |= remove_group(entry->mnt_dir, "monitor", name);
		busy |= remove_group(entry->mnt_dir, "payload", name);
	}
	endmntent(mounts);
	return busy;
}

void leftovers_remove(const char *name)
{
	const struct timespec wait = { .tv_nsec = WAIT_NS };

	for (int tries = 0; tries < TRIES && remove_pass(name, tries == 0);
	     tries++)
		nanosleep(&wait, NULL);
}
