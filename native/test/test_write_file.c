// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../helper/step.h"
#include "test.h"

static int write_as(const char *map, const char *path, const char *how,
		    const char *content)
{
	char *argv[] = { "write-file", (char *)below("root"), (char *)path,
			 (char *)how, (char *)content, NULL };
	struct run run;
	int ret;

	memset(&run, 0, sizeof(run));
	run.userns_fd = -1;
	CHECK_INT(idmap_parse(&run.map, map), 0);
	ret = cmd_write_file(&run, 5, argv);
	CHECK((ret < 0) == (run.text[0] != '\0'));
	idmap_free(&run.map);
	return ret;
}

static int write_file(const char *path, const char *content)
{
	return write_as("-", path, "replace", content);
}

static void new_files_belong_to_the_container(void)
{
	struct stat st;

	make_dir("root");
	CHECK_INT(write_as("b:0:1000000:65536", "/a/b/name", "replace", "=x"),
		  0);
	CHECK_TEXT(content_of("root/a/b/name"), "x");
	CHECK_INT(stat("root/a/b/name", &st), 0);
	CHECK_INT(st.st_uid, 1000000);
	CHECK_INT(st.st_gid, 1000000);
	CHECK_INT(st.st_mode, S_IFREG | 0644);
	CHECK_INT(stat("root/a", &st), 0);
	CHECK_INT(st.st_uid, 1000000);
	CHECK_INT(st.st_mode, S_IFDIR | 0755);
	/* And the process is host root again. */
	make_file("after", "");
	CHECK_INT(stat("after", &st), 0);
	CHECK_INT(st.st_uid, 0);
}

static void a_map_without_root_is_refused(void)
{
	make_dir("root");
	CHECK_INT(write_as("b:5:1000000:10", "/f", "replace", "=x"), -EINVAL);
}

static void existing_files_keep_owner_and_mode(void)
{
	struct stat st;

	make_dir("root");
	make_file("root/f", "something longer");
	CHECK_INT(chmod("root/f", 0600), 0);
	CHECK_INT(chown("root/f", 5, 6), 0);
	CHECK_INT(write_file("f", "=new"), 0);
	CHECK_TEXT(content_of("root/f"), "new");
	CHECK_INT(stat("root/f", &st), 0);
	CHECK_INT(st.st_uid, 5);
	CHECK_INT(st.st_mode & 07777, 0600);
}

static void create_only_leaves_files_alone(void)
{
	make_dir("root");
	make_file("root/f", "old");
	CHECK_INT(write_as("-", "/f", "create-only", "=new"), 0);
	CHECK_TEXT(content_of("root/f"), "old");
	CHECK_INT(write_as("-", "/g", "create-only", "=new"), 0);
	CHECK_TEXT(content_of("root/g"), "new");
}

static void links_stay_inside(void)
{
	make_file("secret", "host");
	make_dir("root");
	make_dir("root/run");
	make_link("root/up", "../secret");
	make_link("root/abs", "/run/made");
	CHECK_INT(write_file("/up", "=guest"), 0);
	CHECK_TEXT(content_of("secret"), "host");
	CHECK_TEXT(content_of("root/secret"), "guest");
	CHECK_INT(write_file("/abs", "=guest"), 0);
	CHECK_TEXT(content_of("root/run/made"), "guest");
}

static void only_regular_files_are_written(void)
{
	make_dir("root");
	make_dir("root/d");
	CHECK_INT(mkfifo("root/fifo", 0600), 0);
	make_link("root/loop", "loop");
	CHECK_INT(write_file("/fifo", "=x"), -EINVAL);
	CHECK_INT(write_file("/d", "=x"), -EISDIR);
	CHECK_INT(write_file("/loop", "=x"), -ELOOP);
	CHECK_INT(write_file("/", "=x"), -EISDIR);
	CHECK_INT(write_file("/n", "no-equals-sign"), -EINVAL);
	CHECK_INT(access("root/n", F_OK), -1);
}

const struct test write_file_tests[] = {
	{ "new files and directories belong to the container's root",
	  new_files_belong_to_the_container, true },
	{ "a map without root is refused", a_map_without_root_is_refused,
	  true },
	{ "an existing file keeps its owner and mode",
	  existing_files_keep_owner_and_mode, true },
	{ "create-only leaves an existing file alone",
	  create_only_leaves_files_alone, true },
	{ "links are followed inside the root only", links_stay_inside, true },
	{ "only regular files are written", only_regular_files_are_written,
	  true },
	{ NULL, NULL, false },
};
