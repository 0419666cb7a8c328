// SPDX-License-Identifier: Apache-2.0
/*
 * write-file: one small file below a root that a guest or an image filled.
 *
 * New files and directories belong to the container's root (creds.h); a file
 * that exists keeps its owner and mode. Only regular files are ever opened
 * for writing: the name may lead to a fifo or a device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "creds.h"
#include "step.h"
#include "tree.h"

static int write_all(int fd, const char *data, size_t len)
{
	ssize_t put;

	while (len > 0) {
		put = write(fd, data, len);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		data += put;
		len -= (size_t)put;
	}
	return 0;
}

/* Writable descriptor of an existing file; -EEXIST when it must stay. */
static int open_existing(int root, const char *path, bool create_only)
{
	struct stat st;
	int fd, opened;

	fd = tree_open(root, path, O_PATH, 0);
	if (fd < 0)
		return fd;
	if (create_only)
		opened = -EEXIST;
	else if (fstat(fd, &st) < 0)
		opened = -errno;
	else if (S_ISDIR(st.st_mode))
		opened = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		opened = -EINVAL;
	else
		opened = tree_reopen(fd, O_WRONLY | O_TRUNC | O_NOCTTY);
	close(fd);
	return opened;
}

static int create(int root, const char *path, char *name, int *parent)
{
	int fd;

	*parent = tree_make_parents(root, path, name);
	if (*parent < 0)
		return *parent;
	fd = tree_open(*parent, name,
		       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	if (fd != -EEXIST)
		return fd;
	/*
	 * The name is a link to nothing: the file it points to is made, when
	 * its directory is there. Nobody else works in the tree meanwhile, and
	 * O_CREAT finds no device behind a name that did not exist.
	 */
	return tree_open(root, path, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK,
			 0644);
}

static int write_file(int root, const char *path, bool create_only,
		      const char *content)
{
	char name[NAME_MAX + 1];
	int fd, parent = -1, ret;
	bool fresh = false;

	fd = open_existing(root, path, create_only);
	if (fd == -EEXIST)
		return 0;
	if (fd == -ENOENT) {
		fd = create(root, path, name, &parent);
		fresh = true;
	}
	if (fd < 0) {
		ret = fd;
		goto out;
	}
	ret = write_all(fd, content, strlen(content));
	if (close(fd) < 0 && ret == 0)
		ret = -errno;
	/* Half a file is worse than none: the next try would find it there. */
	if (ret < 0 && fresh)
		unlinkat(parent, name, 0);
out:
	if (parent >= 0)
		close(parent);
	return ret;
}

int cmd_write_file(struct run *run, int argc, char **argv)
{
	bool create_only = strcmp(argv[3], "create-only") == 0;
	int root, ret, back;

	(void)argc;
	if (argv[4][0] != '=' ||
	    (!create_only && strcmp(argv[3], "replace") != 0))
		return explain(run, -EINVAL, "write-file: bad arguments");
	root = tree_root(argv[1]);
	if (root < 0)
		return explain(run, root, "open %s: %s", argv[1],
			       strerror(-root));
	ret = creds_container(&run->map);
	if (ret < 0) {
		explain(run, ret, "the id map has no root");
		goto out;
	}
	ret = write_file(root, argv[2], create_only, argv[4] + 1);
	if (ret < 0)
		explain(run, ret, "write %s in %s: %s", argv[2], argv[1],
			strerror(-ret));
	back = creds_host();
	if (back < 0)
		ret = back;
out:
	close(root);
	return ret;
}
