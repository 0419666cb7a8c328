/**
 * lxcfs: the file system that shows containers their own limits in /proc.
 *
 * Its mount outlives its process: when that was killed, every access below the
 * mount point fails until it is unmounted.
 */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './tools.ts';

export const LXCFS_FOLDER = '/var/lib/lxcfs';
/** Its process may be killed again while it is being unmounted; mounts lie upon each other then. */
const MOST_MOUNTS = 10;

/** `dead`: mounted, and the process that served it is gone. */
export type LxcfsState = 'absent' | 'running' | 'dead';

/** Whether lxcfs serves the folder. */
export async function lxcfsState(folder: string): Promise<LxcfsState> {
  if ((await mountedDevice(folder)) === null) return 'absent';
  try {
    await access(join(folder, 'proc/meminfo'));
    return 'running';
  } catch (err) {
    // ECONNABORTED after the connection was cut at /sys/fs/fuse/connections.
    return isGone(err) ? 'dead' : 'absent';
  }
}

/**
 * Takes dead mounts off the folder; containers that use them keep what they
 * have. Returns whether there was one. Fault tool_failed.
 */
export async function clearDeadLxcfs(folder: string): Promise<boolean> {
  let count = 0;
  for (; count < MOST_MOUNTS && (await lxcfsState(folder)) === 'dead'; count += 1) {
    await runTool('umount', ['--lazy', folder]);
  }
  return count > 0;
}

/** Number of the file system mounted on the folder, `0:52`, as in every mountinfo; null when none is. */
export async function mountedDevice(folder: string): Promise<string | null> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  return lines.findLast((fields) => fields[4] === folder)?.[2] ?? null;
}

function isGone(err: unknown): boolean {
  return err instanceof Error && 'code' in err && (err.code === 'ENOTCONN' || err.code === 'ECONNABORTED');
}
