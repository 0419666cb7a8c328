// SPDX-License-Identifier: Apache-2.0
/*
 * own-layer: makes the writable layer of an overlay fit the current id map.
 *
 * What overlayfs itself makes there, its work directory and the marks of
 * deleted files, belongs to host root, which has another id in a map of
 * another size. Ids that a map lacks cannot be changed through it: the work
 * directory could not be emptied and no mark be written over. One look when
 * the map is the one of the last time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "step.h"
#include "walk.h"

/* overlayfs makes a directory of this name in the one it is given. */
#define WORK "/work"

struct owner {
	uid_t uid;
	gid_t gid;
};

static bool is_owned(const struct owner *owner, const struct stat *st)
{
	return st->st_uid == owner->uid && st->st_gid == owner->gid;
}

static int give(void *context, int dir, const char *name,
		const struct stat *st)
{
	const struct owner *owner = context;

	if (is_owned(owner, st))
		return 0;
	if (fchownat(dir, name, owner->uid, owner->gid,
		     AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int give_mark(void *context, int dir, const char *name,
		     const struct stat *st)
{
	if (!S_ISCHR(st->st_mode) || st->st_rdev != 0)
		return 0;
	return give(context, dir, name, st);
}

/* What is in the work directory is for overlayfs to throw away. */
static int give_below(void *context, int dir, const char *name,
		      const struct stat *st)
{
	return strcmp(name, ".") == 0 ? 0 : give(context, dir, name, st);
}

/* The work directory last: it tells the next run whether all is done. */
static int own(const char *layer, struct owner *owner)
{
	char upper[PATH_MAX], work[PATH_MAX];
	struct stat st;
	int ret;

	ret = snprintf(work, sizeof(work), "%s" WORK WORK, layer);
	if (ret < 0 || (size_t)ret >= sizeof(work))
		return -ENAMETOOLONG;
	if (lstat(work, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (is_owned(owner, &st))
		return 0;
	snprintf(upper, sizeof(upper), "%s/upper", layer);
	ret = walk_tree(upper, give_mark, owner);
	if (ret < 0)
		return ret;
	ret = walk_tree(work, give_below, owner);
	if (ret < 0)
		return ret;
	return lchown(work, owner->uid, owner->gid) < 0 ? -errno : 0;
}

int cmd_own_layer(struct run *run, int argc, char **argv)
{
	struct owner owner;
	uint32_t uid, gid;
	int ret;

	(void)argc;
	if (run->map.count == 0)
		return 0;
	if (idmap_host_root(&run->map, false, &uid) < 0 ||
	    idmap_host_root(&run->map, true, &gid) < 0)
		return explain(run, -EINVAL, "no id is left for host root");
	owner.uid = uid;
	owner.gid = gid;
	ret = own(argv[1], &owner);
	if (ret < 0)
		explain(run, ret, "owner of layer %s: %s", argv[1],
			strerror(-ret));
	return ret;
}
