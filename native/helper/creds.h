// SPDX-License-Identifier: Apache-2.0
/*
 * Making files that belong to the container's root from the host's side.
 *
 * Between creds_container() and creds_host() new inodes get the container's
 * root as owner from the first moment on, on idmapped mounts and on file
 * systems the container mounted itself (where host root has no id at all).
 * Capabilities stay: the process is host root in every other respect.
 */
#ifndef SLIPWAY_CREDS_H
#define SLIPWAY_CREDS_H

#include "idmap.h"

int creds_container(const struct idmap *map);
int creds_ids(unsigned int uid, unsigned int gid);
int creds_host(void);

#endif
