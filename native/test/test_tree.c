// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../helper/tree.h"
#include "test.h"

/* root/ is the tree; secret is beside it. */
static int hostile_tree(void)
{
	int root;

	make_file("secret", "host");
	make_dir("root");
	make_dir("root/etc");
	make_file("root/etc/name", "guest");
	make_link("root/up", "../secret");
	make_link("root/far-up", "../../../../../../../../etc/passwd");
	make_link("root/absolute", "/etc/name");
	make_link("root/loop", "loop");
	make_link("root/dir", "/etc");
	make_link("root/outside-dir", "/../..");
	make_link("root/magic", "/proc/self/root/etc/passwd");
	root = tree_root(below("root"));
	if (root < 0)
		abort();
	return root;
}

static void check_open(int root, const char *path, int wanted)
{
	int fd = tree_open(root, path, O_RDONLY, 0);

	CHECK_INT(fd < 0 ? fd : 0, wanted);
	if (fd >= 0)
		close(fd);
}

static void no_link_leaves_the_tree(void)
{
	int root = hostile_tree(), fd;
	char text[8] = "";

	check_open(root, "/etc/name", 0);
	check_open(root, "etc/../../../etc/name", 0);
	check_open(root, "up", -ENOENT);
	check_open(root, "/../secret", -ENOENT);
	check_open(root, "far-up", -ENOENT);
	check_open(root, "loop", -ELOOP);
	check_open(root, "dir/name", 0);
	check_open(root, "magic", -ENOENT);
	check_open(root, "outside-dir/secret", -ENOENT);
	check_open(root, "outside-dir/etc/name", 0);
	fd = tree_open(root, "absolute", O_RDONLY, 0);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) == 5);
	CHECK_TEXT(text, "guest");
	close(fd);
	close(root);
}

static void magic_links_are_refused(void)
{
	int root = tree_root("/");

	check_open(root, "/proc/self/fd/0", -ELOOP);
	check_open(root, "/proc/self/exe", -ELOOP);
	close(root);
}

static void check_parent(int root, const char *path, int wanted,
			 const char *wanted_name)
{
	char name[NAME_MAX + 1] = "";
	int fd = tree_parent(root, path, name);

	CHECK_INT(fd < 0 ? fd : 0, wanted);
	if (fd >= 0) {
		CHECK_TEXT(name, wanted_name);
		close(fd);
	}
}

static void parents_are_found_inside(void)
{
	int root = hostile_tree();
	char longer[NAME_MAX + 3];

	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	check_parent(root, "/etc/new", 0, "new");
	check_parent(root, "new", 0, "new");
	check_parent(root, "/dir/new///", 0, "new");
	check_parent(root, "/", -EINVAL, "");
	check_parent(root, "", -EINVAL, "");
	check_parent(root, "/etc/..", -EINVAL, "");
	check_parent(root, "/etc/.", -EINVAL, "");
	check_parent(root, "/nowhere/new", -ENOENT, "");
	check_parent(root, "/etc/name/new", -ENOTDIR, "");
	check_parent(root, "/loop/new", -ELOOP, "");
	check_parent(root, longer, -ENAMETOOLONG, "");
	close(root);
}

static void parents_are_made_inside(void)
{
	int root = hostile_tree(), fd;
	char name[NAME_MAX + 1];
	struct stat st;

	fd = tree_make_parents(root, "/a/b//c/file", name);
	CHECK(fd >= 0);
	CHECK_TEXT(name, "file");
	CHECK_INT(stat("root/a/b/c", &st), 0);
	close(fd);
	fd = tree_make_parents(root, "/outside-dir/x/file", name);
	CHECK(fd >= 0);
	CHECK_INT(stat("root/x", &st), 0);
	CHECK_INT(stat("x", &st), -1);
	close(fd);
	CHECK_INT(tree_make_parents(root, "/a/../../y/file", name), -EINVAL);
	CHECK_INT(tree_make_parents(root, "/up/file", name), -ENOENT);
	CHECK_INT(tree_make_parents(root, "/etc/name/file", name), -ENOTDIR);
	close(root);
}

const struct test tree_tests[] = {
	{ "no link and no dot-dot leaves the tree", no_link_leaves_the_tree,
	  false },
	{ "magic links are refused", magic_links_are_refused, false },
	{ "the directory of a name is found inside", parents_are_found_inside,
	  false },
	{ "missing directories are made inside", parents_are_made_inside,
	  false },
	{ NULL, NULL, false },
};
