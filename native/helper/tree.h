// SPDX-License-Identifier: Apache-2.0
/*
 * Paths inside a tree that somebody else filled. Every lookup is made by the
 * kernel as inside a chroot (RESOLVE_IN_ROOT, no magic links), so neither a
 * link nor ".." leaves the tree, however the tree changes meanwhile.
 */
#ifndef SLIPWAY_TREE_H
#define SLIPWAY_TREE_H

#include <stdbool.h>
#include <sys/types.h>

/* openat2 within root; descriptor (O_CLOEXEC) or -errno. */
int tree_open(int root, const char *path, int flags, mode_t mode);

/* The root directory itself: O_PATH descriptor or -errno. */
int tree_root(const char *path);

/*
 * Directory that holds the last part of `path` (O_PATH descriptor) and that
 * part in `name` (NAME_MAX + 1 bytes). -EINVAL when the last part is "..",
 * "." or the root itself.
 */
int tree_parent(int root, const char *path, char *name);

/* The same, making directories that are missing (0755). */
int tree_make_parents(int root, const char *path, char *name);

/* A descriptor of an O_PATH descriptor's file with other flags, or -errno. */
int tree_reopen(int fd, int flags);

#endif
