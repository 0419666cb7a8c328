// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "serve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "content.h"
#include "json.h"
#include "step.h"
#include "tree.h"

#define NAMES_MAX 1000000
#define OPEN_MAX_FD 1023

struct request {
	const char *name;
	int args;
	int (*fn)(int root, char **argv, struct json *json);
};

/* Whom a new file is given to. */
struct owner {
	uid_t uid;
	gid_t gid;
	mode_t mode;
};

static int parse_owner(const char *uid, const char *gid, const char *mode,
		       struct owner *owner)
{
	unsigned long u, g, m;

	if (parse_number(uid, 10, UINT32_MAX - 1, &u) < 0 ||
	    parse_number(gid, 10, UINT32_MAX - 1, &g) < 0 ||
	    parse_number(mode, 8, 07777, &m) < 0)
		return -EINVAL;
	owner->uid = (uid_t)u;
	owner->gid = (gid_t)g;
	owner->mode = (mode_t)m;
	return 0;
}

static const char *type_name(mode_t mode)
{
	if (S_ISREG(mode))
		return "file";
	if (S_ISDIR(mode))
		return "directory";
	return S_ISLNK(mode) ? "symlink" : "other";
}

static void add_member(struct json *json, const char *key, long long value)
{
	json_raw(json, ",\"");
	json_raw(json, key);
	json_raw(json, "\":");
	json_number(json, value);
}

static void add_stat(struct json *json, const struct stat *st)
{
	json_raw(json, ",\"stat\":{\"type\":\"");
	json_raw(json, type_name(st->st_mode));
	json_raw(json, "\"");
	add_member(json, "uid", st->st_uid);
	add_member(json, "gid", st->st_gid);
	add_member(json, "mode", st->st_mode & 07777);
	add_member(json, "size", st->st_size);
	add_member(json, "mtimeMs", (long long)st->st_mtim.tv_sec * 1000 +
				    st->st_mtim.tv_nsec / 1000000);
	json_raw(json, "}");
}

static int do_stat(int root, char **argv, struct json *json)
{
	struct stat st;
	int fd, ret = 0;

	fd = tree_open(root, argv[0], O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		ret = -errno;
	else
		add_stat(json, &st);
	close(fd);
	return ret;
}

/*
 * Names that are not UTF-8 are left out: JSON has no way to write them, and a
 * name that was bent would name another file.
 */
static int add_names(DIR *dir, struct json *json)
{
	struct dirent *entry;
	int count = 0, ret;

	json_raw(json, ",\"names\":[");
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			ret = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0 ||
		    !is_utf8(entry->d_name))
			continue;
		if (count == NAMES_MAX)
			return -EOVERFLOW;
		if (count++)
			json_raw(json, ",");
		json_string(json, entry->d_name);
	}
	json_raw(json, "]");
	return ret;
}

static int do_list(int root, char **argv, struct json *json)
{
	DIR *dir;
	int fd, ret;

	fd = tree_open(root, argv[0], O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	ret = add_names(dir, json);
	closedir(dir);
	return ret;
}

static int do_readlink(int root, char **argv, struct json *json)
{
	char target[PATH_MAX + 1];
	ssize_t len;
	int fd;

	fd = tree_open(root, argv[0], O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	len = readlinkat(fd, "", target, PATH_MAX);
	/* ENOENT is what the kernel says for a descriptor that is no link. */
	if (len < 0)
		len = errno == ENOENT ? -EINVAL : -errno;
	close(fd);
	if (len < 0)
		return (int)len;
	target[len] = '\0';
	json_raw(json, ",\"target\":");
	json_string(json, target);
	return 0;
}

/* Descriptors are named in answers; do_close() takes these numbers. */
static int in_range(int fd)
{
	if (fd <= OPEN_MAX_FD)
		return fd;
	close(fd);
	return -EMFILE;
}

static int do_open_read(int root, char **argv, struct json *json)
{
	struct stat st;
	int fd;

	fd = in_range(content_read(root, argv[0], &st));
	if (fd < 0)
		return fd;
	add_member(json, "fd", fd);
	add_stat(json, &st);
	return 0;
}

/* Owner and mode through a descriptor: the name may be another file's by now. */
static int give(int fd, const struct owner *owner)
{
	if (fchown(fd, owner->uid, owner->gid) < 0 ||
	    fchmod(fd, owner->mode) < 0)
		return -errno;
	return 0;
}

static int create_file(int root, const char *path, char **args, int *created)
{
	char name[NAME_MAX + 1];
	struct owner owner;
	int parent, fd, ret;

	if (parse_owner(args[0], args[1], args[2], &owner) < 0)
		return -EINVAL;
	parent = tree_parent(root, path, name);
	if (parent < 0)
		return parent;
	fd = tree_open(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
		       0600);
	if (fd >= 0) {
		*created = 1;
		ret = content_is_kept(fd) ? give(fd, &owner) : -EPERM;
		if (ret < 0) {
			unlinkat(parent, name, 0);
			close(fd);
			fd = ret;
		}
	}
	close(parent);
	return fd;
}

static int do_open_write(int root, char **argv, struct json *json)
{
	bool append = strcmp(argv[4], "append") == 0;
	int fd, created = 0;

	fd = content_write(root, argv[0]);
	if (fd == -ENOENT && !append)
		fd = create_file(root, argv[0], argv + 1, &created);
	/* EEXIST: a link to nothing, or somebody was faster. Once more. */
	if (fd == -EEXIST)
		fd = content_write(root, argv[0]);
	fd = in_range(fd);
	if (fd < 0)
		return fd;
	add_member(json, "fd", fd);
	json_raw(json, created ? ",\"created\":true" : ",\"created\":false");
	return 0;
}

static int do_mkdir(int root, char **argv, struct json *json)
{
	char name[NAME_MAX + 1];
	struct owner owner;
	int parent, fd, ret;

	(void)json;
	if (parse_owner(argv[1], argv[2], argv[3], &owner) < 0)
		return -EINVAL;
	parent = tree_parent(root, argv[0], name);
	if (parent < 0)
		return parent;
	if (mkdirat(parent, name, 0700) < 0) {
		ret = -errno;
		goto out;
	}
	fd = tree_open(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	ret = fd < 0 ? fd : give(fd, &owner);
	if (fd >= 0)
		close(fd);
	if (ret < 0)
		unlinkat(parent, name, AT_REMOVEDIR);
out:
	close(parent);
	return ret;
}

static int do_symlink(int root, char **argv, struct json *json)
{
	char name[NAME_MAX + 1];
	struct owner owner;
	int parent, ret = 0;

	(void)json;
	if (parse_owner(argv[2], argv[3], "0777", &owner) < 0)
		return -EINVAL;
	parent = tree_parent(root, argv[0], name);
	if (parent < 0)
		return parent;
	if (symlinkat(argv[1], parent, name) < 0) {
		ret = -errno;
	} else if (fchownat(parent, name, owner.uid, owner.gid,
			    AT_SYMLINK_NOFOLLOW) < 0) {
		ret = -errno;
		unlinkat(parent, name, 0);
	}
	close(parent);
	return ret;
}

static int do_remove(int root, char **argv, struct json *json)
{
	char name[NAME_MAX + 1];
	struct stat st;
	int parent, ret = 0;

	(void)json;
	parent = tree_parent(root, argv[0], name);
	if (parent < 0)
		return parent;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    unlinkat(parent, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		ret = -errno;
	close(parent);
	return ret;
}

static int do_close(int root, char **argv, struct json *json)
{
	unsigned long fd;

	(void)json;
	if (parse_number(argv[0], 10, OPEN_MAX_FD, &fd) < 0 ||
	    fd <= STDERR_FILENO || (int)fd == root)
		return -EBADF;
	return close((int)fd) < 0 ? -errno : 0;
}

static const struct request requests[] = {
	{ "stat", 1, do_stat },		  { "list", 1, do_list },
	{ "readlink", 1, do_readlink },	  { "open-read", 1, do_open_read },
	{ "open-write", 5, do_open_write }, { "mkdir", 4, do_mkdir },
	{ "symlink", 4, do_symlink },	  { "remove", 1, do_remove },
	{ "close", 1, do_close },
};

static int handle(int root, const struct step *step, struct json *json)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (strcmp(requests[i].name, step->argv[0]) != 0)
			continue;
		if (requests[i].args != step->argc - 1)
			return -EINVAL;
		return requests[i].fn(root, step->argv + 1, json);
	}
	return -ENOSYS;
}

static int answer(int root, const struct step *step, int out)
{
	struct json json;
	int ret;

	json_init(&json);
	json_raw(&json, "{\"ok\":true");
	ret = handle(root, step, &json);
	if (ret < 0) {
		json_free(&json);
		json_raw(&json, "{\"ok\":false");
		add_member(&json, "errno", -ret);
	}
	json_raw(&json, "}\n");
	ret = json_send(&json, out);
	json_free(&json);
	return ret;
}

int serve(struct input *in, int out, int root)
{
	struct step step;
	size_t end;
	int ret;

	for (;;) {
		input_drop_used(in);
		ret = parse_list(in, 0, &end, &step);
		if (ret == -EAGAIN) {
			ret = input_fill(in);
			if (ret <= 0)
				return ret;
			continue;
		}
		if (ret < 0)
			return ret;
		in->used = end;
		ret = step.argc > 0 ? answer(root, &step, out) : 0;
		step_free(&step);
		if (ret < 0)
			return ret;
	}
}
