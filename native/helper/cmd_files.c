// SPDX-License-Identifier: Apache-2.0
/*
 * files: enters a container and answers questions about its files.
 *
 *	files pid PID	a running one: its namespaces are entered
 *	files root DIR	a stopped one, assembled at DIR by the steps before
 *
 * After {"ok":true,"pid":N} each request is a list as in a plan and gets one JSON
 * line; serve.c has the requests. The process has no rights beyond those of
 * the container's root, so ids outside its map and files that are not its own
 * are refused by the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "enter.h"
#include "json.h"
#include "serve.h"
#include "step.h"
#include "tree.h"

static int enter_running(struct run *run, const char *pid_text)
{
	int pidfd, ret;
	pid_t pid;

	pidfd = enter_pidfd(pid_text, &pid);
	if (pidfd < 0)
		return explain(run, pidfd, "process %s: %s", pid_text,
			       strerror(-pidfd));
	ret = enter_as_root(pidfd, pid);
	if (ret < 0)
		explain(run, ret, "enter process %s: %s", pid_text,
			strerror(-ret));
	close(pidfd);
	return ret;
}

/*
 * Before: host root in a private mount namespace. After: root of a user
 * namespace with the container's map (and not the one used for mounts, which
 * maps host root too), inside the assembled root.
 */
static int enter_stopped(struct run *run, const char *root)
{
	int userns, ret;

	if (chroot(root) < 0 || chdir("/") < 0)
		return explain(run, -errno, "enter %s: %s", root,
			       strerror(errno));
	if (run->map.count == 0)
		return 0;
	userns = run->userns_fd;
	if (setns(userns, CLONE_NEWUSER) < 0)
		ret = -errno;
	else
		ret = enter_become_root();
	if (ret < 0)
		explain(run, ret, "enter the id map: %s", strerror(-ret));
	return ret;
}

/* Needs /proc, so it comes before the change of root. */
static int make_plain_userns(struct run *run)
{
	int fd;

	if (run->userns_fd >= 0)
		close(run->userns_fd);
	run->userns_fd = -1;
	if (run->map.count == 0)
		return 0;
	fd = idmap_userns(&run->map, false);
	if (fd < 0)
		return explain(run, fd, "user namespace: %s", strerror(-fd));
	run->userns_fd = fd;
	return 0;
}

int cmd_files(struct run *run, int argc, char **argv)
{
	struct json json;
	int root, ret;

	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(argv[1], "pid") == 0) {
		ret = enter_running(run, argv[2]);
	} else if (strcmp(argv[1], "root") == 0) {
		ret = make_plain_userns(run);
		if (ret == 0)
			ret = enter_stopped(run, argv[2]);
	} else {
		ret = explain(run, -EINVAL, "files: pid or root");
	}
	if (ret < 0)
		return ret;
	if (run->userns_fd >= 0)
		close(run->userns_fd);
	run->userns_fd = -1;

	root = tree_root("/");
	if (root < 0)
		return root;
	json_init(&json);
	json_raw(&json, "{\"ok\":true,\"pid\":");
	json_number(&json, getpid());
	json_raw(&json, "}\n");
	ret = json_send(&json, run->out_fd);
	json_free(&json);
	run->answered = true;
	if (ret == 0)
		ret = serve(&run->in, run->out_fd, root);
	close(root);
	return ret;
}
