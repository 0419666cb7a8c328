// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "step.h"

/* The namespace itself is made when a step first needs it. */
int cmd_idmap(struct run *run, int argc, char **argv)
{
	int ret;

	(void)argc;
	idmap_free(&run->map);
	if (run->userns_fd >= 0)
		close(run->userns_fd);
	run->userns_fd = -1;
	ret = idmap_parse(&run->map, argv[1]);
	if (ret < 0)
		return explain(run, ret, "not an id map: %s", argv[1]);
	return 0;
}
