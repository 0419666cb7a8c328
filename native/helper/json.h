// SPDX-License-Identifier: Apache-2.0
/* JSON text that grows; a failed allocation is remembered and told at the end. */
#ifndef SLIPWAY_JSON_H
#define SLIPWAY_JSON_H

#include <stdbool.h>
#include <stddef.h>

struct json {
	char *data;
	size_t len;
	size_t cap;
	bool broken;
};

void json_init(struct json *json);
void json_free(struct json *json);
void json_raw(struct json *json, const char *text);
void json_number(struct json *json, long long value);

/* A quoted string; bytes that are not UTF-8 become U+FFFD. */
void json_string(struct json *json, const char *text);

/* True when `text` is well-formed UTF-8 (no surrogates, nothing overlong). */
bool is_utf8(const char *text);

/* Writes all of it to fd. 0 or -errno; never raises SIGPIPE on a socket. */
int json_send(const struct json *json, int fd);

#endif
