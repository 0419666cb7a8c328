/** What all drivers share: names and paths of volumes, listing, renaming, removing. */
import { copyFile, lstat, readFile, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { Log } from '../../process/log.ts';
import type { IdExtent, Step } from '../../native/steps.ts';
import type { Native } from '../../native/types.ts';
import type { StringMap } from '../db/rows.ts';
import { parseBytes } from '../instances/values.ts';
import { isThere, makeDir } from './layout.ts';
import type { Layout } from './layout.ts';
import type { RootUse } from './root-file.ts';
import { spaceOf } from './space.ts';
import type { CreateVolumeOptions, Pool, PoolSpace, RootVolume, StoredImage, VolumeSource } from './types.ts';

/** What a driver works with. */
export interface DriverParts {
  readonly name: string;
  readonly layout: Layout;
  readonly native: Native;
  readonly log: Log;
  /** The pool's configuration as it is now. */
  readonly config: () => StringMap;
  /** 0 when the instance is stopped or unknown. */
  readonly initPid: (volume: RootVolume) => number;
  /** False when the file system cannot show a tree with other owners; then only privileged guests work. */
  readonly hasIdmappedMounts: boolean;
  /** An image of this server; null when there is none. */
  readonly knownImage: (fingerprint: string) => StoredImage | null;
  /** Fires when the daemon stops. */
  readonly stop: AbortSignal;
}

export interface BuildOptions {
  readonly sizeBytes: number | null;
  readonly signal: AbortSignal;
}

export abstract class VolumePool implements Pool {
  readonly name: string;
  abstract readonly driver: string;
  protected readonly parts: DriverParts;
  protected readonly layout: Layout;

  constructor(parts: DriverParts) {
    this.name = parts.name;
    this.parts = parts;
    this.layout = parts.layout;
  }

  /** Fills an empty directory with a whole volume. */
  protected abstract build(staged: string, source: VolumeSource, options: BuildOptions): Promise<void>;
  abstract resize(volume: RootVolume, sizeBytes: number | null): Promise<void>;
  abstract rootSteps(volume: RootVolume, idmap: readonly IdExtent[]): Promise<Step[]>;
  abstract prepareImage(image: StoredImage, options: CreateVolumeOptions): Promise<void>;
  abstract forgetImage(fingerprint: string): Promise<void>;
  /** Use and size of the root disk; null when there is no size, or it cannot be told cheaply. */
  abstract rootUse(volume: RootVolume, initPid: number): Promise<RootUse | null>;

  async create(volume: RootVolume, source: VolumeSource, options: CreateVolumeOptions): Promise<void> {
    options.signal.throwIfAborted();
    this.assertStopped(volume, 'is running: its volume cannot be made anew');
    const staged = this.layout.staging(volume.instance);
    const sizeBytes = options.sizeBytes ?? this.defaultSize();
    try {
      await makeDir(staged, 0o700);
      faultPoint('create.volume-begun');
      await this.build(staged, source, { sizeBytes, signal: options.signal });
      faultPoint('create.volume-built');
      await this.layout.land(staged, this.volumePath(volume));
      faultPoint('create.volume-landed');
      this.landed(volume, staged);
    } catch (err) {
      await this.abandon(staged);
      throw err;
    }
  }

  async remove(volume: RootVolume): Promise<void> {
    this.assertStopped(volume, 'is running: its volume cannot be removed');
    await this.layout.discard(this.volumePath(volume));
  }

  async rename(from: RootVolume, to: RootVolume): Promise<void> {
    const target = this.volumePath(to);
    if (!(await this.exists(from)) && (await isThere(target))) return;
    if (await isThere(target)) {
      throw new Fault(
        'already_exists',
        `rename the volume of ${from.instance}: ${to.instance} has one already`,
      );
    }
    await rename(this.volumePath(from), target);
  }

  async usage(volume: RootVolume, initPid: number): Promise<number | null> {
    return (await this.rootUse(volume, initPid))?.used ?? null;
  }

  exists(volume: RootVolume): Promise<boolean> {
    return isThere(this.volumePath(volume));
  }

  list(): Promise<RootVolume[]> {
    return this.layout.volumes();
  }

  /** Fingerprints of the images that are kept unpacked. */
  images(): Promise<string[]> {
    return this.layout.images();
  }

  /** Fingerprints of images that volumes stand on and that are not unpacked. */
  missingImages(): Promise<string[]> {
    return Promise.resolve([]);
  }

  volumePath(volume: RootVolume): string {
    return this.layout.volume(volume);
  }

  /** The same for all: each instance has it in a mount namespace of its own. */
  rootPath(_volume: RootVolume): string {
    return this.layout.mounts.root;
  }

  resources(): Promise<PoolSpace> {
    return spaceOf(this.layout.root);
  }

  /** A volume is in place; for a driver that keeps notes in memory. */
  protected landed(_volume: RootVolume, _staged: string): void {
    // Nothing to note.
  }

  /** Removes what was being built. */
  protected async abandon(staged: string): Promise<void> {
    await this.layout.discard(staged);
  }

  protected assertStopped(volume: RootVolume, problem: string): void {
    if (this.parts.initPid(volume) > 0) throw new Fault('busy', `${volume.instance} ${problem}`);
  }

  /** Fault unavailable for an unprivileged guest on a file system where it cannot work. */
  protected assertMap(idmap: readonly IdExtent[]): void {
    if (idmap.length === 0 || this.parts.hasIdmappedMounts) return;
    throw new Fault(
      'unavailable',
      `pool ${this.name} cannot hold unprivileged containers: the file system of ${this.layout.root} has no ` +
        `idmapped mounts (needs Linux 5.19 or newer, and ext4, xfs, btrfs or tmpfs from 6.3); ` +
        `use a pool elsewhere, or security.privileged`,
    );
  }

  protected defaultSize(): number | null {
    const text = this.parts.config()['volume.size'] ?? '';
    return text === '' ? null : parseBytes(text);
  }

  /** Puts metadata.yaml and templates/ of an image or another volume into a new one. */
  protected async describe(from: string, staged: string): Promise<void> {
    await copyPlain(from, staged, 'metadata.yaml');
    await makeDir(join(staged, 'templates'), 0o700);
    await copyPlain(from, staged, 'templates');
  }
}

/** A file, or a directory with what is in it. What is not there is left out. */
async function copyPlain(from: string, to: string, name: string): Promise<void> {
  const [source, target] = [join(from, name), join(to, name)];
  const kind = await lstat(source).catch(() => null);
  if (kind?.isFile() === true) await copyFile(source, target);
  if (kind?.isDirectory() !== true) return;
  await makeDir(target, 0o700);
  for (const child of await readdir(source)) await copyPlain(source, target, child);
}

/** An image or a Fault: what a source of this kind must have. */
export function imageOf(source: VolumeSource): StoredImage {
  if (source.image === undefined) throw new Error('a volume from an image needs one');
  return source.image;
}

export function originalOf(source: VolumeSource): RootVolume {
  if (source.copyOf === undefined) throw new Error('a copy of a volume needs one');
  return source.copyOf;
}

/** The process that keeps the instance's mount namespace: liblxc's monitor, the parent of init. */
export async function monitorOf(initPid: number): Promise<number> {
  const status = await readFile(`/proc/${String(initPid)}/status`, 'latin1');
  const parent = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1] ?? '0');
  if (parent <= 1) throw new Fault('conflict', `process ${String(initPid)} has no monitor any more`);
  return parent;
}
