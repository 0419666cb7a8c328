// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define BUFFER_SIZE 32768
#define NO_NSID (-1)

struct request {
	struct nlmsghdr head;
	char body[128];
};

typedef int (*message_fn)(const struct nlmsghdr *head, void *data);

int net_open(void)
{
	struct timeval limit = { .tv_sec = 5 };
	int one = 1, fd, ret;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	/* Without strict checking the address dump ignores the namespace id. */
	if (setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one,
		       sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
		       sizeof(limit)) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static void add_attribute(struct request *request, unsigned short type,
			  int32_t value)
{
	struct rtattr *attr;

	attr = (struct rtattr *)((char *)request +
				 NLMSG_ALIGN(request->head.nlmsg_len));
	attr->rta_type = type;
	attr->rta_len = RTA_LENGTH(sizeof(value));
	memcpy(RTA_DATA(attr), &value, sizeof(value));
	request->head.nlmsg_len = NLMSG_ALIGN(request->head.nlmsg_len) +
				  RTA_ALIGN(attr->rta_len);
}

static void init_request(struct request *request, unsigned short type,
			 unsigned short flags, size_t body)
{
	memset(request, 0, sizeof(*request));
	request->head.nlmsg_type = type;
	request->head.nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags);
	request->head.nlmsg_len = NLMSG_LENGTH(body);
	request->head.nlmsg_seq = 1;
}

static int error_of(const struct nlmsghdr *head)
{
	const struct nlmsgerr *err = NLMSG_DATA(head);

	return head->nlmsg_len < NLMSG_LENGTH(sizeof(*err)) ? -EPROTO :
							     err->error;
}

/* One datagram of answers; 1 when the answer is complete, 0 for more, -errno. */
static int handle_datagram(char *buffer, ssize_t got, message_fn fn, void *data)
{
	struct nlmsghdr *head = (struct nlmsghdr *)buffer;
	unsigned int left = (unsigned int)got;
	int ret;

	for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
		if (head->nlmsg_type == NLMSG_DONE)
			return 1;
		if (head->nlmsg_type == NLMSG_ERROR) {
			ret = error_of(head);
			return ret ? ret : 1;
		}
		ret = fn ? fn(head, data) : 0;
		if (ret < 0)
			return ret;
		if (!(head->nlmsg_flags & NLM_F_MULTI))
			return 1;
	}
	return 0;
}

/* What an unfinished answer left in the socket must not answer the next one. */
static void drain(int fd, char *buffer)
{
	while (recv(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT) > 0)
		;
}

static int talk(int fd, struct request *request, message_fn fn, void *data)
{
	char *buffer;
	ssize_t got;
	int ret = 0;

	buffer = malloc(BUFFER_SIZE);
	if (!buffer)
		return -ENOMEM;
	drain(fd, buffer);
	if (send(fd, request, request->head.nlmsg_len, 0) < 0)
		ret = -errno;
	while (ret == 0) {
		got = recv(fd, buffer, BUFFER_SIZE, 0);
		if (got < 0 && errno == EINTR)
			continue;
		ret = got < 0 ? -errno :
				handle_datagram(buffer, got, fn, data);
	}
	free(buffer);
	return ret < 0 ? ret : 0;
}

static int take_nsid(const struct nlmsghdr *head, void *data)
{
	const struct rtgenmsg *body = NLMSG_DATA(head);
	struct rtattr *attr = (struct rtattr *)((char *)body +
						NLMSG_ALIGN(sizeof(*body)));
	int left = (int)NLMSG_PAYLOAD(head, sizeof(*body));

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		if (attr->rta_type == NETNSA_NSID &&
		    RTA_PAYLOAD(attr) >= sizeof(int32_t))
			memcpy(data, RTA_DATA(attr), sizeof(int32_t));
	}
	return 0;
}

static int ask_nsid(int fd, int ns, int32_t *nsid)
{
	struct request request;

	*nsid = NO_NSID;
	init_request(&request, RTM_GETNSID, 0, sizeof(struct rtgenmsg));
	add_attribute(&request, NETNSA_FD, ns);
	return talk(fd, &request, take_nsid, nsid);
}

/* The kernel's id for a namespace, given one when it has none. */
static int find_nsid(int fd, int ns, int32_t *nsid)
{
	struct request request;
	int ret;

	ret = ask_nsid(fd, ns, nsid);
	if (ret < 0 || *nsid != NO_NSID)
		return ret;
	init_request(&request, RTM_NEWNSID, NLM_F_ACK, sizeof(struct rtgenmsg));
	add_attribute(&request, NETNSA_FD, ns);
	add_attribute(&request, NETNSA_NSID, NO_NSID);
	ret = talk(fd, &request, NULL, NULL);
	/* Somebody else may have given it one meanwhile. */
	if (ret < 0 && ret != -EEXIST)
		return ret;
	ret = ask_nsid(fd, ns, nsid);
	return ret == 0 && *nsid == NO_NSID ? -ENOENT : ret;
}

/* Id of the namespace of a process; NO_NSID when it is our own. */
static int nsid_of_pid(int fd, pid_t pid, int32_t *nsid)
{
	struct stat ours, theirs;
	char path[40];
	int ns, ret;

	*nsid = NO_NSID;
	if (pid == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return -errno;
	if (fstat(ns, &theirs) < 0 || stat("/proc/self/ns/net", &ours) < 0)
		ret = -errno;
	else if (ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)
		ret = 0;
	else
		ret = find_nsid(fd, ns, nsid);
	close(ns);
	return ret;
}

static void take_counters(struct net_interface *i, const struct rtattr *attr)
{
	struct rtnl_link_stats64 s;
	size_t len = RTA_PAYLOAD(attr);

	memset(&s, 0, sizeof(s));
	memcpy(&s, RTA_DATA(attr), len < sizeof(s) ? len : sizeof(s));
	i->counters[NET_RX_BYTES] = s.rx_bytes;
	i->counters[NET_TX_BYTES] = s.tx_bytes;
	i->counters[NET_RX_PACKETS] = s.rx_packets;
	i->counters[NET_TX_PACKETS] = s.tx_packets;
	i->counters[NET_RX_ERRORS] = s.rx_errors;
	i->counters[NET_TX_ERRORS] = s.tx_errors;
	i->counters[NET_RX_DROPPED] = s.rx_dropped;
	i->counters[NET_TX_DROPPED] = s.tx_dropped;
}

static void take_hwaddr(struct net_interface *i, const struct rtattr *attr)
{
	const unsigned char *bytes = RTA_DATA(attr);
	size_t count = RTA_PAYLOAD(attr);

	i->hwaddr[0] = '\0';
	for (size_t n = 0; n < count && n < 20; n++)
		sprintf(i->hwaddr + strlen(i->hwaddr), n ? ":%02x" : "%02x",
			bytes[n]);
}

static uint32_t number(const struct rtattr *attr)
{
	uint32_t value = 0;

	if (RTA_PAYLOAD(attr) >= sizeof(value))
		memcpy(&value, RTA_DATA(attr), sizeof(value));
	return value;
}

static void take_link_attributes(struct net_interface *i, struct rtattr *attr,
				 int left)
{
	bool in_other_namespace = false;
	int link = 0;

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		switch (attr->rta_type) {
		case IFLA_IFNAME:
			snprintf(i->name, sizeof(i->name), "%.*s",
				 (int)RTA_PAYLOAD(attr),
				 (const char *)RTA_DATA(attr));
			break;
		case IFLA_ADDRESS:
			take_hwaddr(i, attr);
			break;
		case IFLA_MTU:
			i->mtu = number(attr);
			break;
		case IFLA_LINK:
			link = (int)number(attr);
			break;
		case IFLA_LINK_NETNSID:
			in_other_namespace = true;
			break;
		case IFLA_STATS64:
			take_counters(i, attr);
			break;
		default:
			break;
		}
	}
	/* Otherwise the link is inside, as the parent of a VLAN is. */
	i->peer = in_other_namespace ? link : 0;
}

static int take_link(const struct nlmsghdr *head, void *data)
{
	const struct ifinfomsg *body = NLMSG_DATA(head);
	struct net_list *list = data;
	struct net_interface *grown;

	if (head->nlmsg_type != RTM_NEWLINK)
		return 0;
	grown = realloc(list->interfaces,
			((size_t)list->count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->interfaces = grown;
	grown += list->count++;
	memset(grown, 0, sizeof(*grown));
	grown->index = body->ifi_index;
	grown->flags = body->ifi_flags;
	take_link_attributes(grown, IFLA_RTA(body),
			     (int)IFLA_PAYLOAD(head));
	return 0;
}

static struct net_interface *find_interface(struct net_list *list, int index)
{
	for (int n = 0; n < list->count; n++) {
		if (list->interfaces[n].index == index)
			return &list->interfaces[n];
	}
	return NULL;
}

static int add_address(struct net_interface *i, const struct ifaddrmsg *body,
		       const struct rtattr *attr)
{
	size_t needed = body->ifa_family == AF_INET ? 4 : 16;
	struct net_address *grown;

	if (RTA_PAYLOAD(attr) < needed)
		return 0;
	grown = realloc(i->addresses,
			((size_t)i->address_count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	i->addresses = grown;
	grown += i->address_count;
	grown->family = body->ifa_family;
	grown->prefix = body->ifa_prefixlen;
	grown->scope = body->ifa_scope;
	if (!inet_ntop(body->ifa_family, RTA_DATA(attr), grown->text,
		       sizeof(grown->text)))
		return -errno;
	i->address_count++;
	return 0;
}

static int take_address(const struct nlmsghdr *head, void *data)
{
	const struct ifaddrmsg *body = NLMSG_DATA(head);
	struct rtattr *attr = IFA_RTA(body), *best = NULL;
	int left = (int)IFA_PAYLOAD(head);
	struct net_interface *i;

	if (head->nlmsg_type != RTM_NEWADDR ||
	    (body->ifa_family != AF_INET && body->ifa_family != AF_INET6))
		return 0;
	i = find_interface(data, (int)body->ifa_index);
	/* IFA_ADDRESS is the other end on point-to-point links. */
	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		if (attr->rta_type == IFA_LOCAL ||
		    (attr->rta_type == IFA_ADDRESS && !best))
			best = attr;
	}
	return i && best ? add_address(i, body, best) : 0;
}

static int dump_links(int fd, int32_t nsid, struct net_list *list)
{
	struct request request;

	init_request(&request, RTM_GETLINK, NLM_F_DUMP,
		     sizeof(struct ifinfomsg));
	if (nsid != NO_NSID)
		add_attribute(&request, IFLA_TARGET_NETNSID, nsid);
	return talk(fd, &request, take_link, list);
}

static int dump_addresses(int fd, int32_t nsid, struct net_list *list)
{
	struct request request;

	init_request(&request, RTM_GETADDR, NLM_F_DUMP,
		     sizeof(struct ifaddrmsg));
	if (nsid != NO_NSID)
		add_attribute(&request, IFA_TARGET_NETNSID, nsid);
	return talk(fd, &request, take_address, list);
}

int net_read(int fd, pid_t pid, struct net_list *list)
{
	int32_t nsid;
	int ret;

	list->interfaces = NULL;
	list->count = 0;
	ret = nsid_of_pid(fd, pid, &nsid);
	if (ret == 0)
		ret = dump_links(fd, nsid, list);
	if (ret == 0)
		ret = dump_addresses(fd, nsid, list);
	if (ret < 0)
		net_free(list);
	return ret;
}

void net_free(struct net_list *list)
{
	for (int n = 0; n < list->count; n++)
		free(list->interfaces[n].addresses);
	free(list->interfaces);
	list->interfaces = NULL;
	list->count = 0;
}
