// SPDX-License-Identifier: Apache-2.0
#include "step.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mounts.h"

static const struct verb verbs[] = {
	{ "bind", 3, 3, cmd_bind },
	{ "checksums-off", 2, 2, cmd_checksums_off },
	{ "chown", 3, 3, cmd_chown },
	{ "clone-idmap", 2, 2, cmd_clone_idmap },
	{ "confine", 3, -1, cmd_confine },
	{ "exec", 8, -1, cmd_exec },
	{ "files", 2, 2, cmd_files },
	{ "idmap", 1, 1, cmd_idmap },
	{ "loop", 4, 4, cmd_loop },
	{ "mkdir", 2, 2, cmd_mkdir },
	{ "mknod", 7, 7, cmd_mknod },
	{ "mount-into", 4, 4, cmd_mount_into },
	{ "overlay", 5, 5, cmd_overlay },
	{ "own-layer", 1, 1, cmd_own_layer },
	{ "private-mounts", 0, 0, cmd_private_mounts },
	{ "probe-idmap", 1, 1, cmd_probe_idmap },
	{ "scrub", 1, 1, cmd_scrub },
	{ "start", 3, 3, cmd_start },
	{ "tmpfs", 2, 2, cmd_tmpfs },
	{ "umount-from", 2, 3, cmd_umount_from },
	{ "write-file", 4, 4, cmd_write_file },
};

const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

int explain(struct run *run, int err, const char *format, ...)
{
	va_list args;

	if (run->text[0])
		return err;
	va_start(args, format);
	vsnprintf(run->text, sizeof(run->text), format, args);
	va_end(args);
	return err;
}

int run_userns(struct run *run)
{
	int fd;

	if (run->map.count == 0)
		return -EINVAL;
	if (run->userns_fd >= 0)
		return run->userns_fd;
	fd = idmap_userns(&run->map, true);
	if (fd < 0)
		return explain(run, fd, "user namespace for the id map: %s",
			       strerror(-fd));
	run->userns_fd = fd;
	return fd;
}

int run_clone(struct run *run, const char *source, int userns)
{
	int tree, ret;

	tree = mounts_clone(source, false);
	if (tree < 0)
		return explain(run, tree, "clone %s: %s", source,
			       strerror(-tree));
	ret = mounts_set(tree, 0, userns, false);
	if (ret < 0) {
		close(tree);
		return explain(run, ret,
			       "id map on %s: %s (does its file system allow it?)",
			       source, strerror(-ret));
	}
	return tree;
}

int parse_number(const char *text, int base, unsigned long max,
		 unsigned long *value)
{
	unsigned long parsed;
	char *end;

	/* strtoul itself would take a sign, spaces and "0x". */
	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	parsed = strtoul(text, &end, base);
	if (errno || *end || parsed > max)
		return -EINVAL;
	*value = parsed;
	return 0;
}

bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',')) {
		if (*at == ',')
			at++;
		if (strncmp(at, word, len) == 0 &&
		    (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}
