// SPDX-License-Identifier: Apache-2.0
/*
 * start: brings one container up and leaves its monitor behind.
 *
 * Runs in a small process of its own, never inside the daemon: liblxc forks
 * the monitor from the caller, and the monitor keeps what the caller had in
 * memory (and its mount namespace) for as long as the container runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "leftovers.h"
#include "liblxc.h"

static int start(struct run *run, struct lxc_container *c)
{
	long long log_end = liblxc_log_end(c);

	c->want_daemonize(c, true);
	c->want_close_all_fds(c, true);

	if (run->userns_fd >= 0)
		close(run->userns_fd);
	run->userns_fd = -1;
	malloc_trim(0);

	if (!c->start(c, 0, NULL)) {
		liblxc_explain(run, c, log_end);
		return explain(run, -EIO,
			       "liblxc could not start it and did not say why");
	}
	run->init_pid = (int)c->init_pid(c);
	/* A guest whose init ends at once has run all the same. */
	return run->init_pid > 0 ? 0 :
		explain(run, -ESRCH, "its init ended at once");
}

int cmd_start(struct run *run, int argc, char **argv)
{
	struct lxc_container *c;
	int ret;

	(void)argc;
	c = liblxc_open(run, argv[1], argv[2], argv[3], &ret);
	if (!c)
		return ret;
	ret = start(run, c);
	liblxc_close(c);
	if (ret < 0)
		leftovers_remove(argv[2]);
	return ret;
}
