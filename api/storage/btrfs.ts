/**
 * Volumes as btrfs subvolumes: an instance is a snapshot of its image, a size
 * is the limit of its qgroup.
 *
 *   images/<fingerprint>/       subvolume
 *   containers/<name>/data/     subvolume, holds rootfs/
 *   containers/<name>/{metadata.yaml,templates/}
 */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../../process/fault.ts';
import type { IdExtent, Step } from '../../native/steps.ts';
import { unpackImage } from '../images/unpack.ts';
import { runTool } from '../tools.ts';
import { treeSteps } from './dir.ts';
import { ImageCache } from './image-cache.ts';
import { isThere, makeDir, plainTrees } from './layout.ts';
import type { Trees } from './layout.ts';
import { MIN_ROOT_BYTES } from './root-file.ts';
import type { RootUse } from './root-file.ts';
import type { CreateVolumeOptions, RootVolume, StoredImage, VolumeSource } from './types.ts';
import { VolumePool, imageOf, originalOf } from './volume-pool.ts';
import type { BuildOptions, DriverParts } from './volume-pool.ts';

/** statfs() type of btrfs. */
const BTRFS_MAGIC = 0x9123683e;
/** Readings of all qgroups are shared by callers this close together. */
const USAGE_TTL_MS = 2000;

export async function isBtrfs(path: string): Promise<boolean> {
  return (await statfs(path)).type === BTRFS_MAGIC;
}

async function btrfs(args: readonly string[], signal?: AbortSignal): Promise<string> {
  const options = { timeoutMs: 0, ...(signal === undefined ? {} : { signal }) };
  return (await runTool('btrfs', args, options)).stdout;
}

async function subvolumeId(path: string): Promise<number | null> {
  try {
    const id = Number((await btrfs(['inspect-internal', 'rootid', path])).trim());
    return Number.isSafeInteger(id) ? id : null;
  } catch {
    return null;
  }
}

async function isSubvolume(path: string): Promise<boolean> {
  return (await runTool('btrfs', ['subvolume', 'show', path], { okCodes: [0, 1] })).code === 0;
}

/** Removes a subvolume, and those a guest made inside it. */
async function destroySubvolume(path: string, mount: string): Promise<void> {
  const id = await subvolumeId(path);
  // Both are told from the top of the file system, which may lie above the pool.
  const own = (await btrfs(['subvolume', 'show', path])).split('\n', 1)[0] ?? '';
  for (const line of (await btrfs(['subvolume', 'list', '-o', path])).split('\n')) {
    const inner = /\bpath (.+)$/.exec(line)?.[1];
    if (inner?.startsWith(`${own}/`) === true)
      await destroySubvolume(join(path, inner.slice(own.length)), mount);
  }
  await setWritable(path);
  await btrfs(['subvolume', 'delete', path]);
  // Left behind it would be counted for ever; a kernel that has done it already says so.
  if (id !== null) {
    await runTool('btrfs', ['qgroup', 'destroy', `0/${String(id)}`, mount], { okCodes: [0, 1] });
  }
}

/** A read-only subvolume can be neither moved nor removed. Harmless for anything else. */
async function setWritable(path: string): Promise<void> {
  await runTool('btrfs', ['property', 'set', '-ts', path, 'ro', 'false'], { okCodes: [0, 1] });
}

/** Trees of a pool on btrfs: a staged image is a subvolume, a volume is a directory with one in it. */
export function btrfsTrees(mount: string): Trees {
  return {
    make: async (path) => {
      await btrfs(['subvolume', 'create', path]);
      await makeDir(path, 0o700);
    },
    loosen: setWritable,
    destroy: async (path) => {
      for (const candidate of [join(path, 'data'), path]) {
        if ((await isThere(candidate)) && (await isSubvolume(candidate)))
          await destroySubvolume(candidate, mount);
      }
      await plainTrees.destroy(path);
    },
  };
}

interface Reading {
  readonly at: number;
  readonly bySubvolume: ReadonlyMap<number, { readonly exclusive: number; readonly limit: number }>;
}

export class BtrfsPool extends VolumePool {
  readonly driver = 'btrfs';
  private readonly cache: ImageCache;
  private readonly ids = new Map<string, number>();
  private reading: Promise<Reading> | null = null;

  constructor(parts: DriverParts) {
    super(parts);
    this.cache = new ImageCache({
      layout: parts.layout,
      log: parts.log,
      unpack: (image, tree, signal) => unpackImage(parts.native, image, tree, signal),
      finish: async (tree) => {
        await btrfs(['property', 'set', '-ts', tree, 'ro', 'true']);
      },
      // A snapshot lives on without its origin.
      isUsed: () => false,
      stop: parts.stop,
    });
  }

  open(): Promise<void> {
    return this.cache.open();
  }

  async rootSteps(volume: RootVolume, idmap: readonly IdExtent[]): Promise<Step[]> {
    this.assertMap(idmap);
    return Promise.resolve(treeSteps(join(this.data(volume), 'rootfs'), this.layout.mounts.root, idmap));
  }

  async resize(volume: RootVolume, sizeBytes: number | null): Promise<void> {
    if (sizeBytes !== null) {
      const use = await this.referenced(this.data(volume));
      if (use > sizeBytes) {
        throw new Fault(
          'bad_request',
          `the root disk cannot be made ${String(sizeBytes)} bytes: it holds ${String(use)}`,
        );
      }
    }
    await limit(this.data(volume), sizeBytes);
    this.reading = null;
  }

  async rootUse(volume: RootVolume, _initPid: number): Promise<RootUse | null> {
    const path = this.data(volume);
    const id = this.ids.get(path) ?? (await subvolumeId(path));
    if (id === null) return null;
    this.ids.set(path, id);
    const found = (await this.readUsage()).bySubvolume.get(id);
    return found === undefined ? null : { used: found.exclusive, total: found.limit };
  }

  override async remove(volume: RootVolume): Promise<void> {
    await super.remove(volume);
    this.ids.delete(this.data(volume));
  }

  override async rename(from: RootVolume, to: RootVolume): Promise<void> {
    await super.rename(from, to);
    this.ids.delete(this.data(from));
  }

  async prepareImage(image: StoredImage, options: CreateVolumeOptions): Promise<void> {
    options.onProgress?.('Unpack');
    (await this.cache.hold(image, options.signal)).release();
  }

  forgetImage(fingerprint: string): Promise<void> {
    return this.cache.forget(fingerprint);
  }

  protected async build(staged: string, source: VolumeSource, options: BuildOptions): Promise<void> {
    const data = join(staged, 'data');
    switch (source.kind) {
      case 'image': {
        const held = await this.cache.hold(imageOf(source), options.signal);
        try {
          await btrfs(['subvolume', 'snapshot', held.path, data], options.signal);
          await this.describe(held.path, staged);
        } finally {
          held.release();
        }
        break;
      }
      case 'empty':
        await btrfs(['subvolume', 'create', data], options.signal);
        await makeDir(data, 0o700);
        await makeDir(join(data, 'rootfs'), 0o755);
        await makeDir(join(staged, 'templates'), 0o700);
        break;
      case 'copy': {
        const original = originalOf(source);
        if (!(await this.exists(original))) {
          throw new Fault(
            'not_found',
            `copy the volume of ${original.instance}: it has none in pool ${this.name}`,
          );
        }
        await btrfs(['subvolume', 'snapshot', this.data(original), data], options.signal);
        await this.describe(this.volumePath(original), staged);
        break;
      }
    }
    if (options.sizeBytes !== null) await this.firstLimit(data, options.sizeBytes);
  }

  private async firstLimit(data: string, sizeBytes: number): Promise<void> {
    if (sizeBytes < MIN_ROOT_BYTES || sizeBytes < (await this.referenced(data))) {
      throw new Fault(
        'bad_request',
        `the contents do not fit into a root disk of ${String(sizeBytes)} bytes`,
      );
    }
    await limit(data, sizeBytes);
  }

  private data(volume: RootVolume): string {
    return join(this.volumePath(volume), 'data');
  }

  /** Bytes a subvolume refers to, shared ones too: what its limit is compared with. */
  private async referenced(path: string): Promise<number> {
    const id = await subvolumeId(path);
    const output = await btrfs(['qgroup', 'show', '--raw', '--sync', path]);
    const fields = output.split('\n').find((line) => line.trim().startsWith(`0/${String(id)} `));
    return Number(fields?.trim().split(/\s+/)[1] ?? '0');
  }

  private readUsage(): Promise<Reading> {
    const now = performance.now();
    const fresh = this.reading?.then((reading) =>
      now - reading.at < USAGE_TTL_MS ? reading : this.readAgain(),
    );
    this.reading = fresh ?? this.readAgain();
    return this.reading;
  }

  private async readAgain(): Promise<Reading> {
    const bySubvolume = new Map<number, { exclusive: number; limit: number }>();
    try {
      const output = await btrfs(['qgroup', 'show', '--raw', '-r', this.layout.root]);
      for (const line of output.split('\n')) {
        const [id, , exclusive, max] = line.trim().split(/\s+/);
        const match = /^0\/(\d+)$/.exec(id ?? '');
        if (match === null) continue;
        bySubvolume.set(Number(match[1]), { exclusive: Number(exclusive), limit: Number(max) || -1 });
      }
    } catch (err) {
      if (!isFault(err, 'tool_failed')) throw err;
      this.parts.log.warn('qgroups cannot be read', { pool: this.name, error: err });
    }
    return { at: performance.now(), bySubvolume };
  }
}

async function limit(path: string, sizeBytes: number | null): Promise<void> {
  await btrfs(['qgroup', 'limit', sizeBytes === null ? 'none' : String(sizeBytes), path]);
}
