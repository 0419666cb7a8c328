// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "step.h"

/*
 * redirect_dir lets a guest rename a directory that came with its image; the
 * kernel's default would answer EXDEV, which many programs do not expect.
 */
#define OPTIONS "redirect_dir=on,lowerdir=%s,upperdir=%s,workdir=%s"

int cmd_overlay(struct run *run, int argc, char **argv)
{
	const char *lowers = argv[1], *upper = argv[2], *work = argv[3];
	const char *target = argv[4];
	unsigned long flags = has_word(argv[5], "nodev") ? MS_NODEV : 0;
	struct statvfs vfs;
	char options[4096];
	int len;

	(void)argc;
	/* In mount options "," ends a value and "\\" escapes. */
	if (strpbrk(lowers, ",\\") || strpbrk(upper, ",\\") ||
	    strpbrk(work, ",\\"))
		return explain(run, -EINVAL, "comma or backslash in a path");
	len = snprintf(options, sizeof(options), OPTIONS, lowers, upper, work);
	if (len < 0 || (size_t)len >= sizeof(options))
		return explain(run, -E2BIG, "overlay: options are too long");

	if (mount("overlay", target, "overlay", flags, options) < 0)
		return explain(run, -errno, "overlay on %s: %s", target,
			       strerror(errno));
	/*
	 * overlayfs does not fail when it cannot write to its work directory
	 * (an idmapped layer in which host root has no id): it comes up
	 * read-only and says so in the kernel log alone.
	 */
	if (statvfs(target, &vfs) < 0)
		return -errno;
	if (vfs.f_flag & ST_RDONLY)
		return explain(run, -EROFS, "overlay on %s came up read-only",
			       target);
	return 0;
}
