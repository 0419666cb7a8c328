// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "step.h"

/*
 * Tries an idmapped clone of a directory and forgets it. The namespace carries
 * a map: Linux 6.9 and later refuse one that has none, whatever the file
 * system can do.
 */
int cmd_probe_idmap(struct run *run, int argc, char **argv)
{
	int tree, userns;

	(void)argc;
	userns = run_userns(run);
	if (userns < 0)
		return userns;
	tree = run_clone(run, argv[1], userns);
	if (tree < 0)
		return tree;
	close(tree);
	return 0;
}
