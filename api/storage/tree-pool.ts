/**
 * Drivers whose volumes are plain trees on any file system: `overlay` and `dir`.
 *
 *   containers/<name>/
 *     metadata.yaml, templates/
 *     data/        what the guest writes: upper/ and work/, or rootfs/
 *     root.img     present when the volume has a size: data/ is inside it then,
 *                  and data/ itself an empty directory
 *     base         overlay: link to the unpacked image below
 *     disk-X.img   disk X of the instance's own, which is not part of the root
 */
import { chmod, chown, link, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import { runTool } from '../tools.ts';
import { makeDir } from './layout.ts';
import {
  ROOT_FS,
  ROOT_MOUNT_OPTIONS,
  copyRootFile,
  detachedUse,
  growAttached,
  makeRootFile,
  mountedUse,
  resizeDetached,
  rootFileSize,
} from './root-file.ts';
import type { RootUse } from './root-file.ts';
import { asFull, roomOn } from './space.ts';
import type { RootVolume, StoredImage, VolumeSource } from './types.ts';
import { VolumePool, imageOf, monitorOf, originalOf } from './volume-pool.ts';
import type { BuildOptions } from './volume-pool.ts';

/** Owner and mode of the guest's `/`. */
export interface RootAttributes {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

export const DEFAULT_ROOT: RootAttributes = { uid: 0, gid: 0, mode: 0o755 };

export abstract class TreePool extends VolumePool {
  /** Files that are known not to be there: a list with states asks for hundreds. */
  private readonly missingFiles = new Set<string>();
  private landings = 0;
  /** Directory in data/ that holds the guest's files. */
  protected abstract readonly tree: 'upper' | 'rootfs';
  /** Further directories in data/, empty at first. */
  protected abstract readonly beside: readonly string[];
  /** Makes a volume that shows the image's root. */
  protected abstract buildFromImage(staged: string, image: StoredImage, options: BuildOptions): Promise<void>;
  /** Notes that a volume stands on nothing. */
  protected abstract noBase(staged: string): Promise<void>;
  /** Takes over from another volume what is not in data/. */
  protected abstract copyBase(from: string, staged: string): Promise<void>;

  override async remove(volume: RootVolume): Promise<void> {
    await super.remove(volume);
    this.forgetFile(volume);
  }

  async resize(volume: RootVolume, sizeBytes: number | null): Promise<void> {
    const path = this.volumePath(volume);
    const file = join(path, 'root.img');
    const now = await rootFileSize(file);
    if (now === null && sizeBytes === null) return;
    // A volume that lives in a file stays there: without a size it may fill the pool.
    const wanted = sizeBytes ?? Math.floor((await roomOn(path)).totalBytes);
    const initPid = this.parts.initPid(volume);
    if (initPid > 0) {
      await this.resizeRunning(file, now, wanted, initPid);
    } else if (now !== null && wanted >= now) {
      await resizeDetached(file, wanted);
    } else {
      await this.rebuild(volume, wanted);
    }
  }

  async rootUse(volume: RootVolume, initPid: number): Promise<RootUse | null> {
    const file = join(this.volumePath(volume), 'root.img');
    if (this.missingFiles.has(file)) return null;
    const { landings } = this;
    if ((await rootFileSize(file)) === null) {
      // Not when a volume landed meanwhile: it may be this one, with a file.
      if (landings === this.landings) this.missingFiles.add(file);
      return null;
    }
    return initPid > 0 ? mountedUse(initPid) : detachedUse(file);
  }

  override async rename(from: RootVolume, to: RootVolume): Promise<void> {
    await super.rename(from, to);
    this.forgetFile(from);
    this.forgetFile(to);
  }

  protected override landed(volume: RootVolume, _staged: string): void {
    this.forgetFile(volume);
  }

  private forgetFile(volume: RootVolume): void {
    this.landings += 1;
    this.missingFiles.delete(join(this.volumePath(volume), 'root.img'));
  }

  /** An empty data/, in a file when there is a size. */
  protected async build(staged: string, source: VolumeSource, options: BuildOptions): Promise<void> {
    switch (source.kind) {
      case 'image':
        await this.buildFromImage(staged, imageOf(source), options);
        break;
      case 'empty':
        await this.emptyData(staged, DEFAULT_ROOT, options);
        await makeDir(join(staged, 'templates'), 0o700);
        await this.noBase(staged);
        break;
      case 'copy':
        await this.copyVolume(originalOf(source), staged, options);
        break;
    }
  }

  protected async emptyData(staged: string, root: RootAttributes, options: BuildOptions): Promise<void> {
    await this.makeData(staged, options, async (data) => {
      await makeRoot(join(data, this.tree), root);
    });
  }

  /** data/ as `fill` makes it. With a size the contents move into a file. */
  protected async makeData(
    staged: string,
    options: BuildOptions,
    fill: (data: string) => Promise<void>,
  ): Promise<void> {
    const data = join(staged, 'data');
    await makeDir(data, 0o700);
    await fill(data);
    for (const name of this.beside) await mkdir(join(data, name), { mode: 0o700 });
    if (options.sizeBytes === null) return;
    const contents = join(staged, 'contents');
    await rename(data, contents);
    await makeRootFile(join(staged, 'root.img'), options.sizeBytes, contents, options.signal);
    faultPoint('resize.file-made');
    await rm(contents, { recursive: true, force: true });
    await makeDir(data, 0o700);
  }

  /** A whole copy of another volume of this pool; running ones are copied as they are at the moment. */
  protected async copyVolume(original: RootVolume, staged: string, options: BuildOptions): Promise<void> {
    const from = this.volumePath(original);
    if (!(await this.exists(original))) {
      throw new Fault(
        'not_found',
        `copy the volume of ${original.instance}: it has none in pool ${this.name}`,
      );
    }
    await this.describe(from, staged);
    await this.copyBase(from, staged);
    const file = join(from, 'root.img');
    const size = await rootFileSize(file);
    const initPid = this.parts.initPid(original);
    try {
      if (size !== null && initPid === 0) {
        await makeDir(join(staged, 'data'), 0o700);
        await copyRootFile(file, join(staged, 'root.img'), options.sizeBytes, options.signal);
        return;
      }
      const data = size === null ? join(from, 'data') : await this.mountedData(initPid);
      await this.makeData(staged, options, (to) =>
        copyTree(join(data, this.tree), join(to, this.tree), options.signal),
      );
    } catch (err) {
      throw asFull(err, staged);
    }
  }

  /** Steps before all others: the file's contents appear at the second path. */
  protected async dataSteps(volume: RootVolume): Promise<{ readonly steps: Step[]; readonly data: string }> {
    const path = this.volumePath(volume);
    const file = join(path, 'root.img');
    if ((await rootFileSize(file)) === null) return { steps: [], data: join(path, 'data') };
    const data = this.layout.mounts.data;
    return { steps: [steps.loop(file, data, ROOT_FS, ROOT_MOUNT_OPTIONS)], data };
  }

  /** Where the monitor of a running instance sees its data/. */
  private async mountedData(initPid: number): Promise<string> {
    return `/proc/${String(await monitorOf(initPid))}/root${this.layout.mounts.data}`;
  }

  private async resizeRunning(
    file: string,
    now: number | null,
    wanted: number,
    initPid: number,
  ): Promise<void> {
    if (now === null || wanted < now) {
      const what = now === null ? 'get a first size' : 'be made smaller';
      throw new Fault('bad_request', `the root disk cannot ${what} while the instance runs; stop it first`);
    }
    if (wanted > now) await growAttached(file, wanted, await monitorOf(initPid));
  }

  /** The volume once more, with another size, in place of itself. */
  private async rebuild(volume: RootVolume, sizeBytes: number): Promise<void> {
    const staged = this.layout.staging(volume.instance);
    try {
      await makeDir(staged, 0o700);
      await this.copyVolume(volume, staged, { sizeBytes, signal: this.parts.stop });
      await keepDisks(this.volumePath(volume), staged);
      faultPoint('resize.volume-rebuilt');
      await this.layout.replace(staged, this.volumePath(volume));
      this.landed(volume, staged);
    } catch (err) {
      await this.abandon(staged);
      throw err;
    }
  }
}

/** A second name for each: the volume they lie in goes, they stay. */
async function keepDisks(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (name.startsWith('disk-')) await link(join(from, name), join(to, name));
  }
}

export async function rootAttributes(path: string): Promise<RootAttributes> {
  const { uid, gid, mode } = await stat(path);
  return { uid, gid, mode: mode & 0o7777 };
}

async function makeRoot(path: string, root: RootAttributes): Promise<void> {
  await mkdir(path);
  if (root.uid !== 0 || root.gid !== 0) await chown(path, root.uid, root.gid);
  await chmod(path, root.mode);
}

/** A copy with owners, times, links, capabilities, whiteouts and overlay's marks. `to` does not exist yet. */
async function copyTree(from: string, to: string, signal: AbortSignal): Promise<void> {
  const args = ['-a', '--reflink=auto', '--sparse=auto', '--one-file-system', '-T', '--', from, to];
  await runTool('cp', args, { signal, timeoutMs: 0, endsWithUs: true });
}
