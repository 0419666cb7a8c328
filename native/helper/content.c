// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "content.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tree.h"

#define COPY_MAX (16 << 20)
#define CHUNK (64 << 10)

/* Those that linux/magic.h leaves out. */
#define BCACHEFS_MAGIC 0xca451a4e
#define CEPH_MAGIC 0x00c36400
#define EROFS_MAGIC 0xe0f5e1e2
#define JFS_MAGIC 0x3153464a
#define XFS_MAGIC 0x58465342
#define ZFS_MAGIC 0x2fc12fc1

bool content_is_kept(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	switch ((uint32_t)fs.f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case ZFS_MAGIC:
	case BCACHEFS_MAGIC:
	case F2FS_SUPER_MAGIC:
	case JFS_MAGIC:
	case REISERFS_SUPER_MAGIC:
	case SQUASHFS_MAGIC:
	case EROFS_MAGIC:
	case ISOFS_SUPER_MAGIC:
	case MSDOS_SUPER_MAGIC:
	case NFS_SUPER_MAGIC:
	case CEPH_MAGIC:
	case V9FS_MAGIC:
		return true;
	}
	return false;
}

/* Looks first: opening a device or a pipe may have an effect. */
static int check_regular(int root, const char *path, struct stat *st)
{
	int fd, ret = 0;

	fd = tree_open(root, path, O_PATH, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		ret = -errno;
	else if (S_ISDIR(st->st_mode))
		ret = -EISDIR;
	else if (!S_ISREG(st->st_mode))
		ret = -ENXIO;
	close(fd);
	return ret;
}

static int open_regular(int root, const char *path, int flags,
			struct stat *st)
{
	struct stat looked;
	int fd, ret;

	ret = check_regular(root, path, &looked);
	if (ret < 0)
		return ret;
	fd = tree_open(root, path, flags | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		ret = -errno;
	else if (st->st_dev != looked.st_dev || st->st_ino != looked.st_ino)
		ret = -EAGAIN;
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, data, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		data += done;
		len -= (size_t)done;
	}
	return 0;
}

static int copy(int from, int to, struct stat *st)
{
	static char chunk[CHUNK];
	off_t total = 0;
	ssize_t len;
	int ret;

	for (;;) {
		len = read(from, chunk, sizeof(chunk));
		if (len < 0 && errno == EINTR)
			continue;
		/* EAGAIN: files that would wait for news have no more now. */
		if (len < 0 && errno != EAGAIN)
			return -errno;
		if (len <= 0)
			break;
		total += len;
		if (total > COPY_MAX)
			return -EFBIG;
		ret = write_all(to, chunk, (size_t)len);
		if (ret < 0)
			return ret;
	}
	st->st_size = total;
	return 0;
}

int content_read(int root, const char *path, struct stat *st)
{
	int fd, memory, ret;

	fd = open_regular(root, path, O_RDONLY, st);
	if (fd < 0 || content_is_kept(fd))
		return fd;
	memory = memfd_create("content", MFD_CLOEXEC);
	ret = memory < 0 ? -errno : copy(fd, memory, st);
	close(fd);
	if (ret == 0)
		return memory;
	if (memory >= 0)
		close(memory);
	return ret;
}

int content_write(int root, const char *path)
{
	struct stat st;
	int fd;

	fd = open_regular(root, path, O_WRONLY, &st);
	if (fd < 0 || content_is_kept(fd))
		return fd;
	close(fd);
	return -EPERM;
}
