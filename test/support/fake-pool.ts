/** A storage pool that is folders, and a barrier that fakes wait at. */
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CreateVolumeOptions, Pool, RootVolume, VolumeSource } from '../../api/storage/types.ts';

/** Something a fake waits for when a test has closed it. */
export class Barrier {
  private waiting: (() => void)[] = [];
  private isClosed = false;

  close(): void {
    this.isClosed = true;
  }

  open(): void {
    this.isClosed = false;
    for (const go of this.waiting.splice(0)) go();
  }

  async pass(signal?: AbortSignal): Promise<void> {
    if (!this.isClosed) return;
    await new Promise<void>((resolve, reject) => {
      this.waiting.push(resolve);
      signal?.addEventListener('abort', () => {
        reject(signal.reason as Error); // an aborted piece of work throws the signal's reason
      });
    });
  }
}

/** Volumes are folders with metadata.yaml; sizes are kept in memory. */
export class FakePool implements Pool {
  readonly driver = 'fake';
  readonly sizes = new Map<string, number | null>();
  /** What create() was asked for, in order. */
  readonly created: { readonly volume: RootVolume; readonly source: VolumeSource }[] = [];
  readonly barrier = new Barrier();
  /** Thrown by the next calls of a verb. */
  readonly faults: { create?: Error; remove?: Error; rename?: Error; resize?: Error } = {};
  readonly name: string;
  private readonly root: string;

  constructor(name: string, root: string) {
    this.name = name;
    this.root = join(root, name);
  }

  async create(volume: RootVolume, source: VolumeSource, options: CreateVolumeOptions): Promise<void> {
    this.created.push({ volume, source });
    options.onProgress?.('Unpack: 50%');
    await this.barrier.pass(options.signal);
    if (this.faults.create !== undefined) throw this.faults.create;
    const path = this.volumePath(volume);
    await mkdir(join(path, 'templates'), { recursive: true });
    if (source.kind !== 'empty') await writeFile(join(path, 'metadata.yaml'), METADATA);
    this.sizes.set(path, options.sizeBytes);
  }

  async remove(volume: RootVolume): Promise<void> {
    if (this.faults.remove !== undefined) throw this.faults.remove;
    await rm(this.volumePath(volume), { recursive: true, force: true });
  }

  async rename(from: RootVolume, to: RootVolume): Promise<void> {
    if (this.faults.rename !== undefined) throw this.faults.rename;
    if (!(await this.exists(from)) && (await this.exists(to))) return;
    await rename(this.volumePath(from), this.volumePath(to));
  }

  resize(volume: RootVolume, sizeBytes: number | null): Promise<void> {
    if (this.faults.resize !== undefined) return Promise.reject(this.faults.resize);
    this.sizes.set(this.volumePath(volume), sizeBytes);
    return Promise.resolve();
  }

  usage(): Promise<number | null> {
    return Promise.resolve(null);
  }

  async exists(volume: RootVolume): Promise<boolean> {
    try {
      await stat(this.volumePath(volume));
      return true;
    } catch {
      return false;
    }
  }

  async list(): Promise<RootVolume[]> {
    const names = await readdir(this.root).catch(() => []);
    return names.map((instance) => ({ project: 'default', instance }));
  }

  volumePath(volume: RootVolume): string {
    return join(
      this.root,
      volume.project === 'default' ? volume.instance : `${volume.project}_${volume.instance}`,
    );
  }

  rootPath(volume: RootVolume): string {
    return join(this.volumePath(volume), 'rootfs');
  }

  rootSteps(): Promise<[]> {
    return Promise.resolve([]);
  }

  prepareImage(): Promise<void> {
    return Promise.resolve();
  }

  forgetImage(): Promise<void> {
    return Promise.resolve();
  }

  resources(): ReturnType<Pool['resources']> {
    return Promise.resolve({ space: { used: 0, total: 0 }, inodes: { used: 0, total: 0 } });
  }
}

export const METADATA = `architecture: x86_64
creation_date: 1700000000
properties: {os: tiny}
templates:
  /etc/hostname: {when: [create, copy, rename], template: hostname.tpl}
`;
