// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "enter.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "step.h"

int enter_pidfd(const char *pid_text, pid_t *pid)
{
	unsigned long value;
	int fd;

	if (parse_number(pid_text, 10, INT_MAX, &value) < 0 || value == 0)
		return -EINVAL;
	fd = pidfd_open((pid_t)value, 0);
	if (fd < 0)
		return -errno;
	*pid = (pid_t)value;
	return fd;
}

/* Before: host root in the host's mounts. After: the same in the container's. */
int enter_mounts(int pidfd)
{
	return setns(pidfd, CLONE_NEWNS) < 0 ? -errno : 0;
}

/* Before: host root in the host's network. After: the same in the container's. */
int enter_network(int pidfd)
{
	return setns(pidfd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int has_own_userns(pid_t pid)
{
	struct stat ours, theirs;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	if (stat("/proc/self/ns/user", &ours) < 0 || stat(path, &theirs) < 0)
		return -errno;
	return ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev;
}

int enter_become_root(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 ||
	    setresuid(0, 0, 0) < 0)
		return -errno;
	return 0;
}

/*
 * Before: host root. After: the container's root, with capabilities over its
 * user namespace alone. The pid namespace is not entered, so nothing inside
 * can see, trace or signal this process.
 */
int enter_as_root(int pidfd, pid_t pid)
{
	int own = has_own_userns(pid);

	if (own < 0)
		return own;
	if (!own)
		return enter_mounts(pidfd);
	if (setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -errno;
	return enter_become_root();
}
