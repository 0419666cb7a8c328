// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "system.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_FDS_MAX 8

int system_pipe(int fds[2])
{
	return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
}

int system_socketpair(bool packets, int fds[2])
{
	int type = (packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC;

	return socketpair(AF_UNIX, type, 0, fds) < 0 ? -errno : 0;
}

int system_pty(int devpts, int *master, int *slave)
{
	int unlock = 0, ret;

	*master = openat(devpts, "ptmx",
			 O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (*master < 0)
		return -errno;
	if (ioctl(*master, TIOCSPTLCK, &unlock) == 0) {
		*slave = ioctl(*master, TIOCGPTPEER,
			       O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (*slave >= 0)
			return 0;
	}
	ret = -errno;
	close(*master);
	return ret;
}

int system_window_size(int fd, unsigned short columns, unsigned short rows)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	return ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int system_peer(int fd, struct ucred *peer)
{
	socklen_t len = sizeof(*peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len) < 0)
		return -errno;
	return 0;
}

/* Address of a unix socket; a name that begins with NUL is abstract. */
static int unix_address(struct sockaddr_un *address, const char *name,
			size_t len, socklen_t *size)
{
	if (len == 0 || len > sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, name, len);
	*size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

int system_connect(const char *name, size_t len)
{
	struct sockaddr_un address;
	int fd, one = 1, ret;
	socklen_t size;

	ret = unix_address(&address, name, len, &size);
	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/*
	 * liblxc refuses a message without credentials. It asks for them when
	 * it has accepted, which may be after we have sent; with the option on
	 * our side the kernel adds them whenever we send.
	 */
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0 ||
	    connect(fd, (struct sockaddr *)&address, size) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int system_send_fds(int socket, const char *data, size_t len, const int *fds,
		    int count)
{
	union {
		char space[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (char *)data, .iov_len = len };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t size = (size_t)count * sizeof(int);
	struct cmsghdr *head;
	ssize_t put;

	if (count < 0 || count > SEND_FDS_MAX)
		return -E2BIG;
	if (count > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.space;
		message.msg_controllen = CMSG_SPACE(size);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(head), fds, size);
	}
	do {
		put = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (put < 0 && errno == EINTR);
	if (put < 0)
		return -errno;
	return (size_t)put == len ? 0 : -EMSGSIZE;
}

int system_notify(const char *message)
{
	const char *path = getenv("NOTIFY_SOCKET");
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct sockaddr_un address;
	size_t len = path ? strlen(path) : 0;
	socklen_t size;
	int fd, ret;

	if (len == 0)
		return 0;
	if (len > sizeof(name) || (path[0] != '/' && path[0] != '@'))
		return -EINVAL;
	memcpy(name, path, len);
	if (name[0] == '@')
		name[0] = '\0';
	ret = unix_address(&address, name, len, &size);
	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT,
		   (struct sockaddr *)&address, size) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int system_pidfd(pid_t pid)
{
	int fd = pidfd_open(pid, 0);

	return fd < 0 ? -errno : fd;
}

int system_signal(pid_t pid, int number)
{
	int fd = system_pidfd(pid), ret;

	if (fd < 0)
		return fd;
	ret = pidfd_send_signal(fd, number, NULL, 0) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

int system_read_file(const char *path, size_t max, char **data, size_t *len)
{
	size_t cap = 4096;
	char *grown, *text = NULL;
	ssize_t got;
	int fd, ret = 0;

	*len = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	for (;;) {
		grown = realloc(text, cap);
		if (!grown) {
			ret = -ENOMEM;
			break;
		}
		text = grown;
		got = read(fd, text + *len, cap - *len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			ret = got < 0 ? -errno : 0;
			break;
		}
		*len += (size_t)got;
		if (*len == max) {
			ret = -EFBIG;
			break;
		}
		if (*len == cap)
			cap = cap * 2 > max ? max : cap * 2;
	}
	close(fd);
	if (ret < 0) {
		free(text);
		return ret;
	}
	*data = text;
	return 0;
}

/* liblxc is asked what it is, nothing else, and only when somebody wants to know. */
static void *liblxc_symbol(const char *name)
{
	void *library = dlopen("liblxc.so.1", RTLD_LAZY | RTLD_LOCAL);

	return library ? dlsym(library, name) : NULL;
}

const char *system_liblxc_version(void)
{
	const char *(*version)(void);

	*(void **)&version = liblxc_symbol("lxc_get_version");
	return version ? version() : NULL;
}

bool system_liblxc_has(const char *extension)
{
	bool (*has)(const char *name);

	*(void **)&has = liblxc_symbol("lxc_has_api_extension");
	return has && has(extension);
}
