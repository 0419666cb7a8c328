// SPDX-License-Identifier: Apache-2.0
/*
 * A start that fails leaves the monitor's cgroups behind: liblxc cannot remove
 * them while its caller, which it moved there, is still in them. The next
 * start would then count up ("lxc.monitor.NAME-1") for ever.
 */
#ifndef SLIPWAY_LEFTOVERS_H
#define SLIPWAY_LEFTOVERS_H

/* Removes empty cgroups of this container; waits a moment for the dying. */
void leftovers_remove(const char *name);

#endif
