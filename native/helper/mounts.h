// SPDX-License-Identifier: Apache-2.0
/* Detached clones of mounts and moving them to where they are seen. */
#ifndef SLIPWAY_MOUNTS_H
#define SLIPWAY_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

/* open_tree(OPEN_TREE_CLONE); descriptor or -errno. */
int mounts_clone(const char *source, bool recursive);

/* mount_setattr on the whole of a detached clone. userns_fd < 0: no idmap. */
int mounts_set(int tree, uint64_t attributes, int userns_fd, bool recursive);

/*
 * Propagation of a detached clone: MS_PRIVATE, MS_SHARED, MS_SLAVE or
 * MS_UNBINDABLE. A clone begins in the peer group of what was cloned.
 */
int mounts_propagate(int tree, uint64_t type, bool recursive);

/* Moves a detached clone onto a path of this mount namespace. */
int mounts_move(int tree, const char *target);

#endif
