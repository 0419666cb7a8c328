// SPDX-License-Identifier: Apache-2.0
/*
 * What the steps of one plan share. main.c owns it; each cmd_<verb>.c carries
 * out one verb and returns 0 or -errno, with a sentence in `text` when errno
 * alone would not tell the reader what to look at.
 */
#ifndef SLIPWAY_STEP_H
#define SLIPWAY_STEP_H

#include <stdbool.h>
#include <stddef.h>

#include "idmap.h"
#include "plan.h"

#define TEXT_MAX 2048

struct run {
	struct idmap map;	/* no extents: privileged */
	int userns_fd;		/* made when first needed, else -1 */
	struct input in;	/* what follows the plan: control, requests */
	int out_fd;		/* result, status and answers */
	bool answered;		/* a verb has printed the result itself */
	int init_pid;		/* set by start */
	char text[TEXT_MAX];
};

/* argv[0] is the verb; argv[argc] is NULL. */
typedef int (*step_fn)(struct run *run, int argc, char **argv);

struct verb {
	const char *name;
	int min_args;		/* without the verb itself */
	int max_args;		/* -1: any number */
	step_fn fn;
};

const struct verb *find_verb(const char *name);

/* Sets run->text once (the first reason is the nearest one); returns err. */
int explain(struct run *run, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The user namespace for idmapped mounts, or -EINVAL without a map. */
int run_userns(struct run *run);

/*
 * A detached clone of a directory's mount, idmapped with `userns` unless that
 * is -1. Descriptor or -errno, explained.
 */
int run_clone(struct run *run, const char *source, int userns);

/* Decimal number within [0, max], or octal when base is 8. 0 or -EINVAL. */
int parse_number(const char *text, int base, unsigned long max,
		 unsigned long *value);

/* True when `list` ("ro,rec") has `word`. */
bool has_word(const char *list, const char *word);

int cmd_bind(struct run *run, int argc, char **argv);
int cmd_checksums_off(struct run *run, int argc, char **argv);
int cmd_chown(struct run *run, int argc, char **argv);
int cmd_clone_idmap(struct run *run, int argc, char **argv);
int cmd_confine(struct run *run, int argc, char **argv);
int cmd_exec(struct run *run, int argc, char **argv);
int cmd_files(struct run *run, int argc, char **argv);
int cmd_idmap(struct run *run, int argc, char **argv);
int cmd_loop(struct run *run, int argc, char **argv);
int cmd_mkdir(struct run *run, int argc, char **argv);
int cmd_mknod(struct run *run, int argc, char **argv);
int cmd_mount_into(struct run *run, int argc, char **argv);
int cmd_overlay(struct run *run, int argc, char **argv);
int cmd_own_layer(struct run *run, int argc, char **argv);
int cmd_private_mounts(struct run *run, int argc, char **argv);
int cmd_probe_idmap(struct run *run, int argc, char **argv);
int cmd_scrub(struct run *run, int argc, char **argv);
int cmd_start(struct run *run, int argc, char **argv);
int cmd_tmpfs(struct run *run, int argc, char **argv);
int cmd_umount_from(struct run *run, int argc, char **argv);
int cmd_write_file(struct run *run, int argc, char **argv);

/* Not a step: what liblxc runs when a container has stopped. */
int hook_main(int argc, char **argv);

#endif
