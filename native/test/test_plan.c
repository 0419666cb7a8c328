// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../helper/plan.h"
#include "../helper/step.h"
#include "test.h"

/* A descriptor that reads these bytes. */
static int bytes_fd(const char *bytes, size_t len)
{
	int fd = memfd_create("plan", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len ||
	    lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return fd;
}

static int read_plan(const char *bytes, size_t len, struct plan *plan,
		     struct input *in)
{
	int fd = bytes_fd(bytes, len), ret;

	input_init(in, fd);
	ret = plan_read(plan, in);
	close(fd);
	return ret;
}

static int result_of(const char *bytes, size_t len)
{
	struct plan plan;
	struct input in;
	int ret = read_plan(bytes, len, &plan, &in);

	if (ret == 0)
		plan_free(&plan);
	input_free(&in);
	return ret;
}

static void reads_steps_and_leaves_the_rest(void)
{
	static const char bytes[] = "3\0mkdir\0/a\0\0" "1\0x\0" "0\0signal 9\n";
	struct plan plan;
	struct input in;

	CHECK_INT(read_plan(bytes, sizeof(bytes) - 1, &plan, &in), 0);
	CHECK_INT(plan.count, 2);
	CHECK_INT(plan.steps[0].argc, 3);
	CHECK_TEXT(plan.steps[0].argv[0], "mkdir");
	CHECK_TEXT(plan.steps[0].argv[2], "");
	CHECK(plan.steps[0].argv[3] == NULL);
	CHECK_TEXT(plan.steps[1].argv[0], "x");
	CHECK_INT((long long)(in.len - in.used), 9);
	CHECK(memcmp(in.data + in.used, "signal 9\n", 9) == 0);
	plan_free(&plan);
	input_free(&in);
}

static void refuses_what_is_cut_off(void)
{
	static const char bytes[] = "2\0a\0b\0" "1\0c\0" "0\0";

	CHECK_INT(result_of(bytes, sizeof(bytes) - 1), 0);
	for (size_t len = 0; len < sizeof(bytes) - 1; len++)
		CHECK_INT(result_of(bytes, len), -EPROTO);
}

static void refuses_counts_that_are_none(void)
{
	CHECK_INT(result_of("x\0", 2), -EPROTO);
	CHECK_INT(result_of("-1\0", 3), -EPROTO);
	CHECK_INT(result_of("1 \0a\0", 5), -EPROTO);
	CHECK_INT(result_of("\0", 1), -EPROTO);
	CHECK_INT(result_of("99999\0", 6), -E2BIG);
	CHECK_INT(result_of("000000001\0a\0", 12), -EPROTO);
}

static void reads_a_plan_larger_than_its_first_buffer(void)
{
	size_t size = 1 << 20;
	char *bytes = malloc(size + 64), *at = bytes;
	struct plan plan;
	struct input in;

	if (!bytes)
		abort();
	memcpy(at, "2\0f\0", 4);
	at += 4;
	memset(at, 'a', size);
	at += size;
	memcpy(at, "\0" "1\0z\0" "0\0", 7);
	at += 7;
	CHECK_INT(read_plan(bytes, (size_t)(at - bytes), &plan, &in), 0);
	CHECK_INT((long long)strlen(plan.steps[0].argv[1]), (long long)size);
	CHECK_TEXT(plan.steps[1].argv[0], "z");
	plan_free(&plan);
	input_free(&in);
	free(bytes);
}

static void survives_any_bytes(void)
{
	char bytes[256];
	int ret;

	srandom(7);
	for (int round = 0; round < 20000; round++) {
		size_t len = (size_t)random() % sizeof(bytes);

		/* Mostly digits and NULs: others are refused at once. */
		for (size_t i = 0; i < len; i++)
			bytes[i] = "0123\0\0\0ab"[random() % 9];
		ret = result_of(bytes, len);
		CHECK(ret == 0 || ret == -EPROTO || ret == -E2BIG);
	}
}

static void parses_numbers_strictly(void)
{
	unsigned long value = 0;

	CHECK_INT(parse_number("65535", 10, 65535, &value), 0);
	CHECK_INT((long long)value, 65535);
	CHECK_INT(parse_number("0755", 8, 07777, &value), 0);
	CHECK_INT((long long)value, 0755);
	CHECK_INT(parse_number("65536", 10, 65535, &value), -EINVAL);
	CHECK_INT(parse_number("-1", 10, 65535, &value), -EINVAL);
	CHECK_INT(parse_number("+1", 10, 65535, &value), -EINVAL);
	CHECK_INT(parse_number(" 1", 10, 65535, &value), -EINVAL);
	CHECK_INT(parse_number("", 10, 65535, &value), -EINVAL);
	CHECK_INT(parse_number("9", 8, 65535, &value), -EINVAL);
	CHECK_INT(parse_number("1x", 10, 65535, &value), -EINVAL);
	CHECK_INT(parse_number("99999999999999999999", 10, ~0ul, &value),
		  -EINVAL);
}

static void finds_words_in_lists(void)
{
	CHECK(has_word("ro", "ro"));
	CHECK(has_word("ro,rec", "rec"));
	CHECK(has_word("nodev,ro,rec", "ro"));
	CHECK(!has_word("-", "ro"));
	CHECK(!has_word("", "ro"));
	CHECK(!has_word("road", "ro"));
	CHECK(!has_word("nodev", "dev"));
}

const struct test plan_tests[] = {
	{ "a plan is read step by step and what follows it stays",
	  reads_steps_and_leaves_the_rest, false },
	{ "a plan that is cut off anywhere is refused",
	  refuses_what_is_cut_off, false },
	{ "a count that is no small number is refused",
	  refuses_counts_that_are_none, false },
	{ "a plan may be larger than the first buffer",
	  reads_a_plan_larger_than_its_first_buffer, false },
	{ "any bytes are either a plan or refused", survives_any_bytes, false },
	{ "numbers are parsed strictly", parses_numbers_strictly, false },
	{ "words are found in comma lists", finds_words_in_lists, false },
	{ NULL, NULL, false },
};
