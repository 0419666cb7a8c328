// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "../helper/json.h"
#include "test.h"

static void check_string(const char *text, const char *wanted)
{
	struct json json;

	json_init(&json);
	json_string(&json, text);
	json_raw(&json, "");
	CHECK_INT((long long)json.len, (long long)strlen(wanted));
	if (json.len == strlen(wanted))
		CHECK(memcmp(json.data, wanted, json.len) == 0);
	json_free(&json);
}

static void escapes_what_json_cannot_hold(void)
{
	check_string("", "\"\"");
	check_string("plain", "\"plain\"");
	check_string("a\"b\\c", "\"a\\\"b\\\\c\"");
	check_string("line\nfeed\t\x01\x7f", "\"line\\u000afeed\\u0009\\u0001\\u007f\"");
	check_string("gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"");
	check_string("\xf0\x9f\x90\xa7", "\"\xf0\x9f\x90\xa7\"");
}

static void replaces_what_is_not_utf8(void)
{
	check_string("\xff", "\"\\ufffd\"");
	check_string("a\xc3", "\"a\\ufffd\"");
	check_string("\xe2\x82", "\"\\ufffd\\ufffd\"");
	check_string("\xc0\xaf", "\"\\ufffd\\ufffd\"");
	check_string("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
	check_string("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

static void knows_utf8(void)
{
	CHECK(is_utf8(""));
	CHECK(is_utf8("a\nb"));
	CHECK(is_utf8("\xe2\x82\xac"));
	CHECK(!is_utf8("\xe2\x82"));
	CHECK(!is_utf8("ab\x80"));
	CHECK(!is_utf8("\xc1\x81"));
	CHECK(!is_utf8("\xf5\x80\x80\x80"));
}

static void grows(void)
{
	struct json json;

	json_init(&json);
	for (int i = 0; i < 10000; i++)
		json_number(&json, -1234567);
	CHECK_INT((long long)json.len, 80000);
	CHECK(!json.broken);
	json_free(&json);
}

const struct test json_tests[] = {
	{ "strings are escaped", escapes_what_json_cannot_hold, false },
	{ "bytes that are not UTF-8 are replaced", replaces_what_is_not_utf8,
	  false },
	{ "well-formed UTF-8 is told from the rest", knows_utf8, false },
	{ "text grows as needed", grows, false },
	{ NULL, NULL, false },
};
