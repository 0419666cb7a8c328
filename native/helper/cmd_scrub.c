// SPDX-License-Identifier: Apache-2.0
/*
 * scrub: takes out of an unpacked image what it must not bring.
 *
 * Device nodes, extended attributes in trusted. (overlayfs would believe
 * them) and those in security. but file capabilities. The tree is hostile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "step.h"
#include "walk.h"

#define NAMES_MAX 65536		/* XATTR_LIST_MAX */

struct scrub {
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

static int scrub_entry(void *context, int dir, const char *name,
		       const struct stat *st)
{
	char path[320];

	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		return unlinkat(dir, name, 0) < 0 ? -errno : 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	return scrub_attributes(context, path);
}

int cmd_scrub(struct run *run, int argc, char **argv)
{
	struct scrub *s;
	int ret;

	(void)argc;
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	ret = walk_tree(argv[1], scrub_entry, s);
	if (ret == -ELOOP)
		explain(run, ret, "%s: deeper than %d directories", argv[1],
			WALK_DEPTH_MAX);
	else if (ret < 0)
		explain(run, ret, "scrub %s: %s", argv[1], strerror(-ret));
	free(s);
	return ret;
}
