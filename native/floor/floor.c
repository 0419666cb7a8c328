// SPDX-License-Identifier: Apache-2.0
/*
 * slipway-floor [-n ROUNDS] [-m MONITORS] [-b BRIDGE] [-d DIRECTORY]
 *
 * What bare liblxc needs on this machine for what the daemon does: start, read
 * the state, enter, freeze, thaw and stop one unprivileged busybox container
 * with a lean configuration, ROUNDS times, from one small process. Then
 * MONITORS containers run at once and the memory of their monitors is read.
 * Prints one JSON object: medians, minima and maxima in milliseconds.
 *
 * The benchmark's floor: nothing of the daemon is in here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

enum timing { START, STATE, ATTACH, FREEZE, THAW, STOP, TIMINGS };

static const char *const timing_names[TIMINGS] = {
	"start", "state", "attach", "freeze", "unfreeze", "stop",
};

struct options {
	int rounds;
	int monitors;
	const char *bridge;
	char directory[PATH_MAX];
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static int attach_true(struct lxc_container *c)
{
	lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
	char *argv[] = { "/bin/true", NULL };
	lxc_attach_command_t command = { .program = argv[0], .argv = argv };
	int status;
	pid_t pid;

	options.env_policy = LXC_ATTACH_CLEAR_ENV;
	if (c->attach(c, lxc_attach_run_command, &command, &options, &pid) < 0)
		return -EIO;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return status == 0 ? 0 : -EIO;
}

static int read_state(struct lxc_container *c)
{
	const char *state = c->state(c);

	return state && strcmp(state, "RUNNING") == 0 ? 0 : -EIO;
}

static int do_timing(struct lxc_container *c, enum timing what)
{
	switch (what) {
	case START:
		return c->start(c, 0, NULL) ? 0 : -EIO;
	case STATE:
		return read_state(c);
	case ATTACH:
		return attach_true(c);
	case FREEZE:
		return c->freeze(c) ? 0 : -EIO;
	case THAW:
		return c->unfreeze(c) ? 0 : -EIO;
	default:
		return c->stop(c) ? 0 : -EIO;
	}
}

static int round_trip(const struct options *o, double *times[TIMINGS], int round)
{
	struct lxc_container *c;
	double begin;
	int ret = 0;

	c = guest_new(o->directory, o->bridge, 0);
	if (!c)
		return -ENOMEM;
	for (int t = 0; t < TIMINGS && ret == 0; t++) {
		begin = now_ms();
		ret = do_timing(c, (enum timing)t);
		times[t][round] = now_ms() - begin;
		if (ret < 0)
			fprintf(stderr, "%s: liblxc failed, see %s/log\n",
				timing_names[t], o->directory);
	}
	if (ret < 0)
		c->stop(c);
	lxc_container_put(c);
	return ret;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_times(double *times[TIMINGS], int rounds)
{
	for (int t = 0; t < TIMINGS; t++) {
		qsort(times[t], (size_t)rounds, sizeof(double), by_value);
		printf("\"%sMs\":{\"median\":%.3f,\"min\":%.3f,\"max\":%.3f},",
		       timing_names[t], times[t][rounds / 2], times[t][0],
		       times[t][rounds - 1]);
	}
}

static int measure_times(const struct options *o)
{
	double *times[TIMINGS], *all;
	int ret = 0;

	all = calloc((size_t)o->rounds * TIMINGS, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (int t = 0; t < TIMINGS; t++)
		times[t] = all + (size_t)t * (size_t)o->rounds;
	for (int round = 0; round < o->rounds && ret == 0; round++)
		ret = round_trip(o, times, round);
	if (ret == 0)
		print_times(times, o->rounds);
	free(all);
	return ret;
}

/* Mean proportional memory of the monitors of containers that run together. */
static int measure_monitors(const struct options *o)
{
	struct lxc_container **all;
	long sum = 0, kib;
	int count = 0, ret = 0;

	all = calloc((size_t)o->monitors, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (; count < o->monitors && ret == 0; count++) {
		all[count] = guest_new(o->directory, NULL, count);
		if (!all[count])
			break;
		if (!all[count]->start(all[count], 0, NULL))
			ret = -EIO;
	}
	if (count < o->monitors)
		ret = -ENOMEM;
	for (int i = 0; i < count && ret == 0; i++) {
		kib = guest_monitor_kib(all[i]);
		ret = kib < 0 ? (int)kib : 0;
		sum += kib;
	}
	if (ret == 0)
		printf("\"monitorPssKiB\":%ld", sum / count);
	for (int i = 0; i < count; i++) {
		all[i]->stop(all[i]);
		lxc_container_put(all[i]);
	}
	free(all);
	return ret;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	int option;

	while ((option = getopt(argc, argv, "n:m:b:d:")) != -1) {
		if (option == 'n')
			o->rounds = atoi(optarg);
		else if (option == 'm')
			o->monitors = atoi(optarg);
		else if (option == 'b')
			o->bridge = optarg;
		else if (option == 'd' && strlen(optarg) < PATH_MAX / 2)
			strcpy(o->directory, optarg);
		else
			return -EINVAL;
	}
	if (o->rounds < 1 || o->monitors < 1 || o->rounds > 10000 ||
	    o->monitors > 1000 || optind != argc)
		return -EINVAL;
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .rounds = 20, .monitors = 8 };
	bool scratch;
	int ret;

	if (parse_options(argc, argv, &o) < 0) {
		fprintf(stderr, "usage: slipway-floor [-n ROUNDS] "
				"[-m MONITORS] [-b BRIDGE] [-d DIRECTORY]\n");
		return 2;
	}
	/* With newuidmap out of reach liblxc writes the id map itself. */
	if (clearenv() != 0)
		return 1;
	scratch = o.directory[0] == '\0';
	ret = guest_prepare(o.directory);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", o.directory, strerror(-ret));
		return 1;
	}
	printf("{\"rounds\":%d,\"liblxc\":\"%s\",", o.rounds,
	       lxc_get_version());
	ret = measure_times(&o);
	if (ret == 0)
		ret = measure_monitors(&o);
	printf("}\n");
	if (scratch)
		guest_remove(o.directory);
	return ret < 0;
}
