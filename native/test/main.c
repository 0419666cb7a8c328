// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static int failures;
static char directory[64];

void check_failed(const char *file, int line, const char *what)
{
	failures++;
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

void check_int_failed(const char *file, int line, const char *what,
		      long long got, long long wanted)
{
	failures++;
	fprintf(stderr, "%s:%d: %s is %lld, wanted %lld\n", file, line, what,
		got, wanted);
}

void check_text(const char *file, int line, const char *got, const char *wanted)
{
	if (strcmp(got, wanted) == 0)
		return;
	failures++;
	fprintf(stderr, "%s:%d: got \"%s\", wanted \"%s\"\n", file, line, got,
		wanted);
}

const char *scratch(void)
{
	return directory;
}

const char *below(const char *path)
{
	static char paths[8][PATH_MAX];
	static unsigned int next;
	char *to = paths[next++ % 8];

	snprintf(to, PATH_MAX, "%s/%s", directory, path);
	return to;
}

static void need(bool done, const char *what)
{
	if (done)
		return;
	fprintf(stderr, "cannot prepare %s: %s\n", what, strerror(errno));
	exit(2);
}

void make_dir(const char *path)
{
	need(mkdir(path, 0755) == 0, path);
}

void make_file(const char *path, const char *content)
{
	FILE *file = fopen(path, "we");

	need(file && fputs(content, file) >= 0 && fclose(file) == 0, path);
}

void make_link(const char *path, const char *target)
{
	need(symlink(target, path) == 0, path);
}

const char *content_of(const char *path)
{
	static char text[4096];
	size_t len = 0;
	FILE *file = fopen(path, "re");

	if (file) {
		len = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
	}
	text[len] = '\0';
	return text;
}

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static bool run_test(const struct test *test)
{
	int before = failures;

	if (test->needs_root && geteuid() != 0) {
		printf("skip %s (needs root)\n", test->name);
		return true;
	}
	strcpy(directory, "/tmp/slipway-test.XXXXXX");
	need(mkdtemp(directory) && chdir(directory) == 0, directory);
	test->fn();
	need(chdir("/") == 0 &&
		     nftw(directory, remove_entry, 16,
			  FTW_DEPTH | FTW_PHYS) == 0,
	     "the next test");
	printf("%s %s\n", failures == before ? "ok  " : "FAIL", test->name);
	return failures == before;
}

int main(void)
{
	const struct test *const groups[] = {
		plan_tests, json_tests,	      idmap_tests, tree_tests,
		write_file_tests, scrub_tests, own_layer_tests, serve_tests,
	};
	int count = 0, failed = 0;

	for (size_t g = 0; g < sizeof(groups) / sizeof(*groups); g++) {
		for (const struct test *t = groups[g]; t->name; t++) {
			count++;
			failed += !run_test(t);
		}
	}
	printf("%d tests, %d failed\n", count, failed);
	return failed > 0;
}
