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
import type { Pool } from '../storage/types.ts';
import { payloadCgroup } from '../metrics/cgroup.ts';
import { readFrozen, setFrozen } from './freeze.ts';
import { settleHalfChanges, settleStopped } from './half-change.ts';
import { instanceUrl } from './instance-url.ts';
import { UNRESPONSIVE, unresponsive, watchMonitor } from './monitors.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { holdLentCards } from './lent-cards.ts';
import { endContainer, pluggedNics, without } from './start.ts';
import { firstProcess, monitorPidOf, removeCgroups, tidyUp } from './stop.ts';
import type { Runtime } from './types.ts';
import { parseBool } from './values.ts';
import { FOLLOWING, HELD } from './volatile-keys.ts';

export interface RecoveryVerbs {
  readonly undoCreate: (row: InstanceRow) => Promise<void>;
  readonly finishDelete: (row: InstanceRow) => Promise<void>;
}

/** Ids of instances to start, in order. */
export interface Recovered {
  readonly toStart: readonly string[];
  /** The same of those whose monitors let wait; they are in the state Error until then. Never rejects. */
  readonly late: Promise<readonly string[]>;
}

/** A monitor answers within a millisecond, or it hangs: the daemon's first answer does not wait for it. */
const SOON_MS = 500;

/** One bad instance never keeps the others back. */
export async function recoverInstances(
  parts: RuntimeParts,
  rows: readonly InstanceRow[],
  verbs: RecoveryVerbs,
): Promise<Recovered> {
  const booted = await isNewBoot(parts);
  const recover = async (row: InstanceRow, first: Promise<ContainerState>): Promise<boolean> => {
    try {
      return await recoverOne(parts, { row, first }, verbs, booted);
    } catch (err) {
      parts.log.error('an instance could not be brought to a clean state', {
        instance: row.name,
        project: row.project,
        error: describeChain(err),
      });
      return false;
    }
  };
  const toStart: InstanceRow[] = [];
  const late: Promise<InstanceRow | null>[] = [];
  await Promise.all(
    rows.map(async (row) => {
      const first = parts.native.monitor(parts.paths.lxc, containerName(row.project, row.name)).state();
      if (await settlesSoon(first)) {
        if (await recover(row, first)) toStart.push(row);
        return;
      }
      parts.powers.adopt(row.id, 'Error', await silentContainer(parts, row));
      // The lane is ours before anybody can ask for it.
      late.push(parts.lanes.run(row.id, async () => ((await recover(row, first)) ? row : null)));
    }),
  );
  await sweep(parts);
  await writeFile(join(parts.paths.state, 'boot_id'), parts.host.bootId);
  return {
    toStart: inOrder(parts, toStart),
    late: Promise.all(late).then((found) => inOrder(parts, found)),
  };
}

function inOrder(parts: RuntimeParts, rows: readonly (InstanceRow | null)[]): string[] {
  const priority = (row: InstanceRow): number =>
    Number(parts.store.expand(row).config['boot.autostart.priority'] ?? '0');
  return rows
    .filter((row) => row !== null)
    .sort((a, b) => priority(b) - priority(a) || (a.name < b.name ? -1 : 1))
    .map((row) => row.id);
}

async function settlesSoon(asked: Promise<unknown>): Promise<boolean> {
  const settled = asked.then(
    () => true,
    () => true,
  );
  const late = new AbortController();
  try {
    return await Promise.race([settled, sleep(SOON_MS, false, { signal: late.signal })]);
  } finally {
    late.abort();
  }
}

async function isNewBoot(parts: RuntimeParts): Promise<boolean> {
  try {
    return (await readFile(join(parts.paths.state, 'boot_id'), 'utf8')).trim() !== parts.host.bootId;
  } catch {
    return true; // the first start ever
  }
}

/** An instance whose monitor has been asked for its state. */
interface Asked {
  readonly row: InstanceRow;
  readonly first: Promise<ContainerState>;
}

/** True when the instance shall be started. */
async function recoverOne(
  parts: RuntimeParts,
  { row, first }: Asked,
  verbs: RecoveryVerbs,
  booted: boolean,
): Promise<boolean> {
  const state = await settledState(parts, row, first);
  const alive = state !== 'STOPPED';
  if (!alive && parts.powers.state(row.id) === 'Error') parts.powers.send(row.id, 'init_gone');
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
  if (row.config[FOLLOWING] !== undefined) await settleStopped(parts, row.id);
  const ran = row.phase === 'starting' || row.config['volatile.last_state.power'] === 'RUNNING';
  const reboot = ran ? (await tidyUp(parts, row.id)).reboot : false;
  if (ran) await removeCgroups(row.project, row.name);
  if (row.ephemeral && ran && !reboot) {
    await parts.deleteEphemeral(row.id);
    return false;
  }
  const autostart = parts.store.expand(row).config['boot.autostart'] ?? '';
  if (reboot) return true;
  if (!booted) return false;
  return autostart === '' ? row.config['volatile.last_state.power'] === 'RUNNING' : parseBool(autostart);
}

type Found = ContainerState | 'SILENT';

/** How often (each 100 ms) the container of an interrupted start is looked for. */
const START_LOOKS = 5;

/** A start that the daemon's death interrupted is awaited: its monitor decides how it ends. */
async function settledState(
  parts: RuntimeParts,
  row: InstanceRow,
  first: Promise<ContainerState>,
): Promise<Found> {
  const monitor = parts.native.monitor(parts.paths.lxc, containerName(row.project, row.name));
  for (let tries = 0; ; tries += 1) {
    let state: Found;
    try {
      state = await (tries === 0 ? first : monitor.state());
    } catch (err) {
      if (!isFault(err, 'timeout')) throw err;
      state = 'SILENT';
    }
    const passing = state === 'STARTING' || state === 'STOPPING' || state === 'ABORTING';
    // The helper of a start that was cut short may be ending only now: what comes of it must be seen.
    const isEarly = row.phase === 'starting' && state === 'STOPPED' && tries < START_LOOKS;
    if ((!passing && !isEarly) || tries >= 100) return state;
    await sleep(100);
  }
}

async function adopt(parts: RuntimeParts, row: InstanceRow, state: Found): Promise<void> {
  const name = containerName(row.project, row.name);
  if (state === 'SILENT') {
    parts.powers.adopt(row.id, 'Error', await silentContainer(parts, row));
    await parts.warnings.raise(unresponsive(row));
    return;
  }
  const known = parts.powers.running(row.id);
  const running =
    known?.isWatched === true
      ? known // somebody asked for its state when the monitor had just come back
      : await watchMonitor(parts, row.id, name, await parts.native.monitor(parts.paths.lxc, name).initPid());
  let frozen = await readFrozen(parts.host, running.cgroup);
  if (frozen && row.config[HELD] !== undefined) {
    await setFrozen(parts.host, running, false);
    frozen = false;
  }
  parts.powers.adopt(row.id, frozen ? 'Frozen' : 'Running', running);
  await holdLentCards(parts, parts.store.expand(row), running);
  await parts.warnings.resolve(UNRESPONSIVE, instanceUrl(row));
  if (row.phase === 'starting') await finishStart(parts, row);
  await settleHalfChanges(parts, row.id, running);
  if (
    row.phase === 'ready' &&
    row.config['volatile.last_state.power'] === 'RUNNING' &&
    row.config[HELD] === undefined
  )
    return;
  await parts.store.change(row.id, {
    phase: 'ready',
    config: { ...without(parts.store.byId(row.id).config, HELD), 'volatile.last_state.power': 'RUNNING' },
  });
}

/** What a start does when the container is up. */
async function finishStart(parts: RuntimeParts, row: InstanceRow): Promise<void> {
  for (const nic of pluggedNics(parts, parts.store.expand(row))) await parts.networks.plugged(nic);
  await parts.store.setConfig(row.id, { 'volatile.apply_template': null });
}

/** What can be known of a container whose monitor is stopped: its cgroups, and through them its processes. */
async function silentContainer(parts: RuntimeParts, row: InstanceRow): Promise<Running> {
  const cgroup = payloadCgroup(containerName(row.project, row.name));
  const mount = parts.host.unified ?? Object.values(parts.host.v1)[0] ?? '';
  const monitor = await monitorPidOf(parts.host, row);
  return {
    initPid: await firstProcess(join(mount, cgroup)),
    cgroup,
    gone: monitor > 0 ? waitForEnd(parts, monitor) : Promise.resolve(),
    close: () => undefined,
    endExpected: true,
    isWatched: false,
    network: null,
  };
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
      await sweepPool(parts, parts.pools.get(name));
    } catch (err) {
      parts.log.error('a pool could not be searched for leftovers', {
        pool: name,
        error: describeChain(err),
      });
    }
  }
  for (const folder of [parts.paths.devices, parts.paths.configDrives]) {
    for (const entry of await readdir(folder)) {
      const { project, name } = splitContainerName(entry);
      if (!isKnown(parts, project, name)) await rm(join(folder, entry), { recursive: true, force: true });
    }
  }
}

async function sweepPool(parts: RuntimeParts, pool: Pool): Promise<void> {
  for (const volume of await pool.list()) {
    if (isKnown(parts, volume.project, volume.instance)) continue;
    parts.log.warn('a volume without an instance is removed', { pool: pool.name, ...volume });
    await pool.remove(volume);
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
    const url = instanceUrl(row);
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
