// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "liblxc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIBRARY "liblxc.so.1"
#define TAIL_MAX 16384

typedef struct lxc_container *(*new_fn)(const char *name, const char *path);
typedef int (*put_fn)(struct lxc_container *container);

static void *library(void)
{
	/* Loaded twice it is the same object; it is never unloaded. */
	return dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
}

void liblxc_preload(void)
{
	library();
}

struct lxc_container *liblxc_open(struct run *run, const char *lxcpath,
				  const char *name, const char *config,
				  int *err)
{
	struct lxc_container *container;
	void *lib = library();
	new_fn create;

	if (!lib) {
		*err = explain(run, -ELIBACC, "load %s: %s", LIBRARY,
			       dlerror());
		return NULL;
	}
	/* ISO C has no cast from object to function pointer; POSIX has. */
	*(void **)&create = dlsym(lib, "lxc_container_new");
	container = create ? create(name, lxcpath) : NULL;
	if (!container) {
		*err = explain(run, -ENOMEM, "liblxc refused container %s",
			       name);
		return NULL;
	}
	if (!container->load_config(container, config)) {
		*err = explain(run, -EINVAL,
			       "liblxc refused the configuration %s", config);
		liblxc_close(container);
		return NULL;
	}
	return container;
}

void liblxc_close(struct lxc_container *container)
{
	put_fn put;

	*(void **)&put = dlsym(library(), "lxc_container_put");
	if (put)
		put(container);
}

static int log_path(struct lxc_container *container, char *path, size_t size)
{
	int len = container->get_config_item(container, "lxc.log.file", path,
					     (int)size);

	return len > 0 && (size_t)len < size ? 0 : -ENOENT;
}

long long liblxc_log_end(struct lxc_container *container)
{
	char path[PATH_MAX];
	struct stat st;

	if (log_path(container, path, sizeof(path)) < 0 || stat(path, &st) < 0)
		return 0;
	return st.st_size;
}

/*
 * A line is "lxc <name> <time> <LEVEL> <part> - <file>:<func>:<line> - <text>".
 * Returns the text of an error line, NULL for the others.
 */
static char *error_text(char *line)
{
	char *text;

	if (!strstr(line, " ERROR "))
		return NULL;
	text = strstr(line, " - ");
	if (text)
		text = strstr(text + 3, " - ");
	return text ? text + 3 : NULL;
}

void liblxc_explain(struct run *run, struct lxc_container *container,
		    long long from)
{
	char path[PATH_MAX], tail[TAIL_MAX + 1], *line, *text, *save = NULL;
	size_t used = 0;
	ssize_t len;
	int fd, put;

	if (run->text[0] || log_path(container, path, sizeof(path)) < 0)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	len = pread(fd, tail, TAIL_MAX, from);
	close(fd);
	if (len <= 0)
		return;
	tail[len] = '\0';

	for (line = strtok_r(tail, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		text = error_text(line);
		if (!text)
			continue;
		put = snprintf(run->text + used, sizeof(run->text) - used,
			       "%s%s", used ? "; " : "", text);
		if (put < 0 || (size_t)put >= sizeof(run->text) - used)
			break;
		used += (size_t)put;
	}
}
