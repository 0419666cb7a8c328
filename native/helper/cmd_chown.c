// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "step.h"

int cmd_chown(struct run *run, int argc, char **argv)
{
	unsigned long uid, gid;
	uint32_t host_uid, host_gid;

	(void)argc;
	if (parse_number(argv[2], 10, UINT32_MAX - 1, &uid) < 0 ||
	    parse_number(argv[3], 10, UINT32_MAX - 1, &gid) < 0)
		return explain(run, -EINVAL, "not ids: %s %s", argv[2],
			       argv[3]);
	if (idmap_host(&run->map, false, (uint32_t)uid, &host_uid) < 0 ||
	    idmap_host(&run->map, true, (uint32_t)gid, &host_gid) < 0)
		return explain(run, -EINVAL, "ids %s %s are not in the map",
			       argv[2], argv[3]);
	if (lchown(argv[1], host_uid, host_gid) < 0)
		return explain(run, -errno, "chown %s: %s", argv[1],
			       strerror(errno));
	return 0;
}
