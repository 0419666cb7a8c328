// SPDX-License-Identifier: Apache-2.0
/*
 * loop: mounts a file system that lives in a file.
 *
 * The same file must never be behind two loop devices: two superblocks over
 * one file system destroy it, and the mount namespace of a container that has
 * just stopped may take a moment to go. So the file carries a lock that lives
 * as long as the device that is attached to it; who cannot take the lock
 * looks for that device and mounts it once more (one superblock, shared).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "step.h"

#define TRIES 500
#define WAIT_NS 4000000		/* 500 * 4 ms: two seconds */

struct option {
	const char *name;
	unsigned long flag;
};

static const struct option options[] = {
	{ "ro", MS_RDONLY },	   { "nodev", MS_NODEV },
	{ "nosuid", MS_NOSUID },   { "noexec", MS_NOEXEC },
	{ "noatime", MS_NOATIME }, { "relatime", MS_RELATIME },
};

/* Words that are flags go to *flags, the rest, comma joined, to data. */
static void sort_options(char *text, unsigned long *flags, char *data)
{
	char *save = NULL, *word;
	bool known;

	*flags = 0;
	data[0] = '\0';
	if (strcmp(text, "-") == 0)
		return;
	for (word = strtok_r(text, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		known = false;
		for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
			if (strcmp(options[i].name, word) == 0) {
				*flags |= options[i].flag;
				known = true;
			}
		}
		if (known)
			continue;
		if (data[0])
			strcat(data, ",");
		strcat(data, word);
	}
}

static void device_path(char *path, size_t size, int number)
{
	snprintf(path, size, "/dev/loop%d", number);
}

/* Attaches to a free device; its descriptor, or -errno. */
static int attach(int file, bool readonly, char *path, size_t size)
{
	struct loop_config config;
	int control, device, number, ret = -EBUSY;

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	memset(&config, 0, sizeof(config));
	config.fd = (unsigned int)file;
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	if (readonly)
		config.info.lo_flags |= LO_FLAGS_READ_ONLY;

	for (int tries = 0; tries < 64; tries++) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0) {
			ret = -errno;
			break;
		}
		device_path(path, size, number);
		device = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (device < 0) {
			ret = -errno;
			break;
		}
		if (ioctl(device, LOOP_CONFIGURE, &config) == 0) {
			ret = device;
			break;
		}
		/* EBUSY: somebody else was faster, try the next one. */
		ret = -errno;
		close(device);
		if (ret != -EBUSY)
			break;
	}
	close(control);
	return ret;
}

/* A device that has this file behind it, held open, or -ENOENT. */
static int find_attached(const struct stat *file, char *path, size_t size)
{
	struct loop_info64 info;
	struct dirent *entry;
	int device, number, ret = -ENOENT;
	DIR *dir;

	dir = opendir("/sys/block");
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (sscanf(entry->d_name, "loop%d", &number) != 1)
			continue;
		device_path(path, size, number);
		device = open(path, O_RDONLY | O_CLOEXEC);
		if (device < 0)
			continue;
		if (ioctl(device, LOOP_GET_STATUS64, &info) == 0 &&
		    info.lo_device == (uint64_t)file->st_dev &&
		    info.lo_inode == (uint64_t)file->st_ino) {
			ret = device;
			break;
		}
		close(device);
	}
	closedir(dir);
	return ret;
}

static int attach_or_find(int file, bool readonly, char *path, size_t size)
{
	const struct timespec wait = { .tv_nsec = WAIT_NS };
	struct stat st;
	int device;

	if (fstat(file, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	for (int tries = 0; tries < TRIES; tries++) {
		if (flock(file, LOCK_EX | LOCK_NB) == 0)
			return attach(file, readonly, path, size);
		if (errno != EWOULDBLOCK)
			return -errno;
		device = find_attached(&st, path, size);
		if (device != -ENOENT)
			return device;
		/* Just being attached, or just being let go. */
		nanosleep(&wait, NULL);
	}
	return -EBUSY;
}

int cmd_loop(struct run *run, int argc, char **argv)
{
	const char *file_path = argv[1], *target = argv[2];
	char path[32], data[1024];
	unsigned long flags;
	int file, device, ret = 0;
	bool readonly;

	(void)argc;
	if (strlen(argv[4]) >= sizeof(data))
		return explain(run, -EINVAL, "mount options are too long");
	sort_options(argv[4], &flags, data);
	readonly = flags & MS_RDONLY;

	file = open(file_path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (file < 0)
		return explain(run, -errno, "open %s: %s", file_path,
			       strerror(errno));
	device = attach_or_find(file, readonly, path, sizeof(path));
	if (device < 0) {
		ret = explain(run, device, "loop device for %s: %s", file_path,
			      strerror(-device));
		goto out;
	}
	if (mount(path, target, argv[3], flags, data[0] ? data : NULL) < 0)
		ret = explain(run, -errno, "mount %s (%s) on %s: %s",
			      file_path, argv[3], target, strerror(errno));
	/* The mount holds the device now; without one it detaches itself. */
	close(device);
out:
	close(file);
	return ret;
}
