// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSYBOX "/bin/busybox"
#define ID_MAP "0 1000000 65536"

struct item {
	const char *key;
	const char *value;
};

static const char *const folders[] = {
	"rootfs", "rootfs/bin", "rootfs/dev", "rootfs/etc", "rootfs/proc",
	"rootfs/sbin", "rootfs/sys", "rootfs/tmp",
};

static const struct item links[] = {
	{ "rootfs/bin/true", "busybox" },
	{ "rootfs/bin/sh", "busybox" },
	{ "rootfs/sbin/init", "../bin/busybox" },
};

static const struct item config[] = {
	{ "lxc.log.level", "ERROR" },
	{ "lxc.rootfs.managed", "0" },
	{ "lxc.rootfs.options", "idmap=container" },
	{ "lxc.idmap", "u " ID_MAP },
	{ "lxc.idmap", "g " ID_MAP },
	{ "lxc.mount.auto", "proc:rw sys:rw cgroup:mixed" },
	{ "lxc.autodev", "1" },
	{ "lxc.pty.max", "1024" },
	{ "lxc.tty.max", "0" },
};

static int copy_file(const char *from, const char *to)
{
	int in, out, ret = 0;
	struct stat st;

	in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (out < 0 || fstat(in, &st) < 0)
		ret = -errno;
	while (ret == 0 && st.st_size > 0) {
		ssize_t put = sendfile(out, in, NULL, (size_t)st.st_size);

		if (put <= 0)
			ret = put < 0 ? -errno : -EIO;
		else
			st.st_size -= put;
	}
	if (out >= 0)
		close(out);
	close(in);
	return ret;
}

static int write_inittab(const char *directory)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/rootfs/etc/inittab", directory);
	file = fopen(path, "we");
	if (!file)
		return -errno;
	fputs("::sysinit:/bin/true\n", file);
	return fclose(file) == 0 ? 0 : -errno;
}

int guest_prepare(char *directory)
{
	char path[PATH_MAX + 64];
	int ret;

	if (directory[0] == '\0') {
		strcpy(directory, "/var/tmp/slipway-floor.XXXXXX");
		if (!mkdtemp(directory))
			return -errno;
	}
	/* The container's root must be able to pass. */
	if (chmod(directory, 0711) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, folders[i]);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	snprintf(path, sizeof(path), "%s/rootfs/bin/busybox", directory);
	ret = copy_file(BUSYBOX, path);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, links[i].key);
		if (symlink(links[i].value, path) < 0 && errno != EEXIST)
			return -errno;
	}
	return write_inittab(directory);
}

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	/* What cannot be removed stays behind in /var/tmp; nothing depends on it. */
	remove(path);
	return 0;
}

void guest_remove(const char *directory)
{
	nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool set_network(struct lxc_container *c, const char *bridge)
{
	if (!bridge)
		return c->set_config_item(c, "lxc.net.0.type", "empty");
	return c->set_config_item(c, "lxc.net.0.type", "veth") &&
	       c->set_config_item(c, "lxc.net.0.link", bridge) &&
	       c->set_config_item(c, "lxc.net.0.flags", "up");
}

static bool set_config(struct lxc_container *c, const char *directory,
		       const char *bridge)
{
	char value[PATH_MAX + 16];

	for (size_t i = 0; i < sizeof(config) / sizeof(*config); i++) {
		if (!c->set_config_item(c, config[i].key, config[i].value))
			return false;
	}
	snprintf(value, sizeof(value), "%s/log", directory);
	if (!c->set_config_item(c, "lxc.log.file", value))
		return false;
	snprintf(value, sizeof(value), "dir:%s/rootfs", directory);
	return c->set_config_item(c, "lxc.rootfs.path", value) &&
	       set_network(c, bridge);
}

struct lxc_container *guest_new(const char *directory, const char *bridge,
				int number)
{
	struct lxc_container *c;
	char name[32];

	snprintf(name, sizeof(name), "floor-%d", number);
	c = lxc_container_new(name, directory);
	if (!c)
		return NULL;
	if (!set_config(c, directory, bridge)) {
		lxc_container_put(c);
		return NULL;
	}
	c->want_daemonize(c, true);
	c->want_close_all_fds(c, true);
	return c;
}

/* The monitor is the parent of the container's init. */
static pid_t parent_of(pid_t pid)
{
	char path[64], line[256];
	int parent = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "PPid: %d", &parent) == 1)
			break;
	}
	fclose(file);
	return parent;
}

long guest_monitor_kib(struct lxc_container *container)
{
	char path[64], line[256];
	long kib = -EIO;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup",
		 (int)parent_of(container->init_pid(container)));
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Pss: %ld", &kib) == 1)
			break;
	}
	fclose(file);
	return kib;
}
