// SPDX-License-Identifier: Apache-2.0
/*
 * confine: one program that reads what strangers wrote (tar, unsquashfs,
 * qemu-img). It sees the file system read-only but one directory, a /dev with
 * nothing but harmless nodes, no network, few capabilities and a limit on
 * file size, and it dies with its caller.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounts.h"
#include "step.h"

#define NODE_COUNT 5

static const char *const nodes[NODE_COUNT] = {
	"null", "zero", "full", "random", "urandom",
};

/* What unpacking files with their owners, modes and capabilities needs. */
static const int kept[] = {
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
	CAP_FSETID, CAP_MKNOD, CAP_SETFCAP,
};

static int clone_nodes(int trees[NODE_COUNT])
{
	char path[32];

	for (int i = 0; i < NODE_COUNT; i++) {
		snprintf(path, sizeof(path), "/dev/%s", nodes[i]);
		trees[i] = mounts_clone(path, false);
		if (trees[i] < 0)
			return trees[i];
	}
	return 0;
}

static int fill_dev(int trees[NODE_COUNT])
{
	char path[32];
	int fd, ret;

	if (mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC,
		  "mode=0755,size=64k") < 0)
		return -errno;
	for (int i = 0; i < NODE_COUNT; i++) {
		snprintf(path, sizeof(path), "/dev/%s", nodes[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		close(fd);
		ret = mounts_move(trees[i], path);
		if (ret < 0)
			return ret;
	}
	if (symlink("/proc/self/fd", "/dev/fd") < 0)
		return -errno;
	return 0;
}

static bool is_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	return strncmp(path, directory, len) == 0 &&
	       (path[len] == '/' || path[len] == '\0');
}

/* Before: the host's mounts. After: our own, read-only, as the head says. */
static int confine_mounts(const char *writable)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	int tree, trees[NODE_COUNT], ret;

	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return -errno;
	tree = mounts_clone(writable, false);
	if (tree < 0)
		return tree;
	ret = mounts_set(tree, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, -1, false);
	if (ret == 0)
		ret = clone_nodes(trees);
	if (ret == 0)
		ret = fill_dev(trees);
	if (ret < 0)
		return ret;
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &readonly,
			  sizeof(readonly)) < 0)
		return -errno;
	/* A directory below /tmp must stay reachable: /tmp is read-only then. */
	if (!is_below(writable, "/tmp") &&
	    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV,
		  "mode=1777,size=65536k") < 0)
		return -errno;
	ret = mounts_move(tree, writable);
	close(tree);
	return ret;
}

static bool is_kept(int capability)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (kept[i] == capability)
			return true;
	}
	return false;
}

static int drop_capabilities(void)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
		if (!is_kept(i) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return -errno;
	}
	/* exec as uid 0 keeps what is in the bounding set, and no more. */
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int limit_program(unsigned long max_bytes)
{
	struct rlimit file = { .rlim_cur = max_bytes, .rlim_max = max_bytes };
	struct rlimit core = { 0 };

	if (setrlimit(RLIMIT_FSIZE, &file) < 0 ||
	    setrlimit(RLIMIT_CORE, &core) < 0)
		return -errno;
	return drop_capabilities();
}

static int confine(const char *writable, unsigned long max_bytes)
{
	pid_t parent = getppid();
	int ret;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	/* The caller may have died before the line above. */
	if (getppid() != parent)
		return -ESRCH;
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		return -errno;
	ret = confine_mounts(writable);
	if (ret < 0)
		return ret;
	if (chdir(writable) < 0)
		return -errno;
	return limit_program(max_bytes);
}

int cmd_confine(struct run *run, int argc, char **argv)
{
	unsigned long max_bytes;
	char writable[4096];
	int ret;

	(void)argc;
	if (parse_number(argv[2], 10, 1ul << 60, &max_bytes) < 0)
		return explain(run, -EINVAL, "not a size: %s", argv[2]);
	if (strlen(argv[1]) >= sizeof(writable) ||
	    !realpath(argv[1], writable))
		return explain(run, -ENOENT, "no directory %s", argv[1]);
	if (setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 0) < 0)
		return -errno;
	ret = confine(writable, max_bytes);
	if (ret < 0)
		return explain(run, ret, "confine to %s: %s", argv[1],
			       strerror(-ret));
	execvp(argv[3], argv + 3);
	return explain(run, -errno, "run %s: %s", argv[3], strerror(errno));
}
