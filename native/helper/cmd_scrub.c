// SPDX-License-Identifier: Apache-2.0
/*
 * scrub: takes out of an unpacked image what it must not bring.
 *
 * Device nodes, extended attributes in trusted. (overlayfs would believe
 * them) and those in security. but file capabilities. The tree is hostile:
 * links are not followed, other file systems not entered, depth is limited.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "step.h"
#include "tree.h"

#define DEPTH_MAX 1000
#define NAMES_MAX 65536		/* XATTR_LIST_MAX */

struct scrub {
	DIR *open[DEPTH_MAX];
	int depth;
	dev_t dev;
	char names[NAMES_MAX];
};

static bool is_unwanted(const char *name)
{
	if (strncmp(name, "trusted.", 8) == 0)
		return true;
	return strncmp(name, "security.", 9) == 0 &&
	       strcmp(name, "security.capability") != 0;
}

/* `path` ends in the name itself, which is not followed. */
static int scrub_attributes(struct scrub *s, const char *path)
{
	ssize_t len;

	len = llistxattr(path, s->names, sizeof(s->names));
	if (len < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (char *name = s->names; name < s->names + len;
	     name += strlen(name) + 1) {
		if (is_unwanted(name) && lremovexattr(path, name) < 0 &&
		    errno != ENODATA)
			return -errno;
	}
	return 0;
}

static int enter(struct scrub *s, int at, const char *name)
{
	int fd;

	if (s->depth == DEPTH_MAX)
		return -ELOOP;
	fd = openat(at, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	s->open[s->depth] = fdopendir(fd);
	if (!s->open[s->depth]) {
		close(fd);
		return -ENOMEM;
	}
	s->depth++;
	return 0;
}

static int scrub_entry(struct scrub *s, int dir, const char *name)
{
	char path[320];
	struct stat st;
	int ret;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (st.st_dev != s->dev)
		return 0;
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return unlinkat(dir, name, 0) < 0 ? -errno : 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	ret = scrub_attributes(s, path);
	if (ret < 0)
		return ret;
	return S_ISDIR(st.st_mode) ? enter(s, dir, name) : 0;
}

static int scrub_tree(struct scrub *s)
{
	struct dirent *entry;
	DIR *dir;
	int ret;

	while (s->depth > 0) {
		dir = s->open[s->depth - 1];
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			if (errno)
				return -errno;
			closedir(dir);
			s->depth--;
			continue;
		}
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		ret = scrub_entry(s, dirfd(dir), entry->d_name);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int scrub_root(struct scrub *s, const char *tree)
{
	char path[40];
	struct stat st;
	int ret;

	ret = enter(s, AT_FDCWD, tree);
	if (ret < 0)
		return ret;
	if (fstat(dirfd(s->open[0]), &st) < 0)
		return -errno;
	s->dev = st.st_dev;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/.",
		 dirfd(s->open[0]));
	ret = scrub_attributes(s, path);
	return ret < 0 ? ret : scrub_tree(s);
}

static void raise_open_files(void)
{
	struct rlimit limit;

	/* One descriptor per level; a failure shows as EMFILE in a deep tree. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int cmd_scrub(struct run *run, int argc, char **argv)
{
	struct scrub *s;
	int ret;

	(void)argc;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	raise_open_files();
	ret = scrub_root(s, argv[1]);
	if (ret == -ELOOP)
		explain(run, ret, "%s: deeper than %d directories", argv[1],
			DEPTH_MAX);
	else if (ret < 0)
		explain(run, ret, "scrub %s: %s", argv[1], strerror(-ret));
	while (s->depth > 0)
		closedir(s->open[--s->depth]);
	free(s);
	return ret;
}
