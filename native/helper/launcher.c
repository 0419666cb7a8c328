// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "liblxc.h"
#include "sealed.h"

#define MESSAGE_MAX 64
#define FDS_MAX 4

struct child {
	unsigned long id;
	pid_t pid;
};

struct launcher {
	int signals;
	struct child *children;
	size_t count;
	size_t cap;
	child_fn child;
};

struct request {
	unsigned long id;
	bool sealed;
	pid_t launcher;
};

struct message {
	char text[MESSAGE_MAX];
	int fds[FDS_MAX];
	int fd_count;
};

static void close_fds(struct message *message)
{
	for (int i = 0; i < message->fd_count; i++)
		close(message->fds[i]);
	message->fd_count = 0;
}

static void take_fds(struct msghdr *head, struct message *message)
{
	struct cmsghdr *c;
	size_t count;

	for (c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (count > FDS_MAX)
			count = FDS_MAX;
		memcpy(message->fds, CMSG_DATA(c), count * sizeof(int));
		message->fd_count = (int)count;
	}
}

/* 1 with a message, 0 at the end of the socket, or -errno. */
static int receive(struct message *message)
{
	union {
		char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {
		.iov_base = message->text,
		.iov_len = sizeof(message->text) - 1,
	};
	struct msghdr head = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t got;

	message->fd_count = 0;
	do {
		got = recvmsg(STDIN_FILENO, &head, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : 0;
	message->text[got] = '\0';
	take_fds(&head, message);
	return 1;
}

/*
 * Puts the descriptors where a helper expects them. They come above all
 * targets first, so that no copy overwrites one that is still needed.
 */
static int place_fds(const struct message *message)
{
	static const int targets[FDS_MAX] = { STDIN_FILENO, 3, 4, 5 };
	int high[FDS_MAX];

	for (int i = 0; i < message->fd_count; i++) {
		high[i] = fcntl(message->fds[i], F_DUPFD_CLOEXEC, 16);
		if (high[i] < 0)
			return -errno;
	}
	for (int i = 0; i < message->fd_count; i++) {
		if (dup2(high[i], targets[i]) < 0)
			return -errno;
	}
	if (dup2(STDIN_FILENO, STDOUT_FILENO) < 0)
		return -errno;
	return close_range(message->fd_count == 4 ? 6 : 3, ~0u, 0) < 0 ?
		-errno : 0;
}

/*
 * The launcher ends when the daemon does, and a helper at work ends with it:
 * a plan that went on by itself would start a container the next daemon has
 * already found stopped. What the helper forks (a monitor, a command) does not
 * inherit this.
 */
static int end_with(pid_t launcher)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return getppid() == launcher ? 0 : -ESRCH;
}

/* The daemon does not send this request again. */
static int tell_taken(unsigned long id)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%lu\n", id);
	ssize_t put;

	do {
		put = write(STDOUT_FILENO, text, (size_t)len);
	} while (put < 0 && errno == EINTR);
	return put == len ? 0 : -EPIPE;
}

/* True when the daemon has closed its end: it no longer wants the plan. */
static bool is_abandoned(void)
{
	struct pollfd fd = { .fd = STDIN_FILENO };

	return poll(&fd, 1, 0) > 0 && (fd.revents & POLLHUP);
}

/* Nothing of the plan is read before the daemon was told that it is taken. */
static void run_child(struct launcher *l, struct message *message,
		      const struct request *request)
{
	char *argv[] = { "slipway-helper", "--sealed", NULL };
	sigset_t none;

	sigemptyset(&none);
	if (end_with(request->launcher) < 0 || tell_taken(request->id) < 0 ||
	    place_fds(message) < 0 ||
	    sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		_exit(2);
	if (is_abandoned())
		_exit(0);
	if (request->sealed) {
		sealed_exec(argv);
		_exit(2);
	}
	free(l->children);
	_exit(l->child(STDIN_FILENO));
}

static int remember(struct launcher *l, unsigned long id, pid_t pid)
{
	size_t cap = l->cap ? l->cap * 2 : 16;
	struct child *grown;

	if (l->count == l->cap) {
		grown = realloc(l->children, cap * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->children = grown;
		l->cap = cap;
	}
	l->children[l->count].id = id;
	l->children[l->count].pid = pid;
	l->count++;
	return 0;
}

static void launch(struct launcher *l, struct message *message,
		   unsigned long id, bool sealed)
{
	const struct request request = {
		.id = id,
		.sealed = sealed,
		.launcher = getpid(),
	};
	pid_t pid = -1;

	if (message->fd_count == 1 || message->fd_count == 4)
		pid = fork();
	if (pid == 0)
		run_child(l, message, &request);
	/*
	 * Without a child the daemon sees its socket end with no answer. One
	 * that cannot be remembered works, it can just not be killed.
	 */
	if (pid > 0)
		remember(l, id, pid);
	else
		tell_taken(id);
}

static void reap(struct launcher *l)
{
	struct signalfd_siginfo info;
	pid_t pid;

	/* What it says is of no interest: several ends make one signal. */
	if (read(l->signals, &info, sizeof(info)) < 0)
		return;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		for (size_t i = 0; i < l->count; i++) {
			if (l->children[i].pid == pid) {
				l->children[i] = l->children[--l->count];
				break;
			}
		}
	}
}

static void kill_child(struct launcher *l, unsigned long id)
{
	/* Not reaped yet, or it would not be in the list: the pid is its own. */
	for (size_t i = 0; i < l->count; i++) {
		if (l->children[i].id == id)
			kill(l->children[i].pid, SIGKILL);
	}
}

static void handle(struct launcher *l, struct message *message)
{
	char *space = strchr(message->text, ' ');
	unsigned long id;

	if (!space || parse_number(space + 1, 10, ~0ul - 1, &id) < 0)
		return;
	*space = '\0';
	if (strcmp(message->text, "kill") == 0)
		kill_child(l, id);
	else if (strcmp(message->text, "run") == 0)
		launch(l, message, id, false);
	else if (strcmp(message->text, "sealed") == 0)
		launch(l, message, id, true);
}

static int watch_children(void)
{
	sigset_t child;
	int fd;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &child, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int launcher_main(child_fn child)
{
	struct launcher l = { .child = child };
	struct message message;
	struct pollfd fds[2];
	int ret = 1;

	/* Sockets that systemd gave the daemon come without close-on-exec. */
	if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
		return 2;
	/* Once for all children; a host without liblxc fails at its first use. */
	liblxc_preload();
	l.signals = watch_children();
	if (l.signals < 0)
		return 2;
	fds[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = l.signals, .events = POLLIN };
	while (ret > 0) {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return 2;
		}
		if (fds[1].revents)
			reap(&l);
		if (!fds[0].revents)
			continue;
		ret = receive(&message);
		if (ret > 0)
			handle(&l, &message);
		close_fds(&message);
	}
	close(l.signals);
	free(l.children);
	return ret < 0 ? 2 : 0;
}
