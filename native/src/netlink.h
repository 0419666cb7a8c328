// SPDX-License-Identifier: Apache-2.0
/*
 * Interfaces of other network namespaces, asked from here: the kernel takes
 * the namespace's id in the request, so nothing enters it and nothing forks.
 */
#ifndef SLIPWAY_NETLINK_H
#define SLIPWAY_NETLINK_H

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct net_address {
	int family;		/* AF_INET or AF_INET6 */
	int prefix;
	int scope;		/* RT_SCOPE_ */
	char text[46];
};

enum net_counter {
	NET_RX_BYTES,
	NET_TX_BYTES,
	NET_RX_PACKETS,
	NET_TX_PACKETS,
	NET_RX_ERRORS,
	NET_TX_ERRORS,
	NET_RX_DROPPED,
	NET_TX_DROPPED,
	NET_COUNTERS,
};

struct net_interface {
	int index;
	char name[16];
	char hwaddr[64];
	uint32_t mtu;
	uint32_t flags;		/* IFF_ */
	int peer;
	uint64_t counters[NET_COUNTERS];
	struct net_address *addresses;
	int address_count;
};

struct net_list {
	struct net_interface *interfaces;
	int count;
};

/* A route netlink socket for net_read(), or -errno. */
int net_open(void);

/* Interfaces in the namespace of `pid` (0: this one). 0 or -errno. */
int net_read(int socket, pid_t pid, struct net_list *list);
void net_free(struct net_list *list);

#ifdef __cplusplus
}
#endif
#endif
