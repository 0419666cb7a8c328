// SPDX-License-Identifier: Apache-2.0
/*
 * Opening the content of a container's files for the daemon.
 *
 * The daemon opens what it is given once more, with the rights of host root
 * and on a thread it cannot spare. So a file is opened here first, with the
 * rights of the container's root, and only files on file systems that keep
 * data are given away: a write to a sysctl or to a cgroup, made by the daemon,
 * would be the host's, and a read from a file system that the guest serves
 * itself might never end.
 */
#ifndef SLIPWAY_CONTENT_H
#define SLIPWAY_CONTENT_H

#include <stdbool.h>
#include <sys/stat.h>

/* Whether an open file is on a file system that keeps data. */
bool content_is_kept(int fd);

/*
 * A regular file opened for reading, or -errno. What is made up while it is
 * read (/proc, /sys, lxcfs) comes as a copy in memory, st_size being its size;
 * -EFBIG when it is longer than 16 MiB.
 */
int content_read(int root, const char *path, struct stat *st);

/* An existing regular file opened for writing; -EPERM where data is not kept. */
int content_write(int root, const char *path);

#endif
