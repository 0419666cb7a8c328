// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../helper/idmap.h"
#include "test.h"

static int parse_result(const char *text)
{
	struct idmap map;
	int ret = idmap_parse(&map, text);

	idmap_free(&map);
	return ret;
}

static void check_map(const char *text, bool gid, bool host_root,
		      const char *wanted)
{
	struct idmap map;
	char got[512] = "";

	CHECK_INT(idmap_parse(&map, text), 0);
	CHECK(idmap_text(&map, gid, host_root, got, sizeof(got)) >= 0);
	CHECK_TEXT(got, wanted);
	idmap_free(&map);
}

static void maps_host_root_above_the_rest(void)
{
	check_map("b:0:1000000:65536", false, true,
		  "0 1000000 65536\n65536 0 1\n");
	check_map("b:0:1000000:65536", true, false, "0 1000000 65536\n");
	check_map("u:0:1000000:1000,g:0:2000000:65536,u:5000:33:1", false,
		  true, "0 1000000 1000\n5000 33 1\n5001 0 1\n");
	check_map("u:0:1000000:1000,g:0:2000000:65536,u:5000:33:1", true, true,
		  "0 2000000 65536\n65536 0 1\n");
}

static void leaves_host_root_alone_when_it_is_mapped(void)
{
	check_map("b:0:0:1,b:1:1000001:65535", false, true,
		  "0 0 1\n1 1000001 65535\n");
}

static void refuses_what_is_no_map(void)
{
	CHECK_INT(parse_result("-"), 0);
	CHECK_INT(parse_result("b:0:1:4294967294"), 0);
	CHECK_INT(parse_result(""), -EINVAL);
	CHECK_INT(parse_result("x:0:1:1"), -EINVAL);
	CHECK_INT(parse_result("b:0:1"), -EINVAL);
	CHECK_INT(parse_result("b:0:1:0"), -EINVAL);
	CHECK_INT(parse_result("b:0:1:1,"), -EINVAL);
	CHECK_INT(parse_result("b:0:1:1;b:1:2:1"), -EINVAL);
	CHECK_INT(parse_result("b:-1:1:1"), -EINVAL);
	CHECK_INT(parse_result("b:0:4294967295:1"), -EINVAL);
	CHECK_INT(parse_result("b:0:4294967000:65536"), -EINVAL);
	CHECK_INT(parse_result("b:99999999999:1:1"), -EINVAL);
}

static void finds_host_ids(void)
{
	struct idmap map;
	uint32_t host = 7;

	CHECK_INT(idmap_parse(&map, "u:0:1000000:65536,g:10:20:5"), 0);
	CHECK_INT(idmap_host(&map, false, 33, &host), 0);
	CHECK_INT(host, 1000033);
	CHECK_INT(idmap_host(&map, false, 65535, &host), 0);
	CHECK_INT(host, 1065535);
	CHECK_INT(idmap_host(&map, false, 65536, &host), -EINVAL);
	CHECK_INT(idmap_host(&map, true, 14, &host), 0);
	CHECK_INT(host, 24);
	CHECK_INT(idmap_host(&map, true, 9, &host), -EINVAL);
	idmap_free(&map);
	CHECK_INT(idmap_host(&map, true, 9, &host), 0);
	CHECK_INT(host, 9);
}

static void makes_namespaces_that_need_no_process(void)
{
	struct stat ours, made;
	struct idmap map;
	int fd;

	CHECK_INT(idmap_parse(&map, "b:0:1000000:65536"), 0);
	fd = idmap_userns(&map, true);
	CHECK(fd >= 0);
	CHECK_INT(stat("/proc/self/ns/user", &ours), 0);
	CHECK_INT(fstat(fd, &made), 0);
	CHECK(ours.st_ino != made.st_ino);
	close(fd);
	idmap_free(&map);
}

static void tells_when_a_map_is_refused(void)
{
	struct idmap map;

	/* Two extents over the same ids: the kernel says no. */
	CHECK_INT(idmap_parse(&map, "b:0:1000000:100,b:50:2000000:100"), 0);
	CHECK_INT(idmap_userns(&map, false), -EINVAL);
	idmap_free(&map);
}

const struct test idmap_tests[] = {
	{ "host root is mapped to the first id above the map",
	  maps_host_root_above_the_rest, false },
	{ "host root is not mapped twice",
	  leaves_host_root_alone_when_it_is_mapped, false },
	{ "what is no map is refused", refuses_what_is_no_map, false },
	{ "ids are found in the map, and only there", finds_host_ids, false },
	{ "a namespace lives by its descriptor alone",
	  makes_namespaces_that_need_no_process, true },
	{ "a map that the kernel refuses is an error",
	  tells_when_a_map_is_refused, true },
	{ NULL, NULL, false },
};
