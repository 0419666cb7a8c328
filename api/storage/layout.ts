/**
 * The directories of one pool, and the moves that keep it whole through a crash.
 *
 *   <pool>/0711
 *     containers/<name>/      0700: a volume; see the driver for what is in it
 *     containers-snapshots/, custom/, custom-snapshots/
 *     images/<fingerprint>/   0700: rootfs/ metadata.yaml templates/
 *     .mounts/                mount points, used in private mount namespaces only
 *     .new/                   being built; lands by rename
 *     .replaced/              stepped aside for a new version; put back when that never landed
 *     .trash/                 being removed
 *
 * Trees on disk are not shifted: a setuid program of a guest belongs to the
 * host's root here. So everything below containers/ and images/ is 0700 and
 * guests reach their root by way of .mounts/ alone.
 */
import { randomBytes } from 'node:crypto';
import { access, chmod, mkdir, readdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { containerName, splitContainerName } from '../paths.ts';
import { runTool } from '../tools.ts';
import type { RootVolume } from './types.ts';

const PUBLIC_DIRS = ['containers', 'containers-snapshots', 'custom', 'custom-snapshots', 'images', '.mounts'];
const PRIVATE_DIRS = ['.new', '.replaced', '.trash'];
const MOUNT_POINTS = ['root', 'data', 'lower', 'layer', 'copy'] as const;

/** How trees come and go: plain directories, or a driver's own objects. */
export interface Trees {
  /** Makes an empty tree at a path that does not exist. */
  make(path: string): Promise<void>;
  /** Makes a tree movable that is not. */
  loosen(path: string): Promise<void>;
  /** Removes a tree and all below it. */
  destroy(path: string): Promise<void>;
}

export const plainTrees: Trees = {
  make: async (path) => {
    await makeDir(path, 0o700);
  },
  loosen: () => Promise.resolve(),
  destroy: removePlain,
};

async function removePlain(path: string): Promise<void> {
  const args = ['-rf', '--one-file-system', '--', path];
  try {
    await runTool('rm', args, { timeoutMs: 0 });
  } catch {
    // Privileged guests can make files immutable.
    await runTool('chattr', ['-R', '-f', '-i', '-a', '--', path], { timeoutMs: 0, okCodes: [0, 1] });
    await runTool('rm', args, { timeoutMs: 0 });
  }
}

/** mkdir whose mode does not depend on the umask. Harmless when it is there. */
export async function makeDir(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true });
  await chmod(path, mode);
}

export async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

export class Layout {
  readonly root: string;
  readonly trees: Trees;
  readonly mounts: Readonly<Record<(typeof MOUNT_POINTS)[number], string>>;

  constructor(root: string, trees: Trees = plainTrees) {
    this.root = root;
    this.trees = trees;
    const mounts = join(root, '.mounts');
    this.mounts = {
      root: join(mounts, 'root'),
      data: join(mounts, 'data'),
      lower: join(mounts, 'lower'),
      layer: join(mounts, 'layer'),
      copy: join(mounts, 'copy'),
    };
  }

  /** Makes what is missing and finishes or undoes what a crash left. */
  async open(): Promise<void> {
    await makeDir(this.root, 0o711);
    for (const name of PUBLIC_DIRS) await makeDir(join(this.root, name), 0o711);
    for (const name of PRIVATE_DIRS) await makeDir(join(this.root, name), 0o700);
    for (const path of Object.values(this.mounts)) await makeDir(path, 0o711);
    for (const name of await readdir(join(this.root, '.replaced'))) {
      const old = join(this.root, '.replaced', name);
      const now = join(this.root, 'containers', name);
      if (await isThere(now)) await this.discard(old);
      else await rename(old, now);
    }
  }

  /** What was being built or removed when the daemon died. Call it before anything is built. */
  async leftovers(): Promise<string[]> {
    const found: string[] = [];
    for (const dir of ['.new', '.trash']) {
      for (const name of await readdir(join(this.root, dir))) found.push(join(this.root, dir, name));
    }
    return found;
  }

  async destroyAll(paths: readonly string[]): Promise<void> {
    for (const path of paths) await this.trees.destroy(path);
  }

  volume(volume: RootVolume): string {
    return join(this.root, 'containers', containerName(volume.project, volume.instance));
  }

  image(fingerprint: string): string {
    return join(this.root, 'images', fingerprint);
  }

  async volumes(): Promise<RootVolume[]> {
    const names = await readdir(join(this.root, 'containers'));
    return names.map(splitContainerName).map(({ project, name }) => ({ project, instance: name }));
  }

  async images(): Promise<string[]> {
    const names = await readdir(join(this.root, 'images'));
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  /** A path in `.new/` that nobody uses; nothing is made there. */
  staging(name: string): string {
    return join(this.root, '.new', unique(name));
  }

  /** Puts a finished tree where it belongs. What is there goes to the trash. */
  async land(staged: string, target: string): Promise<void> {
    if (await isThere(target)) await this.discard(target);
    await rename(staged, target);
  }

  /** As land(), for a volume whose old version must survive a crash in between. */
  async replace(staged: string, volumePath: string): Promise<void> {
    const aside = join(this.root, '.replaced', basename(volumePath));
    await rename(volumePath, aside);
    faultPoint('resize.volume-aside');
    await rename(staged, volumePath);
    faultPoint('resize.volume-replaced');
    await this.discard(aside);
  }

  /** Removes a tree. It is out of sight at once, and gone for good after a crash too. Idempotent. */
  async discard(path: string): Promise<void> {
    const trash = join(this.root, '.trash', unique(basename(path)));
    try {
      await this.trees.loosen(path);
      await rename(path, trash);
    } catch (err) {
      if (isMissing(err)) return;
      throw new Fault('internal', `remove ${path}`, { cause: err });
    }
    faultPoint('delete.tree-in-trash');
    await this.trees.destroy(trash);
    faultPoint('delete.tree-destroyed');
  }
}

export function isMissing(err: unknown): boolean {
  return err instanceof Error && 'code' in err && err.code === 'ENOENT';
}

function unique(name: string): string {
  return `${name.slice(0, 180)}.${randomBytes(6).toString('hex')}`;
}
