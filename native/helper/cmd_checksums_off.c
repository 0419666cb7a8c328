// SPDX-License-Identifier: Apache-2.0
/*
 * checksums-off: the kernel of a guest computes the checksums of what it sends
 * on one interface.
 *
 * By default it leaves them to hardware. On a veth pair there is none: the
 * receiving kernel knows that, but a switch that runs as a program reads bare
 * frames and hands on checksums that nobody will ever compute.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "enter.h"
#include "step.h"

static int checksums_off(const char *name)
{
	struct ethtool_value value = { .cmd = ETHTOOL_STXCSUM, .data = 0 };
	struct ifreq request;
	int fd, ret = 0;

	if (strlen(name) >= sizeof(request.ifr_name))
		return -EINVAL;
	memset(&request, 0, sizeof(request));
	strcpy(request.ifr_name, name);
	request.ifr_data = (char *)&value;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCETHTOOL, &request) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * Before: host root in the host's network. After: the same in the container's,
 * which is why only steps of its own kind may follow it in a plan.
 */
int cmd_checksums_off(struct run *run, int argc, char **argv)
{
	const char *who = argv[1];
	char started[16];
	int pidfd, ret;
	pid_t pid;

	(void)argc;
	if (strcmp(who, "-") == 0) {
		snprintf(started, sizeof(started), "%d", run->init_pid);
		who = started;
	}
	pidfd = enter_pidfd(who, &pid);
	/* The guest has ended again: nothing is sent any more. */
	if (pidfd == -ESRCH)
		return 0;
	if (pidfd < 0)
		return explain(run, pidfd, "process %s: %s", who,
			       strerror(-pidfd));
	ret = enter_network(pidfd);
	if (ret == 0)
		ret = checksums_off(argv[2]);
	close(pidfd);
	/* It may have ended meanwhile, and its network with it. */
	if (ret == -ESRCH)
		ret = 0;
	if (ret < 0)
		explain(run, ret, "checksums of %s in process %s: %s", argv[2],
			who, strerror(-ret));
	return ret;
}
