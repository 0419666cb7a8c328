// SPDX-License-Identifier: Apache-2.0
/*
 * Waiting on the event loop itself: no thread is ever held by a monitor or a
 * process that does not answer. Every wait has a deadline.
 */
#ifndef SLIPWAY_WAITS_H
#define SLIPWAY_WAITS_H

#include <napi.h>

/*
 * exchange(name, request, maxReply, keep, timeoutMs): one question to a command
 * socket; with `keep` the connection stays open and is handed over.
 */
Napi::Value Exchange(const Napi::CallbackInfo &info);

/* waitGone(pid, timeoutMs): 1 when the process is gone, 0 at the deadline, or -errno. */
Napi::Value WaitGone(const Napi::CallbackInfo &info);

#endif
