/**
 * Brings a running container from one definition to the next: limits are
 * written to its cgroups, mounts, nics and device nodes are plugged and
 * unplugged. What can only change at a start is left for the next one, as in LXD.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoint } from '../../process/fault-points.ts';
import { Fault, isFault } from '../../process/fault.ts';
import { Undo } from '../../process/undo.ts';
import { steps } from '../../native/steps.ts';
import type { MountFlag, Step } from '../../native/steps.ts';
import type { DeviceMap, StringMap } from '../db/rows.ts';
import { balanceCpus } from './cpu-balance.ts';
import { innerPathOf } from './device-keys.ts';
import { diskLimits } from './disk-limits.ts';
import { planDisk, planUnix } from './disks.ts';
import { hotPlugNic, hotUnplugNic, keysAsBefore } from './hot-nic.ts';
import type { CgroupSetting } from './limits.ts';
import { cgroupSettings, limitChanges } from './limits.ts';
import type { MountEntry } from './lxc-config.ts';
import type { Running } from './power.ts';
import { instanceIdmap } from './root-plan.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import { deviceDir } from './start.ts';
import type { Expanded } from './types.ts';
import { expandedWith } from './volatile-keys.ts';

export type VolatileChanges = Readonly<Record<string, string | null>>;

/** Keys of a device that change without plugging it anew. */
const LIVE_DEVICE_KEYS: Readonly<Record<string, readonly string[]>> = {
  disk: ['limits.max', 'limits.read', 'limits.write', 'size'],
  nic: [
    'limits.ingress',
    'limits.egress',
    'limits.max',
    'ipv4.routes',
    'ipv6.routes',
    'ipv4.routes.external',
    'ipv6.routes.external',
    'ipv4.address',
    'ipv6.address',
    'security.mac_filtering',
    'security.ipv4_filtering',
    'security.ipv6_filtering',
  ],
};

/** Returns the volatile.* keys to save with the new definition. */
export async function applyChanges(
  parts: RuntimeParts,
  before: Expanded,
  after: Expanded,
): Promise<VolatileChanges> {
  const running = parts.powers.running(after.row.id);
  if (running === null) return {};
  const undo = new Undo();
  try {
    await applyLimits(parts, running, before, after, undo);
    const volatile = await applyDevices(parts, running, before, after, undo);
    await repinCpus(parts, after);
    undo.keep();
    return volatile;
  } catch (err) {
    await undo.rollBack((what, cause) => {
      parts.log.error('undo step of a live change failed', { instance: after.row.name, what, error: cause });
    });
    // What a tool does not take is what was asked for.
    throw isFault(err, 'tool_failed')
      ? new Fault('bad_request', 'the running container cannot be changed like this', { cause: err })
      : err;
  }
}

async function applyLimits(
  parts: RuntimeParts,
  running: Running,
  before: Expanded,
  after: Expanded,
  undo: Undo,
): Promise<void> {
  const old = [...cgroupSettings(before.config, parts.host), ...(await diskLimits(parts, before, 'skip'))];
  const fresh = [...cgroupSettings(after.config, parts.host), ...(await diskLimits(parts, after))];
  const changes = limitChanges(old, fresh);
  if (changes.length === 0) return;
  undo.add('put the old limits back', () => writeSettings(parts, running, limitChanges(fresh, old)));
  await writeSettings(parts, running, changes);
  faultPoint('update.limits-written');
}

export async function writeSettings(
  parts: RuntimeParts,
  running: Running,
  settings: readonly CgroupSetting[],
): Promise<void> {
  for (const setting of settings) {
    const mount = setting.controller === 'unified' ? parts.host.unified : parts.host.v1[setting.controller];
    if (mount === undefined || mount === null) continue;
    try {
      await writeFile(join(mount, running.cgroup, setting.file), setting.value);
    } catch (err) {
      throw new Fault(
        'bad_request',
        `set ${setting.file} of the running container to ${setting.value}; it may use more than that right now`,
        {
          cause: err,
        },
      );
    }
  }
}

/** Places every running container that has `limits.cpu`; called when one starts, stops or changes. */
export async function repinCpus(parts: RuntimeParts, changed?: Expanded): Promise<void> {
  const controller =
    parts.host.v1['cpuset'] ?? (parts.host.unifiedControllers.includes('cpuset') ? parts.host.unified : null);
  if (controller === null) return;
  const wishes = parts.powers.runningIds().map((id) => {
    const config = changed?.row.id === id ? changed.config : parts.store.expand(parts.store.byId(id)).config;
    return { id, text: config['limits.cpu'] ?? '' };
  });
  const all = `0-${String(parts.host.cpuCount - 1)}`;
  for (const [id, cpus] of balanceCpus(wishes, parts.host.cpuCount)) {
    const running = parts.powers.running(id);
    if (running === null || (cpus === null && changed?.row.id !== id)) continue;
    try {
      await writeFile(join(controller, running.cgroup, 'cpuset.cpus'), cpus ?? all);
    } catch (err) {
      // A container that is just ending has no cgroup any more; the others must still be placed.
      parts.log.warn('a container could not be placed on its processors', { instance: id, error: err });
    }
  }
}

interface DeviceChanges {
  readonly removed: readonly [string, StringMap][];
  readonly added: readonly [string, StringMap][];
  readonly updated: readonly [string, StringMap, StringMap][];
}

export function deviceChanges(before: DeviceMap, after: DeviceMap): DeviceChanges {
  const removed: [string, StringMap][] = [];
  const added: [string, StringMap][] = [];
  const updated: [string, StringMap, StringMap][] = [];
  for (const [name, old] of Object.entries(before)) {
    const next = after[name];
    if (next === undefined) removed.push([name, old]);
    else if (!isSame(old, next)) {
      if (changesLive(old, next)) updated.push([name, old, next]);
      else {
        removed.push([name, old]);
        added.push([name, next]);
      }
    }
  }
  for (const [name, next] of Object.entries(after)) if (before[name] === undefined) added.push([name, next]);
  return { removed, added, updated };
}

function isSame(a: StringMap, b: StringMap): boolean {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => a[key] === b[key]);
}

function changesLive(a: StringMap, b: StringMap): boolean {
  const live = LIVE_DEVICE_KEYS[b['type'] ?? ''] ?? [];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => a[key] === b[key] || live.includes(key));
}

async function applyDevices(
  parts: RuntimeParts,
  running: Running,
  before: Expanded,
  after: Expanded,
  undo: Undo,
): Promise<VolatileChanges> {
  const changes = deviceChanges(before.devices, after.devices);
  const volatile: Record<string, string | null> = {};
  // A device that is taken out to be changed could not be put back either.
  for (const [name, config] of changes.added) await checkPlug(parts, after, name, config);
  for (const [name, config] of changes.removed) {
    await unplugDevice(parts, running, before, name, config);
    if (config['type'] === 'nic') volatile[`volatile.${name}.host_name`] = null;
    undo.add('plug a device again', () => plugDevice(parts, running, before, name, config));
  }
  for (const [name, config] of changes.added) {
    const saved = parts.store.byId(after.row.id).config;
    const chosen = await plugDevice(parts, running, after, name, config);
    if (chosen === null) continue;
    Object.assign(volatile, chosen);
    // Not before it is plugged: until then, what has its place in the guest is the guest's own.
    undo.add('unplug a device again', async () => {
      await unplugDevice(parts, running, expandedWith(after, chosen), name, config);
      await parts.store.setConfig(after.row.id, keysAsBefore(saved, chosen));
    });
  }
  for (const [name, old, next] of changes.updated) {
    if (next['type'] !== 'nic') continue; // limits of disks are cgroup settings, size is the pool's
    undo.add('put a nic back', () => hotPlugNic.replug(parts, before, name, old));
    await hotPlugNic.replug(parts, after, name, next);
  }
  return volatile;
}

/** Throws what plugDevice() would refuse by the looks of the host; changes nothing. */
async function checkPlug(
  parts: RuntimeParts,
  expanded: Expanded,
  name: string,
  config: StringMap,
): Promise<void> {
  switch (config['type']) {
    case 'disk':
      if (config['path'] !== '/') await planHotDisk(name, config);
      return;
    case 'unix-char':
    case 'unix-block':
      await planUnix(name, config, deviceDir(parts, expanded.row));
      return;
    default:
  }
}

/**
 * Returns the volatile.* keys that were chosen; null when there was nothing to
 * plug. What fails leaves nothing behind.
 */
export async function plugDevice(
  parts: RuntimeParts,
  running: Running,
  expanded: Expanded,
  name: string,
  config: StringMap,
): Promise<StringMap | null> {
  switch (config['type']) {
    case 'nic':
      return hotPlugNic.plug(parts, running, expanded, name, config);
    case 'disk': {
      if (config['path'] === '/') return null;
      const isPlugged = await plugDisk({ parts, running, expanded, name, config });
      faultPoint('update.disk-plugged');
      return isPlugged ? {} : null;
    }
    case 'unix-char':
    case 'unix-block':
      return (await plugUnix({ parts, running, expanded, name, config })) ? {} : null;
    default:
      return null;
  }
}

/** One device on its way into a running container. */
interface Plug {
  readonly parts: RuntimeParts;
  readonly running: Running;
  readonly expanded: Expanded;
  readonly name: string;
  readonly config: StringMap;
}

/** null when an optional source is not there. Fault `bad_request` for what only a start can mount. */
async function planHotDisk(name: string, config: StringMap): Promise<MountEntry | null> {
  const mount = await planDisk(name, config);
  if (mount === null) return null;
  if (mount.fstype !== 'none') {
    throw new Fault(
      'bad_request',
      `device "${name}": a disk with a file system of its own can only be added while the instance is stopped`,
    );
  }
  if ((config['raw.mount.options'] ?? '') !== '') {
    throw new Fault(
      'bad_request',
      `device "${name}": a disk with raw.mount.options can only be added while the instance is stopped`,
    );
  }
  return mount;
}

/** False when an optional source is not there. */
async function plugDisk({ parts, running, expanded, name, config }: Plug): Promise<boolean> {
  const mount = await planHotDisk(name, config);
  if (mount === null) return false;
  const { extents } = instanceIdmap(parts, expanded);
  const flags: MountFlag[] = [];
  if (mount.options.includes('ro')) flags.push('ro');
  if (mount.options.includes('rbind')) flags.push('rec');
  if (mount.options.includes('idmap=container')) flags.push('idmap');
  for (const word of ['shared', 'slave', 'unbindable'] as const) {
    if (mount.options.includes(word) || mount.options.includes(`r${word}`)) flags.push(word);
  }
  await changeMounts(parts, `add disk "${name}" to the running container`, [
    steps.idmap(extents),
    steps.mountInto(running.initPid, mount.source, mount.target, flags),
  ]);
  return true;
}

/** What stands in the way is mostly in the guest: a file where a folder is wanted, or a link. */
async function changeMounts(parts: RuntimeParts, what: string, plan: readonly Step[]): Promise<void> {
  try {
    await parts.native.run(plan);
  } catch (err) {
    throw isFault(err, 'native_failed') ? new Fault('bad_request', what, { cause: err }) : err;
  }
}

/** False when an optional source is not there. */
async function plugUnix({ parts, running, expanded, name, config }: Plug): Promise<boolean> {
  const dir = deviceDir(parts, expanded.row);
  const plan = await planUnix(name, config, dir);
  if (plan === null) return false;
  const { extents } = instanceIdmap(parts, expanded);
  const devices = parts.host.v1['devices'];
  if (extents.length === 0 && devices !== undefined) {
    await writeFile(join(devices, running.cgroup, 'devices.allow'), plan.rule);
  }
  await changeMounts(parts, `add device "${name}" to the running container`, [
    steps.mkdir(dir, '0711'),
    steps.idmap(extents),
    plan.node,
    steps.mountInto(running.initPid, plan.mount.source, plan.mount.target, []),
  ]);
  return true;
}

export async function unplugDevice(
  parts: RuntimeParts,
  running: Running,
  expanded: Expanded,
  name: string,
  config: StringMap,
): Promise<void> {
  switch (config['type']) {
    case 'nic':
      await hotUnplugNic(parts, running, expanded, name, config);
      return;
    case 'disk':
    case 'unix-char':
    case 'unix-block': {
      const target = innerPathOf(config['path'] ?? config['source'] ?? '');
      if (target === '/') return;
      await changeMounts(parts, `remove device "${name}" from the running container`, [
        steps.umountFrom(running.initPid, target, config['type'] !== 'disk'),
      ]);
      return;
    }
    default:
  }
}
