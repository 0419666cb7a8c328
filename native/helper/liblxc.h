// SPDX-License-Identifier: Apache-2.0
/*
 * liblxc, loaded when a verb needs it: linking it would cost every other verb
 * a millisecond of relocations.
 */
#ifndef SLIPWAY_LIBLXC_H
#define SLIPWAY_LIBLXC_H

#include <lxc/lxccontainer.h>

#include "step.h"

/* Loads the library ahead of its first use. */
void liblxc_preload(void);

/*
 * A container object with its configuration loaded, to be closed; or NULL with
 * the reason in run->text and *err.
 */
struct lxc_container *liblxc_open(struct run *run, const char *lxcpath,
				  const char *name, const char *config,
				  int *err);
void liblxc_close(struct lxc_container *container);

/* Where the container's log ends now; 0 when it has none. */
long long liblxc_log_end(struct lxc_container *container);

/* Explains with the error lines that were logged since `from`. */
void liblxc_explain(struct run *run, struct lxc_container *container,
		    long long from);

#endif
