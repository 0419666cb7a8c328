// SPDX-License-Identifier: Apache-2.0
/*
 * The helper: does what the daemon must not do itself (forking with liblxc,
 * mounting, entering namespaces), as a short process per request.
 *
 *	slipway-helper [--sealed] [--plan-fd=N]		carries out a plan
 *	slipway-helper launch				forks a helper per request
 *	slipway-helper confine DIR MAXBYTES PROGRAM...	one confined program
 *	slipway-helper hook DIR				liblxc's post-stop hook
 *
 * The plan (plan.h) comes on descriptor N, standard input unless told
 * otherwise. Exactly one JSON line is printed, except by `exec` and `files`
 * (status lines, answers) and by a `confine` that works (the program's own
 * output). The exit status is 0 or 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "launcher.h"
#include "sealed.h"
#include "step.h"

static void print_ok(const struct run *run)
{
	struct json json;

	json_init(&json);
	json_raw(&json, "{\"ok\":true");
	if (run->init_pid > 0) {
		json_raw(&json, ",\"initPid\":");
		json_number(&json, run->init_pid);
	}
	json_raw(&json, "}\n");
	json_send(&json, run->out_fd);
	json_free(&json);
}

static void print_failure(const struct run *run, const char *step, int index,
			  int err)
{
	struct json json;

	json_init(&json);
	json_raw(&json, "{\"ok\":false,\"step\":");
	json_string(&json, step);
	json_raw(&json, ",\"index\":");
	json_number(&json, index);
	json_raw(&json, ",\"errno\":");
	json_number(&json, -err);
	json_raw(&json, ",\"text\":");
	json_string(&json, run->text[0] ? run->text : strerror(-err));
	json_raw(&json, "}\n");
	json_send(&json, run->out_fd);
	json_free(&json);
}

static int run_step(struct run *run, const struct step *step)
{
	const struct verb *verb = find_verb(step->argv[0]);
	int args = step->argc - 1;

	if (!verb)
		return explain(run, -ENOSYS, "no such verb");
	if (args < verb->min_args ||
	    (verb->max_args >= 0 && args > verb->max_args))
		return explain(run, -EINVAL, "wrong number of arguments: %d",
			       args);
	return verb->fn(run, step->argc, step->argv);
}

static void run_init(struct run *run, int plan_fd)
{
	memset(run, 0, sizeof(*run));
	run->userns_fd = -1;
	run->out_fd = STDOUT_FILENO;
	input_init(&run->in, plan_fd);
}

/* Carries out the plan on plan_fd; 0 or 1 for the exit status. */
static int run_plan(int plan_fd)
{
	struct plan plan;
	struct run run;
	int ret, i;

	run_init(&run, plan_fd);
	ret = plan_read(&plan, &run.in);
	if (ret < 0) {
		explain(&run, ret, "the plan cannot be read: %s",
			strerror(-ret));
		print_failure(&run, "plan", -1, ret);
		input_free(&run.in);
		return 1;
	}

	for (i = 0; i < plan.count; i++) {
		ret = run_step(&run, &plan.steps[i]);
		if (ret < 0)
			break;
	}
	if (run.answered)
		ret = ret < 0 ? ret : 0;
	else if (ret < 0)
		print_failure(&run, plan.steps[i].argv[0], i, ret);
	else
		print_ok(&run);

	plan_free(&plan);
	input_free(&run.in);
	idmap_free(&run.map);
	return ret < 0;
}

static int run_confine(int argc, char **argv)
{
	struct run run;
	int ret;

	run_init(&run, STDIN_FILENO);
	if (argc < 4)
		ret = explain(&run, -EINVAL,
			      "usage: confine DIR MAXBYTES PROGRAM [ARG...]");
	else
		ret = cmd_confine(&run, argc, argv);
	run.out_fd = STDERR_FILENO;
	print_failure(&run, "confine", 0, ret);
	return 125;
}

/*
 * The daemon may be exempt from the kernel's choice of whom to kill when
 * memory runs out. Its guests are not; where there is no exemption to give
 * up, nothing changes.
 */
static int give_up_exemption(void)
{
	const char *path = "/proc/self/oom_score_adj";
	char text[16];
	ssize_t len;
	int fd;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text));
	if (len > 0 && text[0] == '-' && pwrite(fd, "0", 1, 0) < 0)
		len = -errno;
	close(fd);
	return len < 0 ? (int)len : 0;
}

/* What the caller left behind must not reach containers or liblxc. */
static int clean_process(void)
{
	sigset_t none;

	/* Without PATH liblxc writes id maps itself instead of running newuidmap. */
	if (clearenv() != 0)
		return -ENOMEM;
	umask(022);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return -errno;
	if (chdir("/") < 0)
		return -errno;
	return give_up_exemption();
}

int main(int argc, char **argv)
{
	unsigned long plan_fd = STDIN_FILENO;
	bool sealed = false;

	if (argc > 1 && strcmp(argv[1], "hook") == 0)
		return hook_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "confine") == 0)
		return run_confine(argc - 1, argv + 1);

	if (argc == 2 && strcmp(argv[1], "launch") == 0)
		return clean_process() < 0 ? 2 : launcher_main(run_plan);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--sealed") == 0)
			sealed = true;
		else if (strncmp(argv[i], "--plan-fd=", 10) != 0 ||
			 parse_number(argv[i] + 10, 10, 1023, &plan_fd) < 0)
			return 2;
	}
	if (sealed && sealed_exec(argv) < 0)
		return 2;
	if (clean_process() < 0)
		return 2;
	return run_plan((int)plan_fd);
}
