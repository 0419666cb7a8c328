// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "step.h"

int cmd_tmpfs(struct run *run, int argc, char **argv)
{
	unsigned long kib;
	char options[64];

	(void)argc;
	if (parse_number(argv[2], 10, 1ul << 40, &kib) < 0 || kib == 0)
		return explain(run, -EINVAL, "not a size in KiB: %s", argv[2]);
	snprintf(options, sizeof(options), "mode=0755,size=%luk", kib);
	if (mount("tmpfs", argv[1], "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return explain(run, -errno, "tmpfs on %s: %s", argv[1],
			       strerror(errno));
	return 0;
}
