/**
 * Disks that are assembled in an instance's own mount namespace:
 *
 *   empty:         one of its own, of an enforced size, kept beside its root
 *   root:INSTANCE  the root of another instance of the project, which is stopped
 *
 * Called in the instance's lane, when it starts.
 */
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { IdExtent, Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import type { InstanceRow, StringMap } from '../db/rows.ts';
import {
  ROOT_FS,
  ROOT_MOUNT_OPTIONS,
  makeRootFile,
  resizeDetached,
  rootFileSize,
} from '../storage/root-file.ts';
import type { MountEntry } from './lxc-config.ts';
import { rootVolume } from './root-plan.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import type { Expanded, InstanceStatus } from './types.ts';
import { parseBool, parseBytes } from './values.ts';

export const EMPTY_SOURCE = 'empty:';
const ROOT_SOURCE = 'root:';

export interface PrivateDisks {
  /** Before the steps of the instance's own root: the other one is assembled where its own will be. */
  readonly before: readonly Step[];
  readonly after: readonly Step[];
  readonly mounts: readonly MountEntry[];
}

export function isPrivateSource(source: string | undefined): boolean {
  return source === EMPTY_SOURCE || source?.startsWith(ROOT_SOURCE) === true;
}

/** Name of the instance whose root a device shows; null for other devices. */
export function rootOf(device: StringMap): string | null {
  const source = device['source'] ?? '';
  return device['type'] === 'disk' && source.startsWith(ROOT_SOURCE)
    ? source.slice(ROOT_SOURCE.length)
    : null;
}

/** Fault conflict while a running instance shows this one's root as a disk: two at once would destroy it. */
export function refuseWhileLent(
  parts: {
    readonly store: { list(project: string): readonly InstanceRow[] };
    readonly status: (id: string) => InstanceStatus;
  },
  row: InstanceRow,
): void {
  for (const other of parts.store.list(row.project)) {
    if (!Object.values(other.devices).some((device) => rootOf(device) === row.name)) continue;
    if (other.id === row.id || parts.status(other.id) === 'Stopped') continue;
    throw new Fault(
      'conflict',
      `the root of instance "${row.name}" is a disk of "${other.name}", which runs; stop that one first`,
    );
  }
}

/** Plans the disks of one start; makes and grows the files of its own ones. `dir` is where mount points are made. */
export async function planPrivateDisks(
  parts: RuntimeParts,
  expanded: Expanded,
  idmap: readonly IdExtent[],
  dir: string,
): Promise<PrivateDisks> {
  const before: Step[] = [];
  const after: Step[] = [];
  const mounts: MountEntry[] = [];
  const devices = Object.entries(expanded.devices).filter(
    ([, config]) => config['type'] === 'disk' && isPrivateSource(config['source']),
  );
  await removeUnused(parts, expanded, devices);
  for (const [device, config] of devices) {
    const target = join(dir, `disk.${device}`);
    const other = rootOf(config);
    if (other === null)
      after.push(...(await emptySteps(parts, expanded, idmap, { device, config, dir, target })));
    else before.push(...(await otherRootSteps(parts, expanded, idmap, { device, other, target })));
    const options = parseBool(config['readonly']) ? ['bind', 'ro'] : ['bind'];
    mounts.push({ source: target, target: config['path'] ?? '', fstype: 'none', options, isDirectory: true });
  }
  return { before, after, mounts };
}

interface EmptyDisk {
  readonly device: string;
  readonly config: StringMap;
  readonly dir: string;
  readonly target: string;
}

async function emptySteps(
  parts: RuntimeParts,
  expanded: Expanded,
  idmap: readonly IdExtent[],
  { device, config, dir, target }: EmptyDisk,
): Promise<Step[]> {
  const volume = parts.pools.get(expanded.row.pool).volumePath(rootVolume(expanded));
  const file = join(volume, fileName(device));
  await makeFile(parts, volume, file, parseBytes(config['size'] ?? ''));
  const raw = join(dir, `file.${device}`);
  return [
    steps.mkdir(raw, '0700'),
    steps.mkdir(target, '0711'),
    steps.loop(file, raw, ROOT_FS, ROOT_MOUNT_OPTIONS),
    steps.cloneIdmap(raw, target),
    ...(idmap.length === 0 ? [] : [steps.bind(target, target, ['nodev'])]),
  ];
}

/** Made at the first start; a larger size is followed, a smaller one refused. */
async function makeFile(parts: RuntimeParts, volume: string, file: string, sizeBytes: number): Promise<void> {
  const now = await rootFileSize(file);
  if (now === null) {
    const work = await mkdtemp(join(volume, '.disk-'));
    try {
      const contents = await mkdtemp(join(work, 'empty-'));
      const made = join(work, 'disk.img');
      await makeRootFile(made, sizeBytes, contents, parts.signal);
      await rename(made, file);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  } else if (sizeBytes > now) {
    await resizeDetached(file, sizeBytes, parts.signal);
  } else if (sizeBytes <= now - 4096) {
    throw new Fault('bad_request', `the disk has ${String(now)} bytes and cannot be made smaller`);
  }
}

/** Files of disks that are no more, and what a crash left of making one. */
async function removeUnused(
  parts: RuntimeParts,
  expanded: Expanded,
  devices: readonly (readonly [string, StringMap])[],
): Promise<void> {
  const volume = parts.pools.get(expanded.row.pool).volumePath(rootVolume(expanded));
  const used = new Set(
    devices.filter(([, c]) => c['source'] === EMPTY_SOURCE).map(([name]) => fileName(name)),
  );
  for (const name of await readdir(volume)) {
    const isOurs = (name.startsWith('disk-') && name.endsWith('.img')) || name.startsWith('.disk-');
    if (isOurs && !used.has(name)) await rm(join(volume, name), { recursive: true, force: true });
  }
}

function fileName(device: string): string {
  return `disk-${device}.img`;
}

async function otherRootSteps(
  parts: RuntimeParts,
  expanded: Expanded,
  idmap: readonly IdExtent[],
  { device, other, target }: { readonly device: string; readonly other: string; readonly target: string },
): Promise<Step[]> {
  const row = parts.store.byName(expanded.row.project, other);
  const lent = parts.store.expand(row);
  if (row.id === expanded.row.id || Object.values(lent.devices).some((one) => rootOf(one) !== null)) {
    throw new Fault('bad_request', `device "${device}": "${other}" is made of other roots itself`);
  }
  refuseUnlessStopped(parts, device, row);
  await parts.lanes.run(row.id, async () => {
    // Meanwhile it may have been started; a look into its files would be a second mount of them.
    refuseUnlessStopped(parts, device, parts.store.byId(row.id));
    await parts.closeFiles(row.id);
  });
  const pool = parts.pools.get(row.pool);
  const volume = rootVolume(lent);
  return [
    ...(await pool.rootSteps(volume, idmap)),
    steps.mkdir(target, '0711'),
    steps.bind(pool.rootPath(volume), target, idmap.length === 0 ? [] : ['nodev']),
  ];
}

function refuseUnlessStopped(parts: Pick<RuntimeParts, 'powers'>, device: string, row: InstanceRow): void {
  if (row.phase === 'ready' && parts.powers.status(row.id) === 'Stopped') return;
  throw new Fault('conflict', `device "${device}": instance "${row.name}" must be stopped to lend its root`);
}
