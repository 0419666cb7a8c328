/**
 * The config drive of an instance: a small read-only folder that the guest
 * finds at /config-drive, where cloud-init looks for one.
 *
 * It is kept outside the instance's root, so that no copy or image of it takes
 * secrets along, and nothing of it is readable for others on the host. Every
 * start maps it to the ids of its guest; a change counts from the next one.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { unpackTar } from 'modern-tar';
import { Fault } from '../../process/fault.ts';
import type { Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import { containerName } from '../paths.ts';
import type { Paths } from '../paths.ts';
import type { MountEntry } from './lxc-config.ts';

export const MAX_DRIVE_BYTES = 16 * 2 ** 20;
const MAX_DRIVE_FILES = 1024;
const MOUNT_POINT = '/config-drive';

type Where = Pick<Paths, 'configDrives'>;
type Named = { readonly project: string; readonly name: string };

/** Path below the drive -> content. */
export type DriveFiles = ReadonlyMap<string, Uint8Array>;

export function driveDir(paths: Where, row: Named): string {
  return join(paths.configDrives, containerName(row.project, row.name));
}

/** Regular files of a tar archive. Fault bad_request for anything else in it but folders, and for paths that lead out. */
export async function filesOfTar(archive: Uint8Array): Promise<DriveFiles> {
  const files = new Map<string, Uint8Array>();
  for (const { header, data } of await entriesOf(archive)) {
    const path = header.name.replace(/^\.\//, '').replace(/\/+$/, '');
    if (header.type === 'directory') continue;
    if (header.type !== 'file' && header.type !== undefined) {
      throw new Fault('bad_request', `"${shown(path)}" is a ${header.type}; a config drive holds files only`);
    }
    const parts = path.split('/');
    if (path.includes('\0') || path.length > 1000 || parts.some((part) => ['', '.', '..'].includes(part))) {
      throw new Fault('bad_request', `"${shown(path)}" is no path of a file below the drive`);
    }
    if (files.has(path)) throw new Fault('bad_request', `"${shown(path)}" is twice in the archive`);
    files.set(path, data ?? new Uint8Array());
  }
  if (files.size === 0) throw new Fault('bad_request', 'the archive holds no file');
  if (files.size > MAX_DRIVE_FILES) {
    throw new Fault('bad_request', `a config drive has at most ${String(MAX_DRIVE_FILES)} files`);
  }
  return files;
}

async function entriesOf(archive: Uint8Array) {
  try {
    return await unpackTar(archive, { strict: true });
  } catch (cause) {
    throw new Fault('bad_request', 'the body is no tar archive', { cause });
  }
}

function shown(path: string): string {
  return path.slice(0, 100);
}

/** Puts these files in place of those that are there. Fault bad_request for a file that is also a folder. */
export async function writeDrive(paths: Where, row: Named, files: DriveFiles): Promise<void> {
  const place = driveDir(paths, row);
  // A name that no instance can have; what a crash leaves is swept up at the next start of the daemon.
  const draft = join(paths.configDrives, `.${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(draft, { recursive: true, mode: 0o500 });
    for (const [path, content] of files) {
      const file = join(draft, path);
      await mkdir(dirname(file), { recursive: true, mode: 0o500 });
      await writeFile(file, content, { mode: 0o400, flag: 'wx' });
    }
    await rm(place, { recursive: true, force: true });
    await rename(draft, place);
  } catch (err) {
    await rm(draft, { recursive: true, force: true });
    const code = err instanceof Error && 'code' in err ? err.code : '';
    if (code !== 'EEXIST' && code !== 'ENOTDIR' && code !== 'EISDIR') throw err;
    throw new Fault('bad_request', 'the archive has a file where another one needs a folder', { cause: err });
  }
}

/** Idempotent. */
export async function removeDrive(paths: Where, row: Named): Promise<void> {
  await rm(driveDir(paths, row), { recursive: true, force: true });
}

/** The instance has another name now. May be repeated. */
export async function renameDrive(paths: Where, from: Named, to: Named): Promise<void> {
  try {
    await rename(driveDir(paths, from), driveDir(paths, to));
  } catch (err) {
    if (!isMissing(err)) throw err; // it has none
  }
}

/** Bytes of each file. Fault not_found when there is no drive. */
export async function listDrive(paths: Where, row: Named): Promise<Record<string, number>> {
  const place = driveDir(paths, row);
  const sizes: Record<string, number> = {};
  try {
    for (const entry of await readdir(place, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const file = join(entry.parentPath, entry.name);
      sizes[file.slice(place.length + 1)] = (await stat(file)).size;
    }
  } catch (err) {
    if (!isMissing(err)) throw err;
    throw new Fault('not_found', `instance "${row.name}" has no config drive`);
  }
  return sizes;
}

/** What a start needs to show the drive; nothing when there is none. `dir` is where mount points are made. */
export async function planDrive(
  paths: Where,
  row: Named,
  dir: string,
): Promise<{ readonly steps: readonly Step[]; readonly mounts: readonly MountEntry[] }> {
  const source = driveDir(paths, row);
  try {
    await stat(source);
  } catch (err) {
    if (!isMissing(err)) throw err;
    return { steps: [], mounts: [] };
  }
  const target = join(dir, 'config-drive');
  return {
    steps: [
      steps.mkdir(target, '0711'),
      steps.cloneIdmap(source, target),
      // Made here it is not the guest's to lift: it would write to the host, past every limit.
      steps.bind(target, target, ['ro', 'nodev']),
    ],
    mounts: [
      {
        source: target,
        target: MOUNT_POINT,
        fstype: 'none',
        options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'],
        isDirectory: true,
      },
    ],
  };
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && 'code' in err && err.code === 'ENOENT';
}
