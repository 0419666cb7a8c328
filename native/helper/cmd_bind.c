// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "mounts.h"
#include "step.h"

int cmd_bind(struct run *run, int argc, char **argv)
{
	bool recursive = has_word(argv[3], "rec");
	uint64_t attributes = 0;
	int tree, ret;

	(void)argc;
	if (has_word(argv[3], "ro"))
		attributes |= MOUNT_ATTR_RDONLY;
	if (has_word(argv[3], "nodev"))
		attributes |= MOUNT_ATTR_NODEV;

	tree = mounts_clone(argv[1], recursive);
	if (tree < 0)
		return explain(run, tree, "clone %s: %s", argv[1],
			       strerror(-tree));
	ret = mounts_set(tree, attributes, -1, recursive);
	if (ret == 0)
		ret = mounts_move(tree, argv[2]);
	if (ret < 0)
		explain(run, ret, "bind %s on %s: %s", argv[1], argv[2],
			strerror(-ret));
	close(tree);
	return ret;
}
