// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID_MAX 4294967294ul	/* -1 is "no id" */

static int parse_id(const char **at, char end, uint32_t *value)
{
	unsigned long parsed = 0;
	const char *s = *at;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++) {
		parsed = parsed * 10 + (unsigned long)(*s - '0');
		if (parsed > ID_MAX)
			return -EINVAL;
	}
	if (*s != end && !(end == ',' && *s == '\0'))
		return -EINVAL;
	*value = (uint32_t)parsed;
	*at = *s ? s + 1 : s;
	return 0;
}

static int parse_extent(const char **at, struct extent *extent)
{
	const char *s = *at;
	int ret;

	extent->uid = *s == 'u' || *s == 'b';
	extent->gid = *s == 'g' || *s == 'b';
	if ((!extent->uid && !extent->gid) || s[1] != ':')
		return -EINVAL;
	s += 2;
	ret = parse_id(&s, ':', &extent->ns);
	if (!ret)
		ret = parse_id(&s, ':', &extent->host);
	if (!ret)
		ret = parse_id(&s, ',', &extent->range);
	if (ret)
		return ret;
	if (extent->range == 0 ||
	    (unsigned long)extent->ns + extent->range > ID_MAX + 1 ||
	    (unsigned long)extent->host + extent->range > ID_MAX + 1)
		return -EINVAL;
	*at = s;
	return 0;
}

int idmap_parse(struct idmap *map, const char *text)
{
	struct extent *extents;
	size_t count = 1;
	int ret;

	map->extents = NULL;
	map->count = 0;
	if (strcmp(text, "-") == 0)
		return 0;
	for (const char *s = text; *s; s++)
		count += *s == ',';
	if (count > 2 * IDMAP_MAX)
		return -EINVAL;

	extents = calloc(count, sizeof(*extents));
	if (!extents)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		ret = parse_extent(&text, &extents[i]);
		if (ret < 0) {
			free(extents);
			return ret;
		}
	}
	if (*text) {
		free(extents);
		return -EINVAL;
	}
	map->extents = extents;
	map->count = (int)count;
	return 0;
}

void idmap_free(struct idmap *map)
{
	free(map->extents);
	map->extents = NULL;
	map->count = 0;
}

int idmap_host(const struct idmap *map, bool gid, uint32_t ns, uint32_t *host)
{
	const struct extent *e;

	if (map->count == 0) {
		*host = ns;
		return 0;
	}
	for (int i = 0; i < map->count; i++) {
		e = &map->extents[i];
		if (!(gid ? e->gid : e->uid))
			continue;
		if (ns >= e->ns && ns - e->ns < e->range) {
			*host = e->host + (ns - e->ns);
			return 0;
		}
	}
	return -EINVAL;
}

int idmap_host_root(const struct idmap *map, bool gid, uint32_t *ns)
{
	const struct extent *e;
	unsigned long above = 0;

	for (int i = 0; i < map->count; i++) {
		e = &map->extents[i];
		if (!(gid ? e->gid : e->uid))
			continue;
		if (e->host == 0) {
			*ns = e->ns;
			return 0;
		}
		if ((unsigned long)e->ns + e->range > above)
			above = (unsigned long)e->ns + e->range;
	}
	if (above > ID_MAX)
		return -EINVAL;
	*ns = (uint32_t)above;
	return 0;
}

int idmap_text(const struct idmap *map, bool gid, bool host_root, char *text,
	       size_t size)
{
	const struct extent *e;
	uint32_t root;
	size_t len = 0;
	int put;

	for (int i = 0; i < map->count; i++) {
		e = &map->extents[i];
		if (!(gid ? e->gid : e->uid))
			continue;
		if (e->host == 0)
			host_root = false;
		put = snprintf(text + len, size - len, "%u %u %u\n", e->ns,
			       e->host, e->range);
		if (put < 0 || (size_t)put >= size - len)
			return -E2BIG;
		len += (size_t)put;
	}
	if (host_root) {
		if (idmap_host_root(map, gid, &root) < 0)
			return -EINVAL;
		put = snprintf(text + len, size - len, "%u 0 1\n", root);
		if (put < 0 || (size_t)put >= size - len)
			return -E2BIG;
		len += (size_t)put;
	}
	return (int)len;
}

static int write_map(pid_t pid, const char *name, const char *text, int len)
{
	char path[64];
	ssize_t put;
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	put = write(fd, text, (size_t)len);
	if (put < 0)
		ret = -errno;
	else if (put != len)
		ret = -EIO;
	close(fd);
	return ret;
}

static int hold_namespace(void *unused)
{
	(void)unused;
	/* Killed by the parent as soon as it holds the namespace itself. */
	for (;;)
		pause();
	return 0;
}

static int write_maps(const struct idmap *map, bool host_root, pid_t pid)
{
	char text[IDMAP_MAX * 34];
	int len, ret;

	len = idmap_text(map, false, host_root, text, sizeof(text));
	if (len < 0)
		return len;
	ret = write_map(pid, "uid_map", text, len);
	if (ret < 0)
		return ret;
	len = idmap_text(map, true, host_root, text, sizeof(text));
	if (len < 0)
		return len;
	return write_map(pid, "gid_map", text, len);
}

int idmap_userns(const struct idmap *map, bool host_root)
{
	char path[64];
	void *stack;
	pid_t pid;
	int ret;

	stack = mmap(NULL, 16384, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	/*
	 * A namespace of its own for a child that shares all else: it runs
	 * nothing but pause() on its own stack. Before: we are host root.
	 * After: unchanged for us; the child holds an empty user namespace.
	 */
	pid = clone(hold_namespace, (char *)stack + 16384,
		    CLONE_VM | CLONE_FILES | CLONE_NEWUSER | SIGCHLD, NULL);
	if (pid < 0) {
		ret = -errno;
		goto out;
	}
	ret = write_maps(map, host_root, pid);
	if (ret == 0) {
		snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		ret = open(path, O_RDONLY | O_CLOEXEC);
		if (ret < 0)
			ret = -errno;
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
out:
	munmap(stack, 16384);
	return ret;
}
