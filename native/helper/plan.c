// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void input_init(struct input *in, int fd)
{
	memset(in, 0, sizeof(*in));
	in->fd = fd;
}

void input_free(struct input *in)
{
	free(in->data);
	in->data = NULL;
	in->len = in->cap = in->used = 0;
}

int input_fill(struct input *in)
{
	size_t cap = in->cap ? in->cap : 8192;
	ssize_t got;
	char *grown;

	if (in->len == in->cap) {
		if (in->cap)
			cap = in->cap * 2;
		if (cap > PLAN_MAX_BYTES)
			return -E2BIG;
		grown = realloc(in->data, cap);
		if (!grown)
			return -ENOMEM;
		in->data = grown;
		in->cap = cap;
	}

	do {
		got = read(in->fd, in->data + in->len, in->cap - in->len);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	in->len += (size_t)got;
	return (int)got;
}

void input_drop_used(struct input *in)
{
	if (in->used == 0)
		return;
	memmove(in->data, in->data + in->used, in->len - in->used);
	in->len -= in->used;
	in->used = 0;
}

/* The count in front of a list; digits only, few enough not to overflow. */
static int parse_count(const char *text, size_t len, int *count)
{
	int value = 0;

	if (len == 0 || len > 5)
		return -EPROTO;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EPROTO;
		value = value * 10 + (text[i] - '0');
	}
	if (value > PLAN_MAX_STRINGS)
		return -E2BIG;
	*count = value;
	return 0;
}

int parse_list(struct input *in, size_t from, size_t *end, struct step *step)
{
	const char *nul;
	size_t at = from;
	char **argv;
	int count, ret;

	step->argc = 0;
	step->argv = NULL;
	if (at >= in->len)
		return -EAGAIN;
	nul = memchr(in->data + at, '\0', in->len - at);
	if (!nul)
		return in->len - at > 5 ? -EPROTO : -EAGAIN;
	ret = parse_count(in->data + at, (size_t)(nul - in->data) - at, &count);
	if (ret < 0)
		return ret;
	at = (size_t)(nul - in->data) + 1;

	argv = calloc((size_t)count + 1, sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	for (int i = 0; i < count; i++) {
		nul = at < in->len ?
			memchr(in->data + at, '\0', in->len - at) : NULL;
		if (!nul) {
			free(argv);
			return -EAGAIN;
		}
		argv[i] = in->data + at;
		at = (size_t)(nul - in->data) + 1;
	}

	step->argc = count;
	step->argv = argv;
	*end = at;
	return 0;
}

void step_free(struct step *step)
{
	free(step->argv);
	step->argv = NULL;
	step->argc = 0;
}

void plan_free(struct plan *plan)
{
	for (int i = 0; i < plan->count; i++)
		step_free(&plan->steps[i]);
	free(plan->steps);
	plan->steps = NULL;
	plan->count = 0;
}

static int plan_add(struct plan *plan, const struct step *step)
{
	struct step *grown;
	size_t size = ((size_t)plan->count + 1) * sizeof(*grown);

	grown = realloc(plan->steps, size);
	if (!grown)
		return -ENOMEM;
	plan->steps = grown;
	plan->steps[plan->count++] = *step;
	return 0;
}

/*
 * Finds where the plan ends before any string is pointed at, because reading
 * more may move the buffer. 0 when the ending step is there, else -EAGAIN.
 */
static int plan_is_whole(const struct input *in, size_t *seen, int *open)
{
	const char *nul;
	int count, ret;

	for (;;) {
		if (*seen >= in->len)
			return -EAGAIN;
		nul = memchr(in->data + *seen, '\0', in->len - *seen);
		if (*open > 0) {
			if (!nul)
				return -EAGAIN;
			*seen = (size_t)(nul - in->data) + 1;
			(*open)--;
			continue;
		}
		if (!nul)
			return in->len - *seen > 5 ? -EPROTO : -EAGAIN;
		ret = parse_count(in->data + *seen,
				  (size_t)(nul - in->data) - *seen, &count);
		if (ret < 0)
			return ret;
		*seen = (size_t)(nul - in->data) + 1;
		if (count == 0)
			return 0;
		*open = count;
	}
}

int plan_read(struct plan *plan, struct input *in)
{
	struct step step;
	size_t seen = 0, at = 0;
	int open = 0, ret;

	plan->steps = NULL;
	plan->count = 0;
	for (;;) {
		ret = plan_is_whole(in, &seen, &open);
		if (ret != -EAGAIN)
			break;
		ret = input_fill(in);
		if (ret == 0)
			ret = -EPROTO;
		if (ret < 0)
			break;
	}
	if (ret < 0)
		return ret;

	for (;;) {
		ret = parse_list(in, at, &at, &step);
		if (ret < 0)
			goto fail;
		if (step.argc == 0) {
			step_free(&step);
			break;
		}
		ret = plan_add(plan, &step);
		if (ret < 0) {
			step_free(&step);
			goto fail;
		}
	}
	in->used = at;
	return 0;
fail:
	plan_free(plan);
	return ret;
}
