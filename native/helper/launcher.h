// SPDX-License-Identifier: Apache-2.0
/*
 * launch: forks one helper per request for a daemon that is too large to fork.
 *
 * The daemon keeps one launcher and sends it messages (SOCK_SEQPACKET on
 * descriptor 0):
 *
 *	"run ID" or "sealed ID", with 1 or 4 descriptors: the child's 0 and 1
 *		(one socket: the plan in, answers out), then its 3, 4 and 5
 *	"kill ID"	SIGKILL for that child, if it is still there
 *
 * A child first writes its ID as a line to the launcher's descriptor 1. What
 * was sent to a launcher that has ended (nobody holds descriptor 1 any more)
 * and was not answered this way has certainly not begun, and the daemon sends
 * it to the next one.
 *
 * Forking from here takes a tenth of the time that forking the daemon takes,
 * and does not stop it meanwhile. The end of the socket ends the launcher and
 * with it the children that are at work.
 */
#ifndef SLIPWAY_LAUNCHER_H
#define SLIPWAY_LAUNCHER_H

/* What a child does with the plan on descriptor 0; its exit status. */
typedef int (*child_fn)(int plan_fd);

/* Until the end of the socket; an exit status. */
int launcher_main(child_fn child);

#endif
