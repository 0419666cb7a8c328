/**
 * The unpacked images of one pool: each is unpacked once, whoever asks first,
 * and stays as long as its image is known or a volume stands on it.
 *
 * Beside a tree, in images/: `<fingerprint>.forgotten` when the image itself
 * is gone, and `<fingerprint>.unsynced` with the id of this boot until the tree
 * is known to be on disk. A tree with the mark of an earlier boot may have
 * lost its contents with the power, and is unpacked again.
 */
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../process/log.ts';
import { describeChain } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Lanes } from '../../process/lanes.ts';
import { isThere } from './layout.ts';
import type { Layout } from './layout.ts';
import { runTool } from '../tools.ts';
import type { StoredImage } from './types.ts';

export interface CacheParts {
  readonly layout: Layout;
  readonly log: Log;
  /** Fills an empty tree. */
  readonly unpack: (image: StoredImage, tree: string, signal: AbortSignal) => Promise<void>;
  /** Called when a tree is complete, before it is seen; for a driver's finishing touch. */
  readonly finish: (tree: string) => Promise<void>;
  /** True while a volume needs the unpacked image. */
  readonly isUsed: (fingerprint: string) => boolean;
  /** Fires when the daemon stops. */
  readonly stop: AbortSignal;
}

export interface HeldImage {
  /** Where rootfs/, metadata.yaml and templates/ are. */
  readonly path: string;
  /** Must be called once; until then the image is not removed. */
  release(): void;
}

export class ImageCache {
  private readonly parts: CacheParts;
  /** One lane per image: unpacking and removing never meet. */
  private readonly lanes = new Lanes();
  private readonly running = new Map<string, Promise<void>>();
  private readonly holds = new Map<string, number>();
  /** Known to be there and wanted, so that a launch asks the disk nothing. */
  private readonly ready = new Set<string>();

  constructor(parts: CacheParts) {
    this.parts = parts;
  }

  /** Removes trees that may be torn, and brings the others to disk. */
  async open(): Promise<void> {
    const directory = join(this.parts.layout.root, 'images');
    const boot = await bootId();
    for (const name of await readdir(directory)) {
      const [, fingerprint, mark] = /^([0-9a-f]{64})\.(forgotten|unsynced)$/.exec(name) ?? [];
      if (fingerprint === undefined) continue;
      if (!(await isThere(this.parts.layout.image(fingerprint)))) {
        // The tree went, or never came, and then the daemon died.
        await rm(join(directory, name), { force: true });
        continue;
      }
      if (mark === 'forgotten') continue;
      if ((await readFile(join(directory, name), 'utf8')) === boot) {
        this.sync(fingerprint);
      } else {
        this.parts.log.warn('image was not on disk when the machine went down', { image: fingerprint });
        await this.parts.layout.discard(this.parts.layout.image(fingerprint));
        await rm(join(directory, name), { force: true });
      }
    }
  }

  /**
   * Unpacks the image if that was not done yet. The unpacking is shared: it
   * goes on when this caller's signal fires, for the others and the next one.
   */
  async hold(image: StoredImage, signal: AbortSignal): Promise<HeldImage> {
    const { fingerprint } = image;
    this.count(fingerprint, 1);
    try {
      if (!this.ready.has(fingerprint) || !(await isThere(this.parts.layout.image(fingerprint))))
        await until(this.running.get(fingerprint) ?? this.begin(image), signal);
    } catch (err) {
      this.count(fingerprint, -1);
      throw err;
    }
    return {
      path: this.parts.layout.image(fingerprint),
      release: () => {
        this.count(fingerprint, -1);
      },
    };
  }

  /** The image itself is gone: removes its tree, now or when the last user goes. Idempotent. */
  async forget(fingerprint: string): Promise<void> {
    this.ready.delete(fingerprint);
    if (!(await isThere(this.parts.layout.image(fingerprint)))) return;
    await writeFile(this.mark(fingerprint, 'forgotten'), '');
    faultPoint('image-delete.marked');
    await this.collect(fingerprint);
  }

  /** Removes the tree of a forgotten image that nothing uses any more. */
  async collect(fingerprint: string): Promise<void> {
    await this.lanes.run(fingerprint, async () => {
      if (this.isBusy(fingerprint) || !(await isThere(this.mark(fingerprint, 'forgotten')))) return;
      await this.parts.layout.discard(this.parts.layout.image(fingerprint));
      faultPoint('image-delete.tree-removed');
      await rm(this.mark(fingerprint, 'forgotten'), { force: true });
      faultPoint('image-delete.mark-removed');
      await rm(this.mark(fingerprint, 'unsynced'), { force: true });
    });
  }

  private begin(image: StoredImage): Promise<void> {
    const job = this.lanes
      .run(image.fingerprint, async () => {
        await this.unpack(image);
        this.ready.add(image.fingerprint);
      })
      .finally(() => {
        this.running.delete(image.fingerprint);
      });
    this.running.set(image.fingerprint, job);
    // Its failure is told to those who wait; there may be none left.
    job.catch((err: unknown) => {
      // An import that fails tells so itself.
      if (image.accepted !== undefined) return;
      this.parts.log.warn('image not unpacked', { image: image.fingerprint, error: describeChain(err) });
    });
    return job;
  }

  private async unpack(image: StoredImage): Promise<void> {
    const { layout } = this.parts;
    await rm(this.mark(image.fingerprint, 'forgotten'), { force: true });
    const path = layout.image(image.fingerprint);
    if (await isThere(path)) return;
    const staged = layout.staging(image.fingerprint);
    try {
      await layout.trees.make(staged);
      await this.fill(image, staged);
      faultPoint('unpack.done');
      await writeFile(this.mark(image.fingerprint, 'unsynced'), await bootId());
      faultPoint('unpack.marked');
      await layout.land(staged, path);
      faultPoint('unpack.landed');
      await this.parts.finish(path);
      this.sync(image.fingerprint);
    } catch (err) {
      await layout.discard(staged);
      throw err;
    }
  }

  /** Returns when the tree is whole and the image is one; gives up as soon as it turns out to be none. */
  private async fill(image: StoredImage, staged: string): Promise<void> {
    const { stop } = this.parts;
    if (image.accepted === undefined) {
      await this.parts.unpack(image, staged, stop);
      return;
    }
    const ended = new AbortController();
    const end = (reason: unknown): void => {
      ended.abort(reason);
    };
    const onStop = (): void => {
      end(stop.reason);
    };
    stop.addEventListener('abort', onStop, { once: true });
    image.accepted.catch(end);
    try {
      stop.throwIfAborted();
      await this.parts.unpack(image, staged, ended.signal);
      await image.accepted;
    } finally {
      stop.removeEventListener('abort', onStop);
    }
  }

  /** In the background: a launch does not wait for the disk. */
  private sync(fingerprint: string): void {
    const path = this.parts.layout.image(fingerprint);
    runTool('sync', ['-f', join(this.parts.layout.root, 'images')], { timeoutMs: 0, signal: this.parts.stop })
      .then(() => rm(this.mark(fingerprint, 'unsynced'), { force: true }))
      .catch((err: unknown) => {
        if (!this.parts.stop.aborted) this.parts.log.warn('unpacked image not synced', { path, error: err });
      });
  }

  private isBusy(fingerprint: string): boolean {
    return (this.holds.get(fingerprint) ?? 0) > 0 || this.parts.isUsed(fingerprint);
  }

  private mark(fingerprint: string, what: 'forgotten' | 'unsynced'): string {
    return `${this.parts.layout.image(fingerprint)}.${what}`;
  }

  private count(fingerprint: string, change: number): void {
    const now = (this.holds.get(fingerprint) ?? 0) + change;
    if (now > 0) this.holds.set(fingerprint, now);
    else this.holds.delete(fingerprint);
  }
}

async function bootId(): Promise<string> {
  return readFile('/proc/sys/kernel/random/boot_id', 'utf8');
}

/** The promise, or the signal's reason if that comes first. */
async function until(job: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(signal.reason as Error); // whatever it is, it is thrown on
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([job, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
