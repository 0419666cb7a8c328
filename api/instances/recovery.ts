/**
 * What the daemon does with the instances it finds when it starts: containers
 * that run are adopted, what was half done is finished or undone, what
 * belongs to nobody is removed. Then, after a boot of the host, instances that
 * ran (or have boot.autostart) are started in the order of their priority.
 */
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain, isFault } from '../../process/fault.ts';
import type { ContainerState } from '../../native/types.ts';
import type { InstanceRow } from '../db/rows.ts';
import { containerName, splitContainerName } from '../paths.ts';
import { readFrozen } from './freeze.ts';
import { watchMonitor } from './monitors.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { endContainer } from './start.ts';
import { removeCgroups, tidyUp } from './stop.ts';
import type { Runtime } from './types.ts';
import { parseBool } from './values.ts';

export interface RecoveryVerbs {
  readonly undoCreate: (row: InstanceRow) => Promise<void>;
  readonly finishDelete: (row: InstanceRow) => Promise<void>;
}

/** Returns the ids of instances to start, in order. One bad instance never keeps the others back. */
export async function recoverInstances(
  parts: RuntimeParts,
  rows: readonly InstanceRow[],
  verbs: RecoveryVerbs,
): Promise<string[]> {
  const booted = await isNewBoot(parts);
  const toStart: InstanceRow[] = [];
  await Promise.all(
    rows.map(async (row) => {
      try {
        const again = await recoverOne(parts, row, verbs, booted);
        if (again) toStart.push(row);
      } catch (err) {
        parts.log.error('an instance could not be brought to a clean state', {
          instance: row.name,
          project: row.project,
          error: describeChain(err),
        });
      }
    }),
  );
  await sweep(parts);
  await writeFile(join(parts.paths.state, 'boot_id'), parts.host.bootId);
  const priority = (row: InstanceRow): number =>
    Number(parts.store.expand(row).config['boot.autostart.priority'] ?? '0');
  return toStart.sort((a, b) => priority(b) - priority(a) || (a.name < b.name ? -1 : 1)).map((row) => row.id);
}

async function isNewBoot(parts: RuntimeParts): Promise<boolean> {
  try {
    return (await readFile(join(parts.paths.state, 'boot_id'), 'utf8')).trim() !== parts.host.bootId;
  } catch {
    return true; // the first start ever
  }
}

/** True when the instance shall be started. */
async function recoverOne(
  parts: RuntimeParts,
  row: InstanceRow,
  verbs: RecoveryVerbs,
  booted: boolean,
): Promise<boolean> {
  const state = await settledState(parts, row);
  const alive = state !== 'STOPPED';
  switch (row.phase) {
    case 'creating':
      if (alive) await endContainer(parts, containerName(row.project, row.name));
      await verbs.undoCreate(row);
      return false;
    case 'deleting':
      if (alive) await endContainer(parts, containerName(row.project, row.name));
      await verbs.finishDelete(row);
      return false;
    case 'starting':
    case 'ready':
      break;
  }
  if (alive) {
    await adopt(parts, row, state);
    return false;
  }
  const ran = row.phase === 'starting' || row.config['volatile.last_state.power'] === 'RUNNING';
  const reboot = ran ? (await tidyUp(parts, row.id)).reboot : false;
  if (ran) await removeCgroups(parts.host, row.project, row.name);
  if (row.ephemeral && ran && !reboot) {
    await parts.deleteEphemeral(row.id);
    return false;
  }
  const autostart = parts.store.expand(row).config['boot.autostart'] ?? '';
  if (reboot) return true;
  if (!booted || row.phase === 'starting') return false;
  return autostart === '' ? ran : parseBool(autostart);
}

type Found = ContainerState | 'SILENT';

/** A start that the daemon's death interrupted is awaited: its monitor decides how it ends. */
async function settledState(parts: RuntimeParts, row: InstanceRow): Promise<Found> {
  const monitor = parts.native.monitor(parts.paths.lxc, containerName(row.project, row.name));
  for (let tries = 0; ; tries += 1) {
    let state: Found;
    try {
      state = await monitor.state();
    } catch (err) {
      if (!isFault(err, 'timeout')) throw err;
      state = 'SILENT';
    }
    const passing = state === 'STARTING' || state === 'STOPPING' || state === 'ABORTING';
    if (!passing || tries >= 100) return state;
    await sleep(100);
  }
}

async function adopt(parts: RuntimeParts, row: InstanceRow, state: Found): Promise<void> {
  const name = containerName(row.project, row.name);
  if (state === 'SILENT') {
    parts.powers.adopt(row.id, 'Error', await silentContainer(parts, row));
    return;
  }
  const initPid = await parts.native.monitor(parts.paths.lxc, name).initPid();
  const running = await watchMonitor(parts, row.id, name, initPid);
  const frozen = await readFrozen(parts.host, running.cgroup);
  parts.powers.adopt(row.id, frozen ? 'Frozen' : 'Running', running);
  if (row.phase !== 'starting' && row.config['volatile.last_state.power'] === 'RUNNING') return;
  await parts.store.change(row.id, {
    phase: 'ready',
    config: { ...row.config, 'volatile.last_state.power': 'RUNNING' },
  });
}

/** What can be known of a container whose monitor is stopped: its cgroup, and through it its processes. */
async function silentContainer(
  parts: RuntimeParts,
  row: InstanceRow,
): Promise<{
  initPid: number;
  cgroup: string;
  gone: Promise<void>;
  close: () => void;
  endExpected: boolean;
}> {
  const cgroup = `/lxc.payload.${containerName(row.project, row.name)}`;
  const mount = parts.host.unified ?? Object.values(parts.host.v1)[0] ?? '';
  let initPid = 0;
  try {
    initPid = Number((await readFile(join(mount, cgroup, 'cgroup.procs'), 'utf8')).split('\n')[0] ?? '0');
  } catch (err) {
    parts.log.warn('no process of a silent container was found', { instance: row.name, error: err });
  }
  const gone = initPid > 0 ? waitForEnd(parts, initPid) : Promise.resolve();
  return { initPid, cgroup, gone, close: () => undefined, endExpected: true };
}

async function waitForEnd(parts: RuntimeParts, pid: number): Promise<void> {
  while (!(await parts.native.waitGone(pid, 3_600_000))) {
    // An hour has passed and it still runs: wait on.
  }
}

/** Volumes, device folders and logs that no row speaks of: a crash between two steps left them. */
async function sweep(parts: RuntimeParts): Promise<void> {
  for (const name of parts.pools.names()) {
    try {
      const pool = parts.pools.get(name);
      for (const volume of await pool.list()) {
        if (isKnown(parts, volume.project, volume.instance)) continue;
        parts.log.warn('a volume without an instance is removed', { pool: name, ...volume });
        await pool.remove(volume);
      }
    } catch (err) {
      parts.log.error('a pool could not be searched for leftovers', {
        pool: name,
        error: describeChain(err),
      });
    }
  }
  for (const folder of [parts.paths.devices]) {
    for (const entry of await readdir(folder)) {
      const { project, name } = splitContainerName(entry);
      if (!isKnown(parts, project, name)) await rm(join(folder, entry), { recursive: true, force: true });
    }
  }
}

function isKnown(parts: RuntimeParts, project: string, name: string): boolean {
  return parts.store.list().some(
    (row) =>
      // A rename that was cut off may have left the volume under either name.
      row.project === project && (row.name === name || row.config['volatile.rename.from'] === name),
  );
}

/** Starts what recoverInstances() named, one after the other with their delays; failures become warnings. */
export async function autostart(
  parts: RuntimeParts,
  runtime: Runtime,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (const id of ids) {
    if (signal.aborted) return;
    const row = parts.store.byId(id);
    const url = `/1.0/instances/${row.name}`;
    try {
      await parts.lanes.run(id, () => runtime.start(id, signal));
      parts.events.lifecycle('instance-started', url, { project: row.project });
      await parts.warnings.resolve('Failed to autostart instance', url);
    } catch (err) {
      parts.log.error('an instance could not be started at boot', {
        instance: row.name,
        error: describeChain(err),
      });
      await parts.warnings.raise({
        type: 'Failed to autostart instance',
        severity: 'high',
        message: describeChain(err),
        project: row.project,
        entityUrl: url,
      });
    }
    const delayS = Number(parts.store.expand(row).config['boot.autostart.delay'] ?? '0');
    if (delayS > 0) await sleep(delayS * 1000, undefined, { signal }).catch(() => undefined);
  }
}
