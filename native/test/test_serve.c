// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../helper/serve.h"
#include "../helper/tree.h"
#include "test.h"

static char answers[65536];

/* Serves the requests below root/ and keeps the answers. */
static int ask(const char *requests, size_t len)
{
	int in_fd = memfd_create("in", MFD_CLOEXEC);
	int out_fd = memfd_create("out", MFD_CLOEXEC);
	int root = tree_root(below("root")), ret;
	struct input in;
	ssize_t got;

	if (in_fd < 0 || out_fd < 0 || root < 0 ||
	    write(in_fd, requests, len) != (ssize_t)len ||
	    lseek(in_fd, 0, SEEK_SET) != 0)
		abort();
	input_init(&in, in_fd);
	ret = serve(&in, out_fd, root);
	input_free(&in);
	got = pread(out_fd, answers, sizeof(answers) - 1, 0);
	answers[got > 0 ? got : 0] = '\0';
	close(in_fd);
	close(out_fd);
	close(root);
	return ret;
}

/* One request, strings joined by NUL; its answer without the line end. */
#define ASK(request) ask_one(request "\0", sizeof(request "\0") - 1)

static const char *ask_one(const char *request, size_t len)
{
	size_t end;

	CHECK_INT(ask(request, len), 0);
	end = strlen(answers);
	if (end > 0 && answers[end - 1] == '\n')
		answers[end - 1] = '\0';
	return answers;
}

static void check_errno(const char *answer, int wanted)
{
	char text[64];

	snprintf(text, sizeof(text), "{\"ok\":false,\"errno\":%d}", wanted);
	CHECK_TEXT(answer, text);
}

static void stats_and_lists(void)
{
	make_dir("root");
	make_dir("root/d");
	make_file("root/d/new\nline", "12345");
	make_file("root/d/bad\xff", "");
	CHECK_INT(chmod("root/d/new\nline", 0640), 0);
	ASK("2\0stat\0/d/new\nline");
	CHECK(strstr(answers, "\"type\":\"file\""));
	CHECK(strstr(answers, "\"mode\":416,\"size\":5"));
	CHECK_TEXT(ASK("2\0list\0/d"),
		   "{\"ok\":true,\"names\":[\"new\\u000aline\"]}");
	check_errno(ASK("2\0list\0/d/new\nline"), ENOTDIR);
	check_errno(ASK("2\0stat\0/none"), ENOENT);
}

static void links_are_told_as_written(void)
{
	make_file("secret", "host");
	make_dir("root");
	make_link("root/l", "../secret");
	CHECK_TEXT(ASK("2\0readlink\0/l"),
		   "{\"ok\":true,\"target\":\"../secret\"}");
	ASK("2\0stat\0/l");
	CHECK(strstr(answers, "\"type\":\"symlink\""));
	check_errno(ASK("2\0readlink\0/"), EINVAL);
	check_errno(ASK("2\0open-read\0/l"), ENOENT);
}

static void only_regular_files_are_opened(void)
{
	make_dir("root");
	make_dir("root/d");
	CHECK_INT(mkfifo("root/fifo", 0600), 0);
	make_file("root/f", "x");
	check_errno(ASK("2\0open-read\0/d"), EISDIR);
	check_errno(ASK("2\0open-read\0/fifo"), ENXIO);
	check_errno(ASK("6\0open-write\0/fifo\0" "0\0" "0\0" "644\0create"),
		    ENXIO);
	ASK("2\0open-read\0/f");
	CHECK(strstr(answers, "{\"ok\":true,\"fd\":"));
}

static void writing_makes_or_keeps(void)
{
	struct stat st;

	make_dir("root");
	make_file("root/old", "x");
	CHECK_INT(chmod("root/old", 0600), 0);
	make_link("root/to-old", "/old");
	ASK("6\0open-write\0/new\0" "5\0" "6\0" "4750\0create");
	CHECK(strstr(answers, "\"created\":true"));
	CHECK_INT(stat("root/new", &st), 0);
	CHECK_INT(st.st_uid, 5);
	CHECK_INT(st.st_gid, 6);
	CHECK_INT(st.st_mode & 07777, 04750);
	ASK("6\0open-write\0/to-old\0" "5\0" "6\0" "4750\0create");
	CHECK(strstr(answers, "\"created\":false"));
	CHECK_INT(stat("root/old", &st), 0);
	CHECK_INT(st.st_mode & 07777, 0600);
	check_errno(ASK("6\0open-write\0/none\0" "0\0" "0\0" "644\0append"),
		    ENOENT);
	check_errno(ASK("6\0open-write\0/x/y\0" "0\0" "0\0" "644\0create"),
		    ENOENT);
	check_errno(ASK("6\0open-write\0/n\0-1\0" "0\0" "644\0create"),
		    EINVAL);
	check_errno(ASK("6\0open-write\0/n\0" "0\0" "0\0" "999\0create"),
		    EINVAL);
	CHECK_INT(access("root/n", F_OK), -1);
}

static void makes_and_removes(void)
{
	struct stat st;

	make_dir("root");
	make_link("root/out", "..");
	CHECK_TEXT(ASK("5\0mkdir\0/d\0" "7\0" "8\0" "1777"), "{\"ok\":true}");
	CHECK_INT(stat("root/d", &st), 0);
	CHECK_INT(st.st_mode & 07777, 01777);
	CHECK_INT(st.st_uid, 7);
	check_errno(ASK("5\0mkdir\0/d\0" "0\0" "0\0" "755"), EEXIST);
	CHECK_TEXT(ASK("5\0symlink\0/d/l\0/any/thing\0" "9\0" "9"),
		   "{\"ok\":true}");
	CHECK_INT(lstat("root/d/l", &st), 0);
	CHECK_INT(st.st_uid, 9);
	check_errno(ASK("2\0remove\0/d"), ENOTEMPTY);
	CHECK_TEXT(ASK("2\0remove\0/d/l"), "{\"ok\":true}");
	CHECK_TEXT(ASK("2\0remove\0/out/d"), "{\"ok\":true}");
	CHECK_INT(access("root/d", F_OK), -1);
	check_errno(ASK("2\0remove\0/"), EINVAL);
	check_errno(ASK("2\0remove\0/.."), EINVAL);
	check_errno(ASK("2\0remove\0/none"), ENOENT);
}

static void odd_requests_get_an_answer(void)
{
	make_dir("root");
	check_errno(ASK("1\0stat"), EINVAL);
	check_errno(ASK("2\0dance\0/"), ENOSYS);
	check_errno(ASK("2\0close\0" "1"), EBADF);
	check_errno(ASK("2\0close\0" "900"), EBADF);
	CHECK_INT(ask("x\0", 2), -EPROTO);
}

static void many_requests_in_one_write(void)
{
	static const char request[] = "2\0stat\0/";
	char requests[300 * sizeof(request)];
	int lines = 0;

	make_dir("root");
	for (size_t at = 0; at < sizeof(requests); at += sizeof(request))
		memcpy(requests + at, request, sizeof(request));
	CHECK_INT(ask(requests, sizeof(requests)), 0);
	for (const char *at = answers; (at = strchr(at, '\n')); at++)
		lines++;
	CHECK_INT(lines, 300);
}

const struct test serve_tests[] = {
	{ "names are told unless JSON cannot hold them", stats_and_lists,
	  false },
	{ "links are told as they are written", links_are_told_as_written,
	  false },
	{ "only regular files are opened", only_regular_files_are_opened,
	  false },
	{ "a new file gets owner and mode, an old one keeps its own",
	  writing_makes_or_keeps, true },
	{ "directories and links are made and removed", makes_and_removes,
	  true },
	{ "odd requests get an answer", odd_requests_get_an_answer, false },
	{ "many requests may come at once", many_requests_in_one_write,
	  false },
	{ NULL, NULL, false },
};
