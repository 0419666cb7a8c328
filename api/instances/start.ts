/**
 * Starts one instance: facts -> plan -> one run of the helper.
 *
 * Called in the instance's lane. The row says `starting` before anything is
 * done that a crash would leave behind, and `ready` with the power RUNNING
 * before the start is acknowledged.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Undo } from '../../process/undo.ts';
import type { Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import type { Monitor } from '../../native/types.ts';
import { renderIdmap } from '../idmap/idmap.ts';
import type { BridgedNic } from '../network/types.ts';
import { containerName } from '../paths.ts';
import { runTool } from '../tools.ts';
import { balanceCpus } from './cpu-balance.ts';
import type { DevicePlan } from './disks.ts';
import { parentsFirst, planDevices } from './disks.ts';
import { planDrive, removeDrive } from './config-drive.ts';
import { diskLimits } from './disk-limits.ts';
import { refuseTaken, removeHostEnds } from './host-ends.ts';
import { cardState, KEPT_NAMES } from './lent-cards.ts';
import { lxcfsViews } from './lxcfs-views.ts';
import { renderLxcConfig } from './lxc-config.ts';
import { watchMonitor } from './monitors.ts';
import type { NicPlan } from './nics.ts';
import { planNics } from './nics.ts';
import { hostnameOf } from './names.ts';
import { planPrivateDisks, refuseWhileLent } from './private-disks.ts';
import { instanceIdmap, rootSteps, rootVolume, templateSteps } from './root-plan.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { seccompPolicy } from './seccomp.ts';
import type { Expanded } from './types.ts';
import { parseBool } from './values.ts';

const END_TRIES = 250;
const END_PAUSE_MS = 20;

export const nicNames = {
  hostName: (): string => `veth${randomBytes(4).toString('hex')}`,
  hwaddr: (): string =>
    `00:16:3e:${[...randomBytes(3)].map((b) => b.toString(16).padStart(2, '0')).join(':')}`,
};

/** Folder of an instance's logs. */
export function logDir(parts: Pick<RuntimeParts, 'paths'>, row: { project: string; name: string }): string {
  return join(parts.paths.log, containerName(row.project, row.name));
}

export function deviceDir(
  parts: Pick<RuntimeParts, 'paths'>,
  row: { project: string; name: string },
): string {
  return join(parts.paths.devices, containerName(row.project, row.name));
}

/** Starts a stopped instance. Leaves it stopped, with nothing behind, when a step fails. */
export async function startInstance(parts: RuntimeParts, id: string, signal: AbortSignal): Promise<void> {
  const expanded = parts.store.expand(parts.store.byId(id));
  parts.powers.send(id, 'start_asked');
  const undo = new Undo();
  undo.add('note that it is stopped', async () => {
    parts.powers.send(id, 'start_failed');
    await parts.store.change(id, { phase: 'ready' });
  });
  try {
    refuseWhileLent({ store: parts.store, status: (other) => parts.powers.status(other) }, expanded.row);
    const priority = Number(expanded.config['boot.autostart.priority'] ?? '0');
    await parts.queue.run(priority, signal, () => bringUp(parts, expanded, undo, signal));
    undo.keep();
  } catch (err) {
    await undo.rollBack((what, cause) => {
      parts.log.error('undo step of a start failed', { instance: expanded.row.name, what, error: cause });
    });
    throw err;
  }
}

async function bringUp(
  parts: RuntimeParts,
  expanded: Expanded,
  undo: Undo,
  signal: AbortSignal,
): Promise<void> {
  const { row } = expanded;
  await parts.closeFiles(row.id);
  await applyPendingSize(parts, expanded);
  await loadKernelModules(expanded);
  // Once more: a pending size that was applied is gone from the row.
  const plan = await planStart(parts, parts.store.expand(parts.store.byId(row.id)));
  signal.throwIfAborted();
  await removeHostEnds(row.config);
  for (const nic of plan.nics) await refuseTaken(nic.device, nic.link.hostName);

  faultPoint('start.planned');
  await parts.store.change(row.id, { phase: 'starting', config: plan.config });
  faultPoint('start.row-starting');
  undo.add('forget host files of the container', () => removeHostFiles(parts, row));
  undo.add('remove ends of nics', () => removeHostEnds(plan.config));
  for (const nic of plan.nics) {
    if (nic.bridged === null) continue;
    const { bridged } = nic;
    undo.add('unplug a nic', () => parts.networks.unplug(bridged));
    await parts.networks.plug(bridged);
    faultPoint('start.nic-plugged');
  }
  const name = containerName(row.project, row.name);
  undo.add('end what was started', () => endContainer(parts, name));
  const starting = parts.native.start(plan.steps);
  faultPoint('start.helper-sent');
  const { initPid } = await starting;
  faultPoint('start.container-up');
  const running = await watchMonitor(parts, row.id, name, initPid);
  parts.powers.send(row.id, 'init_up', running);
  faultPoint('start.monitor-watched');
  for (const nic of plan.nics) if (nic.bridged !== null) await parts.networks.plugged(nic.bridged);
  faultPoint('start.nics-finished');

  await parts.store.change(row.id, {
    phase: 'ready',
    lastUsedAt: new Date().toISOString(),
    config: without(
      { ...parts.store.byId(row.id).config, 'volatile.last_state.power': 'RUNNING' },
      'volatile.apply_template',
    ),
  });
  faultPoint('start.row-ready');
}

interface StartPlan {
  readonly steps: readonly Step[];
  readonly nics: readonly NicPlan[];
  /** Local config with the volatile keys of this start. */
  readonly config: Readonly<Record<string, string>>;
}

async function planStart(parts: RuntimeParts, expanded: Expanded): Promise<StartPlan> {
  const { row } = expanded;
  const { place, extents } = instanceIdmap(parts, expanded);
  const nics = planNics(expanded, (n) => parts.networks.managed(n), nicNames);
  const devices = await planDevices(expanded, deviceDir(parts, row));
  const disks = await planPrivateDisks(parts, expanded, extents, deviceDir(parts, row));
  const { plan, root } = await rootSteps(parts, expanded, extents, disks.before);
  const drive = await planDrive(parts.paths, row, deviceDir(parts, row));
  const mounts = parentsFirst([...devices.mounts, ...disks.mounts, ...drive.mounts]);
  const configFile = await writeConfig(parts, expanded, {
    root,
    nics,
    devices: { ...devices, mounts },
    idmap: extents,
  });
  const mapText = renderIdmap(extents);
  const isolated = parseBool(expanded.config['security.idmap.isolated']);
  const config: Record<string, string> = {
    ...row.config,
    'volatile.idmap.base': isolated && extents.length > 0 ? String(place.start) : '0',
    'volatile.idmap.next': mapText,
    'volatile.idmap.current': mapText,
    'volatile.last_state.idmap': '[]',
  };
  for (const nic of nics) {
    Object.assign(config, nic.volatile);
    if (nic.link.kind === 'phys') Object.assign(config, await cardState(nic.device, nic.link.link ?? ''));
  }
  const nodeSteps =
    devices.nodes.length === 0 ? [] : [steps.mkdir(deviceDir(parts, row), '0711'), ...devices.nodes];
  return {
    steps: [
      ...plan,
      ...disks.after,
      ...drive.steps,
      ...(await templateSteps(parts, expanded, root)),
      ...nodeSteps,
      steps.start(parts.paths.lxc, containerName(row.project, row.name), configFile),
      ...(await checksumSteps(parts, nics)),
    ],
    nics,
    config,
  };
}

/** Part of the start itself: later would be a helper of its own, and lost segments until then. */
async function checksumSteps(parts: RuntimeParts, nics: readonly NicPlan[]): Promise<Step[]> {
  const out: Step[] = [];
  for (const { bridged, link } of nics) {
    if (bridged === null || !(await parts.networks.needsChecksums(bridged))) continue;
    out.push(steps.checksumsOff(null, link.name));
  }
  return out;
}

interface ConfigInput {
  readonly root: string;
  readonly nics: readonly NicPlan[];
  readonly devices: DevicePlan;
  readonly idmap: readonly { kind: 'u' | 'g' | 'b'; nsId: number; hostId: number; range: number }[];
}

/** Writes `lxc.conf` (and the seccomp policy) to the log folder, as LXD does. */
async function writeConfig(parts: RuntimeParts, expanded: Expanded, input: ConfigInput): Promise<string> {
  const { row } = expanded;
  const name = containerName(row.project, row.name);
  const dir = logDir(parts, row);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await rename(join(dir, 'lxc.log'), join(dir, 'lxc.log.old')).catch(ignoreMissing);
  const policy = seccompPolicy(expanded.config);
  const seccompFile = policy === null ? null : join(dir, 'seccomp.policy');
  if (seccompFile !== null && policy !== null) await writeFile(seccompFile, policy, { mode: 0o600 });
  const wantsGuestApi = parseBool(expanded.config['security.devlxd'], true);
  const text = renderLxcConfig(
    {
      containerName: name,
      hostname: hostnameOf(expanded),
      rootPath: input.root,
      rootMountPoint: join(parts.paths.lxc, '.root'),
      logDir: dir,
      config: expanded.config,
      architecture: row.architecture,
      idmap: input.idmap,
      nics: input.nics.map((nic) => nic.link),
      mounts: input.devices.mounts,
      deviceRules: input.devices.rules,
      seccompFile,
      stopHook: `${parts.native.helperPath} hook ${dir}`,
      guestSocketDir: wantsGuestApi ? parts.guestSocketDir : null,
      diskLimits: await diskLimits(parts, expanded),
      cpus: chosenCpus(parts, expanded),
      lxcfs: await lxcfsViews(parts, parts.host.lxcfsPath),
    },
    parts.host,
  );
  const file = join(dir, 'lxc.conf');
  await rm(join(dir, 'reboot'), { force: true });
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

function ignoreMissing(err: unknown): void {
  if (!(err instanceof Error && 'code' in err && err.code === 'ENOENT')) throw err;
}

function chosenCpus(parts: RuntimeParts, expanded: Expanded): string | null {
  const others = parts.powers
    .runningIds()
    .filter((id) => id !== expanded.row.id)
    .map((id) => ({ id, text: parts.store.expand(parts.store.byId(id)).config['limits.cpu'] ?? '' }));
  const mine = { id: expanded.row.id, text: expanded.config['limits.cpu'] ?? '' };
  return balanceCpus([...others, mine], parts.host.cpuCount).get(expanded.row.id) ?? null;
}

/** A size that was changed while it could not be applied. */
async function applyPendingSize(parts: RuntimeParts, expanded: Expanded): Promise<void> {
  for (const [device, config] of Object.entries(expanded.devices)) {
    if (config['type'] !== 'disk' || config['path'] !== '/') continue;
    const pending = expanded.row.config[`volatile.${device}.apply_quota`];
    if (pending === undefined) continue;
    const bytes = /^\d+$/.test(pending) && pending !== '0' ? Number(pending) : null;
    await parts.pools.get(expanded.row.pool).resize(rootVolume(expanded), bytes);
    await parts.store.setConfig(expanded.row.id, { [`volatile.${device}.apply_quota`]: null });
  }
}

async function loadKernelModules(expanded: Expanded): Promise<void> {
  const names = (expanded.config['linux.kernel_modules'] ?? '').split(',').map((n) => n.trim());
  for (const name of names.filter((n) => n !== '')) {
    try {
      await runTool('modprobe', ['--', name]);
    } catch (err) {
      throw new Fault('bad_request', `load kernel module "${name}" for linux.kernel_modules`, { cause: err });
    }
  }
}

/** Ends a container that may have been started; harmless when there is none. */
export async function endContainer(
  parts: Pick<RuntimeParts, 'native' | 'paths'>,
  name: string,
): Promise<void> {
  const monitor = parts.native.monitor(parts.paths.lxc, name);
  for (let tries = 0; tries < END_TRIES; tries += 1) {
    if ((await monitor.state()) === 'STOPPED') return;
    const pid = await initPidOrZero(monitor);
    if (pid > 0) parts.native.signalProcess(pid, 9);
    await sleep(END_PAUSE_MS);
  }
  throw new Fault(
    'timeout',
    `container ${name} does not end; its monitor or a process in it waits for a device`,
  );
}

/** A container that is just coming up or going down has no init to name. */
async function initPidOrZero(monitor: Monitor): Promise<number> {
  try {
    return await monitor.initPid();
  } catch (err) {
    if (isFault(err)) return 0;
    throw err;
  }
}

/** Device nodes and what else lies on the host for a running container only. */
export async function removeHostFiles(
  parts: Pick<RuntimeParts, 'paths'>,
  row: { project: string; name: string },
): Promise<void> {
  await rm(deviceDir(parts, row), { recursive: true, force: true });
}

/** Logs, config drive and device files of an instance that is deleted. Idempotent. */
export async function forgetHostFiles(
  parts: Pick<RuntimeParts, 'paths'>,
  row: { project: string; name: string },
): Promise<void> {
  await removeHostFiles(parts, row);
  await removeDrive(parts.paths, row);
  await rm(logDir(parts, row), { recursive: true, force: true });
}

export function without(
  config: Readonly<Record<string, string>>,
  ...keys: readonly string[]
): Record<string, string> {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !keys.includes(key)));
}

/** The nics of a definition as the network side knows them, from what a start has kept. */
export function pluggedNics(parts: Pick<RuntimeParts, 'networks'>, expanded: Expanded): BridgedNic[] {
  return planNics(expanded, (n) => parts.networks.managed(n), KEPT_NAMES).flatMap((nic) => {
    if (nic.bridged === null) return [];
    const hostName = expanded.row.config[`volatile.${nic.device}.host_name`] ?? nic.bridged.hostName;
    return hostName === '' ? [] : [{ ...nic.bridged, hostName }];
  });
}
