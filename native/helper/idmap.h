// SPDX-License-Identifier: Apache-2.0
/* Id maps: parsing, looking up, and user namespaces that carry them. */
#ifndef SLIPWAY_IDMAP_H
#define SLIPWAY_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDMAP_MAX 340		/* the kernel's own limit per map */

struct extent {
	bool uid;
	bool gid;
	uint32_t ns;
	uint32_t host;
	uint32_t range;
};

struct idmap {
	struct extent *extents;
	int count;
};

/* "u:0:1000000:65536,g:0:…" or "-" for none. 0, -EINVAL or -ENOMEM. */
int idmap_parse(struct idmap *map, const char *text);
void idmap_free(struct idmap *map);

/* Host id of an id of the container. 0 or -EINVAL when it is not mapped. */
int idmap_host(const struct idmap *map, bool gid, uint32_t ns, uint32_t *host);

/*
 * What host id 0 is inside where `host_root` maps it (see below). 0, or
 * -EINVAL when no id is left for it.
 */
int idmap_host_root(const struct idmap *map, bool gid, uint32_t *ns);

/*
 * Text for /proc/<pid>/{u,g}id_map. With `host_root`, host id 0 is mapped too,
 * to the first id above all others, unless it is mapped already. Returns the
 * length or -errno.
 */
int idmap_text(const struct idmap *map, bool gid, bool host_root, char *text,
	       size_t size);

/* A user namespace with this map, held by nothing but the descriptor. */
int idmap_userns(const struct idmap *map, bool host_root);

#endif
