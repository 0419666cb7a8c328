// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "step.h"

static int make(const char *path, mode_t mode, dev_t dev, uid_t uid, gid_t gid)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (mknod(path, (mode & S_IFMT) | 0600, dev) < 0)
		return -errno;
	/* After the owner: chown takes set-id bits away, and umask is out of it. */
	if (lchown(path, uid, gid) < 0 || chmod(path, mode & 07777) < 0) {
		int err = -errno;

		unlink(path);
		return err;
	}
	return 0;
}

int cmd_mknod(struct run *run, int argc, char **argv)
{
	mode_t type = argv[2][0] == 'b' ? S_IFBLK : S_IFCHR;
	unsigned long major, minor, mode, uid, gid;
	uint32_t host_uid, host_gid;
	int ret;

	(void)argc;
	if ((strcmp(argv[2], "b") != 0 && strcmp(argv[2], "c") != 0) ||
	    parse_number(argv[3], 10, (1ul << 12) - 1, &major) < 0 ||
	    parse_number(argv[4], 10, (1ul << 20) - 1, &minor) < 0 ||
	    parse_number(argv[5], 8, 0777, &mode) < 0 ||
	    parse_number(argv[6], 10, UINT32_MAX - 1, &uid) < 0 ||
	    parse_number(argv[7], 10, UINT32_MAX - 1, &gid) < 0)
		return explain(run, -EINVAL, "not a device: %s %s:%s mode %s",
			       argv[2], argv[3], argv[4], argv[5]);
	if (idmap_host(&run->map, false, (uint32_t)uid, &host_uid) < 0 ||
	    idmap_host(&run->map, true, (uint32_t)gid, &host_gid) < 0)
		return explain(run, -EINVAL, "ids %s %s are not in the map",
			       argv[6], argv[7]);
	ret = make(argv[1], type | (mode_t)mode,
		   makedev((unsigned int)major, (unsigned int)minor), host_uid,
		   host_gid);
	if (ret < 0)
		explain(run, ret, "mknod %s: %s", argv[1], strerror(-ret));
	return ret;
}
