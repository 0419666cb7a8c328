// SPDX-License-Identifier: Apache-2.0
/*
 * Every entry of a tree that somebody else filled. Links are not followed,
 * other file systems not entered, depth is limited.
 */
#ifndef SLIPWAY_WALK_H
#define SLIPWAY_WALK_H

#include <sys/stat.h>

#define WALK_DEPTH_MAX 1000

/*
 * Called for the tree itself (as "." in itself) and for each entry, before
 * what is in it. 0, or -errno to end the walk with.
 */
typedef int (*walk_fn)(void *context, int dir, const char *name,
		       const struct stat *st);

/* 0, what `visit` returned, or -errno: -ELOOP for a tree that is too deep. */
int walk_tree(const char *tree, walk_fn visit, void *context);

#endif
