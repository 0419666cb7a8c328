// SPDX-License-Identifier: Apache-2.0
/*
 * mount-into: hot plug of a mount into a running container.
 *
 * The clone is made and idmapped on the host's side; the mount point is made
 * as the container's root and looked up as inside its root; both ends of the
 * move are descriptors, so the guest cannot redirect it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "creds.h"
#include "enter.h"
#include "mounts.h"
#include "step.h"
#include "tree.h"

static int make_point(int root, const char *target, bool directory)
{
	char name[NAME_MAX + 1];
	int parent, fd, ret = 0;

	parent = tree_make_parents(root, target, name);
	if (parent < 0)
		return parent;
	if (directory) {
		if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
			ret = -errno;
	} else {
		fd = tree_open(parent, name,
			       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
		if (fd >= 0)
			close(fd);
		else if (fd != -EEXIST)
			ret = fd;
	}
	close(parent);
	return ret;
}

/* O_PATH descriptor of the mount point; it is made when it is missing. */
static int open_point(struct run *run, int root, const char *target,
		      bool directory)
{
	int flags = O_PATH | (directory ? O_DIRECTORY : 0);
	int fd, ret, back;

	fd = tree_open(root, target, flags, 0);
	if (fd != -ENOENT)
		return fd;
	ret = creds_container(&run->map);
	if (ret < 0)
		return ret;
	ret = make_point(root, target, directory);
	back = creds_host();
	if (ret == 0)
		ret = back;
	return ret < 0 ? ret : tree_open(root, target, flags, 0);
}

static int move_into(struct run *run, int tree, const char *target)
{
	struct stat st;
	int root, point, ret = 0;

	if (fstat(tree, &st) < 0)
		return -errno;
	root = tree_root("/");
	if (root < 0)
		return root;
	point = open_point(run, root, target, S_ISDIR(st.st_mode));
	if (point < 0) {
		ret = point;
		goto out;
	}
	if (move_mount(tree, "", point, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		ret = -errno;
	close(point);
out:
	close(root);
	return ret;
}

/*
 * Unless it is asked for, nothing that the guest mounts below is seen on the
 * host: most hosts share all their mounts, and a clone would be a peer.
 */
static uint64_t propagation(const char *flags)
{
	if (has_word(flags, "shared"))
		return MS_SHARED;
	if (has_word(flags, "slave"))
		return MS_SLAVE;
	return has_word(flags, "unbindable") ? MS_UNBINDABLE : MS_PRIVATE;
}

static int clone_source(struct run *run, const char *source, const char *flags)
{
	bool recursive = has_word(flags, "rec");
	uint64_t attributes = has_word(flags, "ro") ? MOUNT_ATTR_RDONLY : 0;
	int tree, userns = -1, ret;

	if (has_word(flags, "idmap") && run->map.count > 0) {
		userns = run_userns(run);
		if (userns < 0)
			return userns;
	}
	tree = mounts_clone(source, recursive);
	if (tree < 0)
		return explain(run, tree, "clone %s: %s", source,
			       strerror(-tree));
	ret = mounts_set(tree, attributes, userns, recursive);
	if (ret == 0)
		ret = mounts_propagate(tree, propagation(flags), recursive);
	if (ret < 0) {
		close(tree);
		return explain(run, ret, "attributes of %s: %s", source,
			       strerror(-ret));
	}
	return tree;
}

int cmd_mount_into(struct run *run, int argc, char **argv)
{
	int pidfd, tree, ret;
	pid_t pid;

	(void)argc;
	pidfd = enter_pidfd(argv[1], &pid);
	if (pidfd < 0)
		return explain(run, pidfd, "process %s: %s", argv[1],
			       strerror(-pidfd));
	tree = clone_source(run, argv[2], argv[4]);
	if (tree < 0) {
		ret = tree;
		goto out;
	}
	ret = enter_mounts(pidfd);
	if (ret == 0)
		ret = move_into(run, tree, argv[3]);
	if (ret < 0)
		explain(run, ret, "mount %s on %s in process %s: %s", argv[2],
			argv[3], argv[1], strerror(-ret));
	close(tree);
out:
	close(pidfd);
	return ret;
}
