// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct walk {
	DIR *open[WALK_DEPTH_MAX];
	int depth;
	dev_t dev;
	walk_fn visit;
	void *context;
};

static int enter(struct walk *w, int at, const char *name)
{
	int fd;

	if (w->depth == WALK_DEPTH_MAX)
		return -ELOOP;
	fd = openat(at, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	w->open[w->depth] = fdopendir(fd);
	if (!w->open[w->depth]) {
		close(fd);
		return -ENOMEM;
	}
	w->depth++;
	return 0;
}

static int visit_entry(struct walk *w, int dir, const char *name)
{
	struct stat st;
	int ret;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (st.st_dev != w->dev)
		return 0;
	ret = w->visit(w->context, dir, name, &st);
	if (ret < 0)
		return ret;
	return S_ISDIR(st.st_mode) ? enter(w, dir, name) : 0;
}

static int visit_all(struct walk *w)
{
	struct dirent *entry;
	DIR *dir;
	int ret;

	while (w->depth > 0) {
		dir = w->open[w->depth - 1];
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			if (errno)
				return -errno;
			closedir(dir);
			w->depth--;
			continue;
		}
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		ret = visit_entry(w, dirfd(dir), entry->d_name);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int visit_root(struct walk *w, const char *tree)
{
	struct stat st;
	int ret, fd;

	ret = enter(w, AT_FDCWD, tree);
	if (ret < 0)
		return ret;
	fd = dirfd(w->open[0]);
	if (fstat(fd, &st) < 0)
		return -errno;
	w->dev = st.st_dev;
	ret = w->visit(w->context, fd, ".", &st);
	return ret < 0 ? ret : visit_all(w);
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

int walk_tree(const char *tree, walk_fn visit, void *context)
{
	struct walk *w;
	int ret;

	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->visit = visit;
	w->context = context;
	raise_open_files();
	ret = visit_root(w, tree);
	while (w->depth > 0)
		closedir(w->open[--w->depth]);
	free(w);
	return ret;
}
