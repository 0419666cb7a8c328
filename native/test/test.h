// SPDX-License-Identifier: Apache-2.0
/* The little that the C tests need: checks, and a scratch directory each. */
#ifndef SLIPWAY_TEST_H
#define SLIPWAY_TEST_H

#include <stdbool.h>
#include <stddef.h>

struct test {
	const char *name;	/* a sentence */
	void (*fn)(void);
	bool needs_root;
};

extern const struct test plan_tests[];
extern const struct test json_tests[];
extern const struct test idmap_tests[];
extern const struct test tree_tests[];
extern const struct test write_file_tests[];
extern const struct test scrub_tests[];
extern const struct test own_layer_tests[];
extern const struct test serve_tests[];

/* Counts and prints a failure; the test goes on. */
void check_failed(const char *file, int line, const char *what);
void check_int_failed(const char *file, int line, const char *what,
		      long long got, long long wanted);

#define CHECK(condition)                                                       \
	do {                                                                   \
		if (!(condition))                                              \
			check_failed(__FILE__, __LINE__, #condition);          \
	} while (0)

#define CHECK_INT(expression, wanted)                                          \
	do {                                                                   \
		long long got_ = (expression), wanted_ = (wanted);             \
		if (got_ != wanted_)                                           \
			check_int_failed(__FILE__, __LINE__, #expression,      \
					 got_, wanted_);                       \
	} while (0)

#define CHECK_TEXT(got, wanted) check_text(__FILE__, __LINE__, got, wanted)

void check_text(const char *file, int line, const char *got,
		const char *wanted);

/* The scratch directory of the running test; it is the working directory too. */
const char *scratch(void);

/* Path below it, in a buffer that lives until the test's end. */
const char *below(const char *path);

void make_dir(const char *path);
void make_file(const char *path, const char *content);
void make_link(const char *path, const char *target);

/* Content of a small file, "" when there is none; lives until the next call. */
const char *content_of(const char *path);

#endif
