// SPDX-License-Identifier: Apache-2.0
/*
 * Reading a plan: a list of steps, each a list of strings.
 *
 * On the wire a step is the decimal number of its strings and then the
 * strings, each ended by NUL; a step of 0 strings ends the plan:
 *
 *	"3" NUL "mkdir" NUL "/a" NUL "0755" NUL "0" NUL
 *
 * The same lists, one at a time, are the requests of `files`. What follows the
 * plan on the descriptor stays readable, so one socket can carry both.
 */
#ifndef SLIPWAY_PLAN_H
#define SLIPWAY_PLAN_H

#include <stddef.h>

#define PLAN_MAX_BYTES (16u << 20)
#define PLAN_MAX_STRINGS 65536

/* Bytes read from a descriptor and not yet used. */
struct input {
	int fd;
	char *data;
	size_t len;
	size_t cap;
	size_t used;
};

/* One step; strings point into the input they were read from. */
struct step {
	int argc;
	char **argv;
};

struct plan {
	struct step *steps;
	int count;
};

void input_init(struct input *in, int fd);
void input_free(struct input *in);

/* Reads once more; number of bytes, 0 at the end of file, or -errno. */
int input_fill(struct input *in);

/* Forgets the bytes that were used (strings in them become invalid). */
void input_drop_used(struct input *in);

/*
 * Parses one list out of in->data[from..len) without reading. On success *end
 * is where the next one begins and step->argv holds offsets made pointers.
 * 0, -EAGAIN when more bytes are needed, -EPROTO, -E2BIG or -ENOMEM.
 */
int parse_list(struct input *in, size_t from, size_t *end, struct step *step);
void step_free(struct step *step);

/* Reads a whole plan. 0, or -errno (-EPROTO for a plan that is cut off). */
int plan_read(struct plan *plan, struct input *in);
void plan_free(struct plan *plan);

#endif
