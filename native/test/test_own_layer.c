// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../helper/step.h"
#include "test.h"

/* What overlayfs is given, and what it makes there. */
#define GIVEN "data/work"
#define WORK GIVEN "/work"
#define LEFT WORK "/#1"

static int own(const char *map)
{
	char *argv[] = { "own-layer", (char *)below("data"), NULL };
	struct run run;
	int ret;

	memset(&run, 0, sizeof(run));
	CHECK_INT(idmap_parse(&run.map, map), 0);
	ret = cmd_own_layer(&run, 2, argv);
	idmap_free(&run.map);
	return ret;
}

static long owner_of(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	return st.st_uid == st.st_gid ? (long)st.st_uid : -1;
}

/* As a container with ids up to 999,999 leaves it. */
static void make_layer(void)
{
	make_dir("data");
	make_dir(GIVEN);
	make_dir(WORK);
	make_dir(LEFT);
	make_dir("data/upper");
	make_dir("data/upper/dir");
	make_file("data/upper/dir/file", "x");
	CHECK_INT(mknod("data/upper/dir/gone", S_IFCHR, makedev(0, 0)), 0);
	CHECK_INT(mknod("data/upper/null", S_IFCHR, makedev(1, 3)), 0);
	CHECK_INT(chown("data/upper/dir/file", 1000, 1000), 0);
	CHECK_INT(chown("data/upper/dir/gone", 1000000, 1000000), 0);
	CHECK_INT(chown(WORK, 1000000, 1000000), 0);
	CHECK_INT(chown(LEFT, 1000000, 1000000), 0);
}

static void what_overlayfs_made_changes_its_owner(void)
{
	make_layer();
	CHECK_INT(own("b:0:200000:65536"), 0);
	CHECK_INT(owner_of(WORK), 65536);
	CHECK_INT(owner_of(LEFT), 65536);
	CHECK_INT(owner_of("data/upper/dir/gone"), 65536);
	CHECK_INT(owner_of("data/upper/dir/file"), 1000);
	CHECK_INT(owner_of("data/upper/dir"), 0);
	CHECK_INT(owner_of("data/upper/null"), 0);
	CHECK_INT(owner_of(GIVEN), 0);
}

static void one_look_is_enough_for_a_map_that_is_known(void)
{
	make_layer();
	CHECK_INT(chown(WORK, 65536, 65536), 0);
	CHECK_INT(own("b:0:200000:65536"), 0);
	CHECK_INT(owner_of("data/upper/dir/gone"), 1000000);
}

static void without_a_map_or_a_work_directory_nothing_is_done(void)
{
	make_layer();
	CHECK_INT(own("-"), 0);
	CHECK_INT(owner_of("data/upper/dir/gone"), 1000000);
	CHECK_INT(rmdir(LEFT), 0);
	CHECK_INT(rmdir(WORK), 0);
	CHECK_INT(own("b:0:200000:65536"), 0);
	CHECK_INT(owner_of("data/upper/dir/gone"), 1000000);
}

static void host_root_may_be_in_the_map(void)
{
	make_layer();
	CHECK_INT(own("b:0:200000:1000,b:1000:0:1,b:1001:201001:64535"), 0);
	CHECK_INT(owner_of(WORK), 1000);
}

const struct test own_layer_tests[] = {
	{ "what overlayfs made changes its owner",
	  what_overlayfs_made_changes_its_owner, true },
	{ "one look is enough for a map that is known",
	  one_look_is_enough_for_a_map_that_is_known, true },
	{ "without a map or a work directory nothing is done",
	  without_a_map_or_a_work_directory_nothing_is_done, true },
	{ "host root may be in the map", host_root_may_be_in_the_map, true },
	{ NULL, NULL, false },
};
