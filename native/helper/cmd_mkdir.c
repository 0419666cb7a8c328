// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "step.h"

static int make(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* mkdir -p on the host's side; what exists keeps its mode. */
int cmd_mkdir(struct run *run, int argc, char **argv)
{
	char path[PATH_MAX];
	unsigned long mode;
	struct stat st;
	int ret;

	(void)argc;
	if (parse_number(argv[2], 8, 07777, &mode) < 0)
		return explain(run, -EINVAL, "not a mode: %s", argv[2]);
	if (argv[1][0] != '/' || strlen(argv[1]) >= sizeof(path))
		return explain(run, -EINVAL, "not an absolute path: %s",
			       argv[1]);
	strcpy(path, argv[1]);
	if (stat(path, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;

	for (char *at = path + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		ret = make(path, 0755);
		*at = '/';
		if (ret < 0)
			return explain(run, ret, "mkdir %s: %s", path,
				       strerror(-ret));
	}
	ret = make(path, 0700);
	if (ret == 0 && chmod(path, (mode_t)mode) < 0)
		ret = -errno;
	if (ret < 0)
		return explain(run, ret, "mkdir %s: %s", path, strerror(-ret));
	return 0;
}
