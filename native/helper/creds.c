// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "creds.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Leaving fsuid 0 takes the file capabilities away; this takes them back. */
static int raise_capabilities(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	if (syscall(SYS_capset, &head, data) < 0)
		return -errno;
	return 0;
}

int creds_ids(unsigned int uid, unsigned int gid)
{
	setfsgid(gid);
	setfsuid(uid);
	/* These two calls tell nothing; asking with an invalid id does. */
	if ((unsigned int)setfsgid((gid_t)-1) != gid ||
	    (unsigned int)setfsuid((uid_t)-1) != uid) {
		creds_host();
		return -EPERM;
	}
	return raise_capabilities();
}

int creds_container(const struct idmap *map)
{
	uint32_t uid, gid;
	int ret;

	ret = idmap_host(map, false, 0, &uid);
	if (!ret)
		ret = idmap_host(map, true, 0, &gid);
	if (ret < 0)
		return ret;
	return creds_ids(uid, gid);
}

int creds_host(void)
{
	setfsgid(getegid());
	setfsuid(geteuid());
	return raise_capabilities();
}
