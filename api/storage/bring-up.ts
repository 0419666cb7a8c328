/** From a pool's row to a pool that works, and the making and removing of what it stands on. */
import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { Log } from '../../process/log.ts';
import { steps } from '../../native/steps.ts';
import type { Native } from '../../native/types.ts';
import type { PoolRow, StringMap } from '../db/rows.ts';
import { parseBytes } from '../instances/values.ts';
import type { Paths } from '../paths.ts';
import type { Warnings } from '../warnings.ts';
import { BtrfsPool, btrfsTrees } from './btrfs.ts';
import {
  assertBtrfs,
  enableQuota,
  growLoopFile,
  makeLoopFile,
  makeOnDevice,
  mountBtrfs,
  removeLoopFile,
  unmount,
} from './btrfs-source.ts';
import { DirPool } from './dir.ts';
import { Layout, isMissing, isThere, makeDir } from './layout.ts';
import { OverlayPool } from './overlay.ts';
import { driverName } from './pool-config.ts';
import type { RootVolume, StoredImage } from './types.ts';
import type { DriverParts, VolumePool } from './volume-pool.ts';

export interface BringUpParts {
  readonly paths: Paths;
  readonly native: Native;
  readonly log: Log;
  readonly warnings: Warnings;
  /** 0 when the instance is stopped or unknown. */
  readonly initPid: (volume: RootVolume) => number;
  readonly stop: AbortSignal;
  /** Configuration of a pool as it is now. */
  readonly configOf: (pool: string) => StringMap;
  /** An image of this server; null when there is none. */
  readonly knownImage: (fingerprint: string) => StoredImage | null;
}

const OURS = ['containers', 'containers-snapshots', 'custom', 'custom-snapshots', 'images'];
const OURS_HIDDEN = ['.mounts', '.new', '.replaced', '.trash'];

function ownRoot(paths: Paths, name: string): string {
  return join(paths.pools, name);
}

function loopFile(paths: Paths, name: string): string {
  return join(paths.state, 'disks', `${name}.img`);
}

/** Something to mount, rather than a directory to use. */
async function isMountable(paths: Paths, row: PoolRow): Promise<boolean> {
  const source = row.config['source'] ?? '';
  if (row.driver !== 'btrfs') return false;
  return source === loopFile(paths, row.name) || (await isBlockDevice(source));
}

async function isBlockDevice(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isBlockDevice() === true;
}

async function rootOf(paths: Paths, row: PoolRow): Promise<string> {
  const source = row.config['source'] ?? '';
  return source === '' || (await isMountable(paths, row)) ? ownRoot(paths, row.name) : source;
}

/**
 * Fault bad_request or conflict when the source cannot become this pool. It is
 * asked before the row is written: removeSource() may then take the source for ours.
 */
export async function checkSource(paths: Paths, row: PoolRow): Promise<void> {
  const source = row.config['source'] ?? '';
  if (source === '') {
    const taken = [loopFile(paths, row.name), ownRoot(paths, row.name)];
    for (const path of row.driver === 'btrfs' ? taken : taken.slice(1)) {
      if (await isThere(path))
        throw new Fault('conflict', `${path} exists already; remove it or choose another name`);
    }
    return;
  }
  if (row.driver === 'btrfs') {
    if ((row.config['size'] ?? '') !== '') {
      throw new Fault('bad_request', 'a pool with a source of its own takes no size');
    }
    if (await isBlockDevice(source)) return;
  }
  await assertEmptyDirectory(source);
  if (row.driver === 'btrfs') await assertBtrfs(source);
}

/**
 * Makes what a new pool stands on. Returns its configuration with what was
 * chosen filled in. A failure may leave something; removeSource() takes it away.
 */
export async function makeSource(paths: Paths, row: PoolRow): Promise<StringMap> {
  const source = row.config['source'] ?? '';
  if (row.driver === 'btrfs') return makeBtrfsSource(paths, row, source);
  if (source === '') {
    await makeDir(ownRoot(paths, row.name), 0o711);
    return { ...row.config, source: ownRoot(paths, row.name) };
  }
  return { ...row.config, 'volatile.initial_source': source };
}

async function makeBtrfsSource(paths: Paths, row: PoolRow, source: string): Promise<StringMap> {
  const sizeText = row.config['size'] ?? '';
  if (source === '') {
    const file = loopFile(paths, row.name);
    const bytes = await makeLoopFile(file, sizeText === '' ? null : parseBytes(sizeText), row.name);
    return { ...row.config, source: file, size: sizeText === '' ? `${String(bytes)}B` : sizeText };
  }
  if (await isBlockDevice(source)) await makeOnDevice(source, row.name);
  return { ...row.config, 'volatile.initial_source': source };
}

async function assertEmptyDirectory(path: string): Promise<void> {
  const names = await readdir(path).catch((err: unknown) => {
    throw new Fault('bad_request', `source ${path} is no directory that can be read`, { cause: err });
  });
  if (names.some((name) => name !== 'lost+found')) {
    throw new Fault('bad_request', `source ${path} is not empty`);
  }
}

/** Removes everything of a pool, also of one that was only half made. Idempotent. */
export async function removeSource(paths: Paths, row: PoolRow): Promise<void> {
  const own = ownRoot(paths, row.name);
  const root = await rootOf(paths, row);
  if (row.driver === 'btrfs') {
    await removeBtrfsTrees(root);
    await unmount(own);
    faultPoint('pool-delete.unmounted');
    await removeLoopFile(loopFile(paths, row.name));
  }
  for (const name of [...OURS, ...OURS_HIDDEN]) await rm(join(root, name), { recursive: true, force: true });
  await rmdir(own).catch((err: unknown) => {
    if (!isMissing(err)) throw err;
  });
}

async function removeBtrfsTrees(root: string): Promise<void> {
  const trees = btrfsTrees(root);
  for (const dir of [...OURS, ...OURS_HIDDEN]) {
    const names = await readdir(join(root, dir)).catch(() => []);
    for (const name of names) await trees.destroy(join(root, dir, name));
  }
}

/** Opens a pool that exists. Faults say why it cannot be used. */
export async function bringUp(parts: BringUpParts, row: PoolRow): Promise<VolumePool> {
  const { paths } = parts;
  const driver = driverName(row.driver);
  const root = await rootOf(paths, row);
  if (await isMountable(paths, row)) {
    await mountBtrfs(row.config['source'] ?? '', root, row.config['btrfs.mount_options'] ?? '');
  }
  if (!(await isThere(root))) throw new Fault('unavailable', `pool ${row.name}: ${root} is missing`);
  if (driver === 'btrfs') await enableQuota(root);
  const layout = new Layout(root, ...(driver === 'btrfs' ? [btrfsTrees(root)] : []));
  await layout.open();
  const leftovers = await layout.leftovers();
  layout.destroyAll(leftovers).catch((err: unknown) => {
    parts.log.warn('leftovers of a storage pool not removed', { pool: row.name, error: err });
  });
  const driverParts: DriverParts = {
    name: row.name,
    layout,
    native: parts.native,
    log: parts.log.with({ pool: row.name }),
    config: () => parts.configOf(row.name),
    initPid: parts.initPid,
    knownImage: parts.knownImage,
    hasIdmappedMounts: await checkIdmap(parts, row.name, root),
    stop: parts.stop,
  };
  return openDriver(driver, driverParts);
}

async function openDriver(driver: string, parts: DriverParts): Promise<VolumePool> {
  if (driver === 'btrfs') {
    const pool = new BtrfsPool(parts);
    await pool.open();
    return pool;
  }
  if (driver === 'dir') return new DirPool(parts);
  const pool = new OverlayPool(parts);
  await pool.open();
  await tryOverlay(parts);
  return pool;
}

/** Some file systems cannot hold the upper layer of an overlay, another overlay for one. */
async function tryOverlay(parts: DriverParts): Promise<void> {
  const { layout } = parts;
  const trial = layout.staging('trial');
  const [lower, upper, work] = [join(trial, 'lower'), join(trial, 'upper'), join(trial, 'work')];
  try {
    for (const path of [lower, upper, work]) await mkdir(path, { recursive: true });
    await parts.native.run([
      steps.privateMounts(),
      steps.overlay([lower], upper, work, layout.mounts.root, true),
    ]);
  } catch (err) {
    throw new Fault(
      'unavailable',
      `pool ${parts.name}: the file system of ${layout.root} cannot hold overlays; use the driver dir, or another place`,
      { cause: err },
    );
  } finally {
    await layout.discard(trial);
  }
}

async function checkIdmap(parts: BringUpParts, pool: string, root: string): Promise<boolean> {
  const works = await parts.native.idmappedMountsWork(root);
  const url = `/1.0/storage-pools/${pool}`;
  if (works) {
    await parts.warnings.resolve('Idmapped mounts not available', url);
  } else {
    const message = `the file system of ${root} has no idmapped mounts: only privileged containers can run from it`;
    await parts.warnings.raise({
      type: 'Idmapped mounts not available',
      severity: 'high',
      message,
      entityUrl: url,
    });
  }
  return works;
}

/** A change of `size` that was already found to be larger. */
export async function growSource(paths: Paths, row: PoolRow, sizeBytes: number): Promise<void> {
  const file = loopFile(paths, row.name);
  if (row.config['source'] !== file)
    throw new Fault('bad_request', 'only a pool in a loop file can be made larger');
  await growLoopFile(file, ownRoot(paths, row.name), sizeBytes);
}

/** Takes down what bringUp() mounted on the host; for a clean end. */
export async function takeDown(paths: Paths, row: PoolRow): Promise<void> {
  if (await isMountable(paths, row)) await unmount(ownRoot(paths, row.name));
}
