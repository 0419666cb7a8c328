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
	tree = run_clone(run, argv[1], userns);
	if (tree < 0)
		return tree;
	ret = mounts_move(tree, argv[2]);
	if (ret < 0)
		explain(run, ret, "mount on %s: %s", argv[2], strerror(-ret));
	close(tree);
	return ret;
}
