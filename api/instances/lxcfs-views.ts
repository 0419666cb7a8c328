/** The files of lxcfs that a container sees in place of the host's own. */
import { join } from 'node:path';
import type { Log } from '../../process/log.ts';
import { lxcfsState } from '../lxcfs.ts';
import { isThere } from '../storage/layout.ts';
import type { Warnings } from '../warnings.ts';

const FILES = [
  'proc/cpuinfo',
  'proc/diskstats',
  'proc/loadavg',
  'proc/meminfo',
  'proc/slabinfo',
  'proc/stat',
  'proc/swaps',
  'proc/uptime',
  'sys/devices/system/cpu',
];

const WARNING = 'lxcfs is gone';

export interface ViewParts {
  readonly log: Log;
  readonly warnings: Warnings;
}

/**
 * Those that are there, asked before each start: lxcfs may be started after the
 * daemon, and it may die. None and a warning when its mount is dead; never a
 * reason for an instance not to start.
 */
export async function lxcfsViews(parts: ViewParts, folder: string): Promise<readonly string[]> {
  const state = await lxcfsState(folder);
  if (state === 'dead') {
    const message = `the process that served ${folder} is gone: instances start without it and see the host in /proc; run \`slipway up\`, or unmount it and start lxcfs`;
    parts.log.warn('lxcfs is not used', { reason: message });
    await parts.warnings.raise({ type: WARNING, severity: 'moderate', message });
    return [];
  }
  if (state === 'absent') return [];
  await parts.warnings.resolve(WARNING);
  const there = await Promise.all(FILES.map((file) => isThere(join(folder, file))));
  return FILES.filter((_, at) => there[at]);
}
