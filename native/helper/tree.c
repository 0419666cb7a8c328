// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int tree_open(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned long)(unsigned int)(flags | O_CLOEXEC),
		.mode = mode,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* EAGAIN: a rename or mount somewhere raced with a ".." lookup. */
	for (int tries = 0; tries < 64; tries++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

int tree_root(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/*
 * Splits off the last part. `parent` (PATH_MAX) gets what is before it, "."
 * when there is nothing.
 */
static int split(const char *path, char *parent, char *name)
{
	size_t end = strlen(path), start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	if (end == start)
		return -EINVAL;
	if (end - start > NAME_MAX || start >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(name, path + start, end - start);
	name[end - start] = '\0';
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	if (start == 0) {
		strcpy(parent, ".");
	} else {
		memcpy(parent, path, start);
		parent[start] = '\0';
	}
	return 0;
}

int tree_parent(int root, const char *path, char *name)
{
	char parent[PATH_MAX];
	int ret;

	ret = split(path, parent, name);
	if (ret < 0)
		return ret;
	return tree_open(root, parent, O_PATH | O_DIRECTORY, 0);
}

/* Opens the directory path[0..len), making its last part when it is missing. */
static int open_or_make(int root, int above, const char *path, size_t start,
			size_t len)
{
	char prefix[PATH_MAX], part[NAME_MAX + 1];
	int fd;

	memcpy(prefix, path, len);
	prefix[len] = '\0';
	if (len - start > NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(part, prefix + start);
	if (strcmp(part, "..") == 0)
		return -EINVAL;

	fd = tree_open(root, prefix, O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT)
		return fd;
	if (mkdirat(above, part, 0755) < 0)
		return errno == EEXIST ? -ENOENT : -errno;
	return tree_open(above, part, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

int tree_make_parents(int root, const char *path, char *name)
{
	char parent[PATH_MAX];
	size_t at = 0, start;
	int fd, next, ret;

	ret = split(path, parent, name);
	if (ret < 0)
		return ret;

	fd = fcntl(root, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	for (;;) {
		while (parent[at] == '/')
			at++;
		if (!parent[at])
			return fd;
		start = at;
		while (parent[at] && parent[at] != '/')
			at++;
		next = open_or_make(root, fd, parent, start, at);
		close(fd);
		if (next < 0)
			return next;
		fd = next;
	}
}

int tree_reopen(int fd, int flags)
{
	char path[40];
	int opened;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	opened = open(path, flags | O_CLOEXEC);
	return opened < 0 ? -errno : opened;
}
