// SPDX-License-Identifier: Apache-2.0
/*
 * The requests of a `files` session, each a list and one JSON line back:
 *
 *	stat PATH			{"ok":true,"stat":{...}}
 *	list PATH			{"ok":true,"names":[...]}
 *	readlink PATH			{"ok":true,"target":"..."}
 *	open-read PATH			{"ok":true,"fd":N,"stat":{...}}
 *	open-write PATH UID GID MODE create|append
 *					{"ok":true,"fd":N,"created":true}
 *	mkdir PATH UID GID MODE		{"ok":true}
 *	symlink PATH TARGET UID GID	{"ok":true}
 *	remove PATH			{"ok":true}
 *	close N				{"ok":true}
 *
 * or {"ok":false,"errno":E}. An opened file stays open here until `close`;
 * the daemon opens /proc/<helper>/fd/N meanwhile, so no content passes by.
 */
#ifndef SLIPWAY_SERVE_H
#define SLIPWAY_SERVE_H

#include "plan.h"

/* Until the end of the requests. 0 or -errno. */
int serve(struct input *in, int out, int root);

#endif
