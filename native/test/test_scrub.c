// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../helper/step.h"
#include "test.h"

static int scrub(const char *tree)
{
	char *argv[] = { "scrub", (char *)below(tree), NULL };
	struct run run;

	memset(&run, 0, sizeof(run));
	return cmd_scrub(&run, 2, argv);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void device_nodes_go(void)
{
	make_dir("root");
	make_dir("root/dev");
	CHECK_INT(mknod("root/dev/sda", S_IFBLK | 0666, makedev(8, 0)), 0);
	CHECK_INT(mknod("root/dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	CHECK_INT(mknod("root/whiteout", S_IFCHR | 0666, makedev(0, 0)), 0);
	CHECK_INT(mkfifo("root/fifo", 0600), 0);
	make_file("root/file", "x");
	CHECK_INT(scrub("root"), 0);
	CHECK(!exists("root/dev/sda"));
	CHECK(!exists("root/dev/null"));
	CHECK(!exists("root/whiteout"));
	CHECK(exists("root/fifo"));
	CHECK(exists("root/file"));
	CHECK(exists("root/dev"));
}

static bool has_attribute(const char *path, const char *name)
{
	return lgetxattr(path, name, NULL, 0) >= 0;
}

static void overlay_attributes_go(void)
{
	/* A file capability (version 2, cap_net_raw, effective). */
	static const unsigned char capability[20] = {
		1, 0, 0, 2, 0, 0x20, 0, 0,
	};

	make_dir("root");
	make_file("root/f", "x");
	make_link("root/l", "f");
	CHECK_INT(setxattr("root", "trusted.overlay.opaque", "y", 1, 0), 0);
	CHECK_INT(setxattr("root/f", "trusted.overlay.redirect", "/etc", 4, 0),
		  0);
	CHECK_INT(lsetxattr("root/l", "trusted.x", "y", 1, 0), 0);
	CHECK_INT(setxattr("root/f", "user.keep", "y", 1, 0), 0);
	CHECK_INT(setxattr("root/f", "security.capability", capability,
			   sizeof(capability), 0),
		  0);
	CHECK_INT(setxattr("root/f", "security.slipway", "y", 1, 0), 0);
	CHECK_INT(scrub("root"), 0);
	CHECK(!has_attribute("root", "trusted.overlay.opaque"));
	CHECK(!has_attribute("root/f", "trusted.overlay.redirect"));
	CHECK(!has_attribute("root/l", "trusted.x"));
	CHECK(!has_attribute("root/f", "security.slipway"));
	CHECK(has_attribute("root/f", "security.capability"));
	CHECK(has_attribute("root/f", "user.keep"));
}

static void links_are_not_followed(void)
{
	make_dir("root");
	make_dir("outside");
	CHECK_INT(mknod("outside/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	make_file("outside/f", "x");
	CHECK_INT(setxattr("outside/f", "trusted.x", "y", 1, 0), 0);
	make_link("root/dir", "../outside");
	make_link("root/file", "../outside/f");
	make_link("root/null", "../outside/null");
	make_link("root/loop", "loop");
	CHECK_INT(scrub("root"), 0);
	CHECK(exists("outside/null"));
	CHECK(has_attribute("outside/f", "trusted.x"));
	CHECK(exists("root/null"));
}

static void other_file_systems_are_not_entered(void)
{
	make_dir("root");
	make_dir("root/mnt");
	CHECK_INT(mount("tmpfs", "root/mnt", "tmpfs", 0, NULL), 0);
	CHECK_INT(mknod("root/mnt/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	CHECK_INT(scrub("root"), 0);
	CHECK(exists("root/mnt/null"));
	CHECK_INT(umount("root/mnt"), 0);
}

static void depth_is_limited(void)
{
	int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	make_dir("root");
	CHECK_INT(chdir("root"), 0);
	for (int i = 0; i < 1200; i++) {
		make_dir("d");
		CHECK_INT(chdir("d"), 0);
	}
	CHECK_INT(fchdir(back), 0);
	CHECK_INT(scrub("root"), -ELOOP);
	close(back);
	/* nftw() cannot take away what is this deep. */
	CHECK_INT(system("rm -rf root"), 0);
}

static void a_root_that_is_a_link_is_refused(void)
{
	make_dir("outside");
	make_link("root", "outside");
	CHECK_INT(scrub("root"), -ENOTDIR);
}

const struct test scrub_tests[] = {
	{ "device nodes are removed, fifos stay", device_nodes_go, true },
	{ "attributes that overlayfs believes are removed",
	  overlay_attributes_go, true },
	{ "scrub follows no link", links_are_not_followed, true },
	{ "scrub stays on its file system", other_file_systems_are_not_entered,
	  true },
	{ "a tree that is too deep is refused", depth_is_limited, true },
	{ "a tree that is a link is refused", a_root_that_is_a_link_is_refused,
	  true },
	{ NULL, NULL, false },
};
