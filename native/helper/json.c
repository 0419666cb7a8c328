// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void json_init(struct json *json)
{
	memset(json, 0, sizeof(*json));
}

void json_free(struct json *json)
{
	free(json->data);
	json_init(json);
}

static void append(struct json *json, const char *data, size_t len)
{
	size_t cap = json->cap ? json->cap : 256;
	char *grown;

	if (json->broken)
		return;
	while (cap - json->len < len)
		cap *= 2;
	if (cap != json->cap) {
		grown = realloc(json->data, cap);
		if (!grown) {
			json->broken = true;
			return;
		}
		json->data = grown;
		json->cap = cap;
	}
	memcpy(json->data + json->len, data, len);
	json->len += len;
}

void json_raw(struct json *json, const char *text)
{
	append(json, text, strlen(text));
}

void json_number(struct json *json, long long value)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%lld", value);

	append(json, text, (size_t)len);
}

/* Length of the UTF-8 sequence at s, 0 when it is none. */
static size_t utf8_length(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t more;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		more = 1;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		more = 2;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		more = 3;
	else
		return 0;

	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;

	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i <= more; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return more + 1;
}

bool is_utf8(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len;

	for (; *s; s += len) {
		len = utf8_length(s);
		if (len == 0)
			return false;
	}
	return true;
}

void json_string(struct json *json, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	char escape[8];
	size_t len;

	append(json, "\"", 1);
	while (*s) {
		len = utf8_length(s);
		if (len == 0) {
			json_raw(json, "\\ufffd");
			len = 1;
		} else if (*s == '"' || *s == '\\') {
			escape[0] = '\\';
			escape[1] = (char)*s;
			append(json, escape, 2);
		} else if (*s < 0x20 || *s == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", *s);
			append(json, escape, 6);
		} else {
			append(json, (const char *)s, len);
		}
		s += len;
	}
	append(json, "\"", 1);
}

static int wait_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (poll(&p, 1, -1) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int json_send(const struct json *json, int fd)
{
	size_t at = 0;
	ssize_t put;
	int ret;

	if (json->broken)
		return -ENOMEM;
	while (at < json->len) {
		put = send(fd, json->data + at, json->len - at, MSG_NOSIGNAL);
		if (put < 0 && errno == ENOTSOCK)
			put = write(fd, json->data + at, json->len - at);
		if (put >= 0) {
			at += (size_t)put;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ret = wait_writable(fd);
		if (ret < 0)
			return ret;
	}
	return 0;
}
