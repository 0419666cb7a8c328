// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "mounts.h"
#include "step.h"

int cmd_clone_idmap(struct run *run, int argc, char **argv)
{
	int tree, userns = -1, ret;

	(void)argc;
	if (run->map.count > 0) {
		userns = run_userns(run);
		if (userns < 0)
			return userns;
	}
	tree = mounts_clone(argv[1], false);
	if (tree < 0)
		return explain(run, tree, "clone %s: %s", argv[1],
			       strerror(-tree));
	ret = mounts_set(tree, 0, userns, false);
	if (ret < 0) {
		explain(run, ret,
			"id map on %s: %s (does its file system allow it?)",
			argv[1], strerror(-ret));
		goto out;
	}
	ret = mounts_move(tree, argv[2]);
	if (ret < 0)
		explain(run, ret, "mount on %s: %s", argv[2], strerror(-ret));
out:
	close(tree);
	return ret;
}
