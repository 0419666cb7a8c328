// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "mounts.h"
#include "step.h"

/*
 * Tries an idmapped clone of a directory and forgets it. The namespace carries
 * a map: Linux 6.9 and later refuse one that has none, whatever the file
 * system can do.
 */
int cmd_probe_idmap(struct run *run, int argc, char **argv)
{
	int tree, userns, ret;

	(void)argc;
	userns = run_userns(run);
	if (userns < 0)
		return userns;
	tree = mounts_clone(argv[1], false);
	if (tree < 0)
		return explain(run, tree, "clone %s: %s", argv[1],
			       strerror(-tree));
	ret = mounts_set(tree, 0, userns, false);
	if (ret < 0)
		explain(run, ret, "id map on %s: %s", argv[1], strerror(-ret));
	close(tree);
	return ret;
}
