// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enter.h"
#include "step.h"
#include "tree.h"

/*
 * The empty file that mount-into made for a device node. What the guest has
 * put there itself is not empty, or no file, and stays.
 */
static void remove_point(const char *name)
{
	struct stat st;

	if (lstat(name, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
		unlink(name);
}

/* False when the guest has taken the mount away itself. */
static bool is_mount(const char *name)
{
	struct statx st;
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;

	if (statx(AT_FDCWD, name, flags, 0, &st) < 0)
		return errno != ENOENT;
	if (!(st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
		return true;
	return st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int umount_inside(const char *target, int node)
{
	char name[NAME_MAX + 1];
	int root, parent, ret = 0;

	root = tree_root("/");
	if (root < 0)
		return root;
	parent = tree_parent(root, target, name);
	if (parent < 0) {
		ret = parent == -ENOENT ? 0 : parent;
		goto out;
	}
	/* A bare name below a directory that was looked up safely. */
	if (fchdir(parent) < 0 ||
	    (is_mount(name) &&
	     umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0))
		ret = -errno;
	else if (node)
		remove_point(name);
	close(parent);
out:
	close(root);
	return ret;
}

int cmd_umount_from(struct run *run, int argc, char **argv)
{
	int pidfd, ret;
	pid_t pid;

	pidfd = enter_pidfd(argv[1], &pid);
	if (pidfd < 0)
		return explain(run, pidfd, "process %s: %s", argv[1],
			       strerror(-pidfd));
	ret = enter_mounts(pidfd);
	if (ret == 0)
		ret = umount_inside(argv[2], argc > 3);
	if (ret < 0)
		explain(run, ret, "unmount %s in process %s: %s", argv[2],
			argv[1], strerror(-ret));
	close(pidfd);
	return ret;
}
