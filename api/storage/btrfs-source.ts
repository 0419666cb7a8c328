/** Where a btrfs pool lives: a loop file of our own, a block device, or a directory on a btrfs. */
import { mkdir, open, readFile, realpath, rm, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '../../process/fault.ts';
import { runTool } from '../tools.ts';
import { isBtrfs } from './btrfs.ts';
import { isThere, makeDir } from './layout.ts';
import { roomOn } from './space.ts';

const GIB = 2 ** 30;
/** Smallest file that mkfs.btrfs takes without complaint. */
const MIN_BYTES = 256 * 2 ** 20;

/** 20 % of the free space, but 5 to 30 GiB. */
export function defaultLoopBytes(freeBytes: number): number {
  return Math.min(Math.max(freeBytes / 5, 5 * GIB), 30 * GIB);
}

/** Makes the file system of a new pool. Returns the size of the loop file. */
export async function makeLoopFile(file: string, sizeBytes: number | null, label: string): Promise<number> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const wanted = sizeBytes ?? defaultLoopBytes((await roomOn(dirname(file))).freeBytes);
  const bytes = Math.floor(wanted / 4096) * 4096;
  if (bytes < MIN_BYTES) throw new Fault('bad_request', 'a btrfs pool needs a size of at least 256MiB');
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.truncate(bytes);
  } finally {
    await handle.close();
  }
  await runTool('mkfs.btrfs', ['--quiet', '--label', label.slice(0, 200), file], { timeoutMs: 0 });
  return bytes;
}

/** Refuses a device that has a file system already. */
export async function makeOnDevice(device: string, label: string): Promise<void> {
  await runTool('mkfs.btrfs', ['--quiet', '--label', label.slice(0, 200), device], { timeoutMs: 0 });
}

/** The device mounted on a path, and null when it is no mount point. */
export async function mountedOn(path: string): Promise<string | null> {
  const real = await realpath(path).catch(() => path);
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const fields = line.split(' ');
    const where = (fields[4] ?? '').replace(/\\([0-7]{3})/g, (_, code: string) =>
      String.fromCharCode(parseInt(code, 8)),
    );
    if (where === real) return fields[fields.indexOf('-') + 2] ?? '';
  }
  return null;
}

/** Mounts a loop file or device in the host's namespace, unless it is mounted already. */
export async function mountBtrfs(source: string, target: string, extraOptions: string): Promise<void> {
  await makeDir(target, 0o711);
  if ((await mountedOn(target)) !== null) return;
  if (!(await isThere(source))) {
    throw new Fault('unavailable', `mount the pool: its ${source} is missing`);
  }
  const loop = (await stat(source)).isFile() ? ['loop'] : [];
  const options = [...loop, 'user_subvol_rm_allowed', ...(extraOptions === '' ? [] : [extraOptions])].join(
    ',',
  );
  await runTool('mount', ['-t', 'btrfs', '-o', options, '--', source, target]);
}

export async function unmount(target: string): Promise<void> {
  if ((await mountedOn(target)) !== null) await runTool('umount', ['--', target]);
}

/** Sizes need qgroups. Harmless when they are on. */
export async function enableQuota(path: string): Promise<void> {
  await runTool('btrfs', ['quota', 'enable', path]);
}

/** Makes the loop file of a mounted pool larger. */
export async function growLoopFile(file: string, target: string, sizeBytes: number): Promise<void> {
  const device = await mountedOn(target);
  if (device === null) throw new Fault('unavailable', `grow the pool: ${target} is not mounted`);
  await truncate(file, Math.floor(sizeBytes / 4096) * 4096);
  await runTool('losetup', ['--set-capacity', device]);
  await runTool('btrfs', ['filesystem', 'resize', 'max', target]);
}

export async function removeLoopFile(file: string): Promise<void> {
  await rm(file, { force: true });
}

/** Fault bad_request for a directory that is not on a btrfs. */
export async function assertBtrfs(path: string): Promise<void> {
  if (!(await isBtrfs(path))) throw new Fault('bad_request', `${path} is not on a btrfs file system`);
}
