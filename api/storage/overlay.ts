/**
 * The default driver: an instance is an overlay over the unpacked image.
 *
 * Creating one costs a few mkdirs whatever the size of the image. Both layers
 * are stored unshifted and mapped when they are mounted, so every instance of
 * an image shares its files and page cache, and copies need no change of owners.
 */
import { mkdir, readlink, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { IdExtent, Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import { unpackImage } from '../images/unpack.ts';
import { ImageCache } from './image-cache.ts';
import { isThere, makeDir } from './layout.ts';
import { TreePool, rootAttributes } from './tree-pool.ts';
import type { CreateVolumeOptions, RootVolume, StoredImage } from './types.ts';
import type { BuildOptions, DriverParts } from './volume-pool.ts';

/** What `base` says for an instance that was made from nothing. */
const EMPTY = 'empty';

export class OverlayPool extends TreePool {
  readonly driver = 'overlay';
  protected readonly tree = 'upper';
  protected readonly beside = ['work'];
  private readonly cache: ImageCache;
  /** Path of a volume (or of one being built) -> fingerprint of its image. */
  private readonly bases = new Map<string, string>();

  constructor(parts: DriverParts) {
    super(parts);
    this.cache = new ImageCache({
      layout: parts.layout,
      log: parts.log,
      unpack: (image, tree, signal) => unpackImage(parts.native, image, tree, signal),
      finish: () => Promise.resolve(),
      isUsed: (fingerprint) => [...this.bases.values()].includes(fingerprint),
      stop: parts.stop,
    });
  }

  /** Reads which volumes stand on which image. */
  async open(): Promise<void> {
    await makeDir(join(this.layout.root, 'images', EMPTY, 'rootfs'), 0o755);
    await this.cache.open();
    for (const volume of await this.layout.volumes()) {
      const path = this.volumePath(volume);
      await this.noteBase(path).catch((err: unknown) => {
        this.parts.log.warn('volume without an image below it', { path, error: err });
      });
    }
  }

  async rootSteps(volume: RootVolume, idmap: readonly IdExtent[]): Promise<Step[]> {
    this.assertMap(idmap);
    const { root, lower, layer } = this.layout.mounts;
    const { steps: first, data } = await this.dataSteps(volume);
    const fingerprint = await this.baseOf(volume);
    const base = this.layout.image(fingerprint);
    if (!(await isThere(base))) await this.unpackAgain(volume, fingerprint);
    return [
      ...first,
      steps.cloneIdmap(join(base, 'rootfs'), lower),
      steps.ownLayer(data),
      steps.cloneIdmap(data, layer),
      steps.overlay([lower], join(layer, 'upper'), join(layer, 'work'), root, idmap.length > 0),
    ];
  }

  override async remove(volume: RootVolume): Promise<void> {
    const path = this.volumePath(volume);
    const base = this.bases.get(path);
    await super.remove(volume);
    this.bases.delete(path);
    if (base !== undefined) await this.cache.collect(base);
  }

  override async rename(from: RootVolume, to: RootVolume): Promise<void> {
    await super.rename(from, to);
    await this.noteBase(this.volumePath(to));
    this.bases.delete(this.volumePath(from));
  }

  async prepareImage(image: StoredImage, options: CreateVolumeOptions): Promise<void> {
    options.onProgress?.('Unpack');
    (await this.cache.hold(image, options.signal)).release();
  }

  override async missingImages(): Promise<string[]> {
    const missing: string[] = [];
    for (const base of new Set(this.bases.values())) {
      if (base !== EMPTY && !(await isThere(this.layout.image(base)))) missing.push(base);
    }
    return missing;
  }

  forgetImage(fingerprint: string): Promise<void> {
    return this.cache.forget(fingerprint);
  }

  protected async noBase(staged: string): Promise<void> {
    await this.setBase(staged, EMPTY);
  }

  protected async copyBase(from: string, staged: string): Promise<void> {
    await this.setBase(staged, await this.noteBase(from));
  }

  protected override landed(volume: RootVolume, staged: string): void {
    super.landed(volume, staged);
    const base = this.bases.get(staged);
    if (base !== undefined) this.bases.set(this.volumePath(volume), base);
    this.bases.delete(staged);
  }

  protected override async abandon(staged: string): Promise<void> {
    await super.abandon(staged);
    this.bases.delete(staged);
  }

  protected async buildFromImage(staged: string, image: StoredImage, options: BuildOptions): Promise<void> {
    const held = await this.cache.hold(image, options.signal);
    try {
      await this.setBase(staged, image.fingerprint);
      // The merged root shows the upper directory's owner and mode.
      await this.emptyData(staged, await rootAttributes(join(held.path, 'rootfs')), options);
      await this.describe(held.path, staged);
    } finally {
      held.release();
    }
  }

  /** Somebody removed what a volume stands on: it is in the image's file still. */
  private async unpackAgain(volume: RootVolume, fingerprint: string): Promise<void> {
    const image = this.parts.knownImage(fingerprint);
    if (image === null) {
      const path = this.layout.image(fingerprint);
      throw new Fault(
        'unavailable',
        `the image below ${volume.instance} has vanished: ${path} is missing, and image ${fingerprint} is not on this server; import it again`,
      );
    }
    this.parts.log.warn('an unpacked image has vanished and is unpacked again', { image: fingerprint });
    (await this.cache.hold(image, this.parts.stop)).release();
  }

  private async baseOf(volume: RootVolume): Promise<string> {
    const path = this.volumePath(volume);
    return this.bases.get(path) ?? this.noteBase(path);
  }

  private async noteBase(path: string): Promise<string> {
    const base = basename(dirname(await readlink(join(path, 'base'))));
    this.bases.set(path, base);
    return base;
  }

  private async setBase(staged: string, base: string): Promise<void> {
    await mkdir(staged, { recursive: true });
    await symlink(join('..', '..', 'images', base, 'rootfs'), join(staged, 'base'));
    this.bases.set(staged, base);
  }
}
