/** Connects an instance's entry in `Powers` to its container's monitor. */
import { Fault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import { payloadCgroup } from '../metrics/cgroup.ts';
import type { Warnings } from '../warnings.ts';
import { instanceUrl } from './instance-url.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';

/**
 * Follows the monitor until the container ends. The monitor's socket reaching
 * its end is what "stopped" means: it is the last thing a monitor does, after
 * the network devices and the cgroups are gone.
 */
export async function watchMonitor(
  parts: RuntimeParts,
  id: string,
  name: string,
  initPid: number,
): Promise<Running> {
  const monitor = parts.native.monitor(parts.paths.lxc, name);
  let ended: () => void = () => undefined;
  const gone = new Promise<void>((resolve) => {
    ended = resolve;
  });
  let watch: { close(): void } | null = null;
  // All of it before the watch: the guest may end at any moment from then on.
  const running: Running = {
    initPid,
    cgroup: await payloadPath(parts, name),
    gone,
    close: () => {
      watch?.close();
    },
    endExpected: false,
    isWatched: true,
    network: null,
  };
  watch = await monitor.watch((state) => {
    if (state !== 'STOPPED') return;
    ended();
    if (!running.endExpected) parts.onEnded(id);
  });
  return running;
}

/** liblxc adds a suffix to the name when a cgroup of it was left over; the monitor knows. */
async function payloadPath(parts: RuntimeParts, name: string): Promise<string> {
  const controller = parts.host.unified === null ? (Object.keys(parts.host.v1)[0] ?? '') : '';
  try {
    const path = await parts.native.monitor(parts.paths.lxc, name).cgroupPath(controller);
    return path.startsWith('/') ? path : `/${path}`;
  } catch (err) {
    if (!(err instanceof Fault)) throw err;
    return payloadCgroup(name);
  }
}

export const UNRESPONSIVE = 'Instance monitor unresponsive';

/** The warning about an instance whose monitor does not answer. */
export function unresponsive(row: Pick<InstanceRow, 'project' | 'name'>): Parameters<Warnings['raise']>[0] {
  return {
    type: UNRESPONSIVE,
    severity: 'high',
    message: `the monitor of instance "${row.name}" does not answer; stop the instance with force`,
    project: row.project,
    entityUrl: instanceUrl(row),
  };
}
