// SPDX-License-Identifier: Apache-2.0
/*
 * exec: runs a command in a running container and tells how it went.
 *
 * exec LXCPATH NAME CONFIG UID GID CWD FLAGS ENVCOUNT ENV... ARG...
 *
 * Descriptors 3, 4 and 5 become the command's 0, 1 and 2. Status lines:
 * {"pid":N} once it is started, {"exit":CODE} at its end. After the plan come
 * control lines, "signal N"; the end of that stream kills the command when
 * FLAGS has "kill", and is of no interest otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json.h"
#include "liblxc.h"

#define NOT_FOUND 127
#define NOT_EXECUTABLE 126
#define CONTROL_MAX 4096

/*
 * The last code of ours in the new process: in the container, with its ids.
 * liblxc has put the descriptors in place. A session of its own keeps the
 * command away from any terminal of the daemon.
 */
static int run_command(void *payload)
{
	char **argv = payload;

	setsid();
	if (isatty(STDIN_FILENO))
		ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	execvp(argv[0], argv);
	return errno == ENOENT || errno == ENOTDIR ? NOT_FOUND :
						     NOT_EXECUTABLE;
}

static void tell(const struct run *run, const char *key, long long value)
{
	struct json json;

	json_init(&json);
	json_raw(&json, "{\"");
	json_raw(&json, key);
	json_raw(&json, "\":");
	json_number(&json, value);
	json_raw(&json, "}\n");
	/* Nobody listens any more: the command goes on all the same. */
	json_send(&json, run->out_fd);
	json_free(&json);
}

static void send_signal(int pidfd, const char *line)
{
	unsigned long number;

	if (strncmp(line, "signal ", 7) == 0 &&
	    parse_number(line + 7, 10, SIGRTMAX, &number) == 0 && number > 0)
		pidfd_send_signal(pidfd, (int)number, NULL, 0);
}

static void use_lines(struct input *in, int pidfd)
{
	char *end;

	while ((end = memchr(in->data + in->used, '\n', in->len - in->used))) {
		*end = '\0';
		send_signal(pidfd, in->data + in->used);
		in->used = (size_t)(end - in->data) + 1;
	}
	input_drop_used(in);
	/* A line without an end is not ours: forget it. */
	if (in->len > CONTROL_MAX)
		in->len = 0;
}

static int exit_code(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

static int watch(struct run *run, int pidfd, bool kill_on_end)
{
	struct pollfd fds[2] = {
		{ .fd = pidfd, .events = POLLIN },
		{ .fd = run->in.fd, .events = POLLIN },
	};

	use_lines(&run->in, pidfd);
	for (;;) {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (fds[0].revents)
			return 0;
		if (!fds[1].revents)
			continue;
		if (input_fill(&run->in) > 0) {
			use_lines(&run->in, pidfd);
			continue;
		}
		fds[1].fd = -1;
		if (kill_on_end)
			pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	}
}

static int follow(struct run *run, pid_t pid, bool kill_on_end)
{
	int pidfd, ret;

	/* From here on the end of the control stream says what to do. */
	prctl(PR_SET_PDEATHSIG, 0);
	for (int fd = 3; fd <= 5; fd++)
		close(fd);
	/* The child is not reaped yet: its number cannot be another's. */
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		ret = -errno;
		kill(pid, SIGKILL);
		exit_code(pid);
		return explain(run, ret, "pidfd: %s", strerror(-ret));
	}
	run->answered = true;
	tell(run, "pid", pid);
	ret = watch(run, pidfd, kill_on_end);
	close(pidfd);
	tell(run, "exit", exit_code(pid));
	return ret;
}

static int parse_ids(struct run *run, char **argv, uid_t *uid, gid_t *gid)
{
	unsigned long user, group;

	if (parse_number(argv[4], 10, UINT32_MAX - 1, &user) < 0 ||
	    parse_number(argv[5], 10, UINT32_MAX - 1, &group) < 0)
		return explain(run, -EINVAL, "not ids: %s %s", argv[4],
			       argv[5]);
	*uid = (uid_t)user;
	*gid = (gid_t)group;
	return 0;
}

/*
 * liblxc would leave it to the new process to fail, without a word. What
 * cannot be read here (the container is just ending) it finds out itself.
 */
static int check_id(struct run *run, pid_t init, const char *file,
		    unsigned int id)
{
	unsigned int ns, host, range;
	char path[64];
	int found = 0;
	FILE *map;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)init, file);
	map = fopen(path, "re");
	if (!map)
		return 0;
	while (!found && fscanf(map, "%u %u %u", &ns, &host, &range) == 3)
		found = id >= ns && id - ns < range;
	fclose(map);
	return found ? 0 :
		explain(run, -ERANGE, "%u is not in the %s of the container",
			id, file);
}

static int attach(struct run *run, struct lxc_container *c,
		  lxc_attach_options_t *options, char **argv, pid_t *pid)
{
	long long log_end = liblxc_log_end(c);
	pid_t init = c->init_pid(c);
	int ret;

	if (init <= 0)
		return explain(run, -ESRCH, "the container is not running");
	ret = check_id(run, init, "uid_map", options->uid);
	if (ret == 0)
		ret = check_id(run, init, "gid_map", options->gid);
	if (ret < 0)
		return ret;
	if (c->attach(c, run_command, argv, options, pid) == 0)
		return 0;
	liblxc_explain(run, c, log_end);
	return explain(run, -EIO, "liblxc could not enter the container");
}

int cmd_exec(struct run *run, int argc, char **argv)
{
	lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
	struct lxc_container *c;
	char **env, **command;
	unsigned long count;
	pid_t pid;
	int ret;

	if (parse_number(argv[8], 10, 65535, &count) < 0 ||
	    9 + (int)count >= argc)
		return explain(run, -EINVAL, "exec: bad arguments");
	ret = parse_ids(run, argv, &options.uid, &options.gid);
	if (ret < 0)
		return ret;
	env = calloc(count + 1, sizeof(*env));
	if (!env)
		return -ENOMEM;
	memcpy(env, argv + 9, count * sizeof(*env));
	command = argv + 9 + count;

	options.initial_cwd = argv[6];
	options.env_policy = LXC_ATTACH_CLEAR_ENV;
	options.extra_env_vars = env;
	options.stdin_fd = 3;
	options.stdout_fd = 4;
	options.stderr_fd = 5;
	/* A closed status socket must not end us before the command's end. */
	signal(SIGPIPE, SIG_IGN);

	c = liblxc_open(run, argv[1], argv[2], argv[3], &ret);
	if (!c)
		goto out;
	ret = attach(run, c, &options, command, &pid);
	liblxc_close(c);
	if (ret == 0)
		ret = follow(run, pid, has_word(argv[7], "kill"));
out:
	free(env);
	return ret;
}
