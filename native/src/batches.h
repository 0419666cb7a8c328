// SPDX-License-Identifier: Apache-2.0
/* Many small reads as one job of the thread pool; none of them can block. */
#ifndef SLIPWAY_BATCHES_H
#define SLIPWAY_BATCHES_H

#include <napi.h>

/* readFiles(paths): texts, null for one that cannot be read. */
Napi::Value ReadFiles(const Napi::CallbackInfo &info);

/* interfaces(pids): a list for each, null for one that is gone; or -errno. */
Napi::Value Interfaces(const Napi::CallbackInfo &info);

#endif
