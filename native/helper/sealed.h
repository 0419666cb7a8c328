// SPDX-License-Identifier: Apache-2.0
/*
 * A container whose root is the host's root could write to the helper's file
 * through /proc/<pid>/exe of a process that enters it (CVE-2019-5736). Running
 * from a sealed copy in memory leaves it nothing to write to.
 */
#ifndef SLIPWAY_SEALED_H
#define SLIPWAY_SEALED_H

/* Executes a sealed copy with the same arguments; 0 when this is one already. */
int sealed_exec(char **argv);

#endif
