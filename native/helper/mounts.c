// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int mounts_clone(const char *source, bool recursive)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	int tree;

	if (recursive)
		flags |= AT_RECURSIVE;
	tree = open_tree(AT_FDCWD, source, flags);
	return tree < 0 ? -errno : tree;
}

int mounts_set(int tree, uint64_t attributes, int userns_fd, bool recursive)
{
	struct mount_attr attr;
	unsigned int flags = AT_EMPTY_PATH;

	if (attributes == 0 && userns_fd < 0)
		return 0;
	memset(&attr, 0, sizeof(attr));
	attr.attr_set = attributes;
	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	if (recursive)
		flags |= AT_RECURSIVE;
	if (mount_setattr(tree, "", flags, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

int mounts_propagate(int tree, uint64_t type, bool recursive)
{
	struct mount_attr attr;
	unsigned int flags = AT_EMPTY_PATH;

	memset(&attr, 0, sizeof(attr));
	attr.propagation = type;
	if (recursive)
		flags |= AT_RECURSIVE;
	if (mount_setattr(tree, "", flags, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

int mounts_move(int tree, const char *target)
{
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}
