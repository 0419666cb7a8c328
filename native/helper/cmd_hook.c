// SPDX-License-Identifier: Apache-2.0
/*
 * hook DIRECTORY: liblxc's post-stop hook.
 *
 * A guest that reboots would be started again by the same monitor from the
 * configuration it was started with. LXD makes a full stop and start of it,
 * and so do we: the hook leaves a file for the daemon and fails, which makes
 * liblxc stop instead. Everything else is none of the hook's business.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "step.h"

int hook_main(int argc, char **argv)
{
	const char *target = getenv("LXC_TARGET");
	int dir, file;

	if (argc < 2)
		return 2;
	if (!target || strcmp(target, "reboot") != 0)
		return 0;
	dir = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return 1;
	file = openat(dir, "reboot", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file >= 0)
		close(file);
	close(dir);
	return 1;
}
