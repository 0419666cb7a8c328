/** The simple driver: each instance has its own copy of the image, a plain tree on any file system. */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { IdExtent, Step } from '../../native/steps.ts';
import { steps } from '../../native/steps.ts';
import { unpackImage } from '../images/unpack.ts';
import { isThere, makeDir } from './layout.ts';
import { Fault } from '../../process/fault.ts';
import { TreePool } from './tree-pool.ts';
import type { CreateVolumeOptions, RootVolume, StoredImage } from './types.ts';
import type { BuildOptions } from './volume-pool.ts';

export class DirPool extends TreePool {
  readonly driver = 'dir';
  protected readonly tree = 'rootfs';
  protected readonly beside = [];

  async rootSteps(volume: RootVolume, idmap: readonly IdExtent[]): Promise<Step[]> {
    this.assertMap(idmap);
    const { root } = this.layout.mounts;
    const { steps: first, data } = await this.dataSteps(volume);
    return [...first, ...treeSteps(join(data, 'rootfs'), root, idmap)];
  }

  /** Nothing is kept unpacked here. */
  async prepareImage(image: StoredImage, _options: CreateVolumeOptions): Promise<void> {
    if (!(await isThere(image.path))) {
      throw new Fault('not_found', `the image's file ${image.path} is missing; import the image again`);
    }
  }

  forgetImage(_fingerprint: string): Promise<void> {
    return Promise.resolve();
  }

  protected noBase(): Promise<void> {
    return Promise.resolve();
  }

  protected copyBase(): Promise<void> {
    return Promise.resolve();
  }

  protected async buildFromImage(staged: string, image: StoredImage, options: BuildOptions): Promise<void> {
    const unpacked = join(staged, 'image');
    await makeDir(unpacked, 0o700);
    await unpackImage(this.parts.native, image, unpacked, options.signal);
    await this.describe(unpacked, staged);
    await this.makeData(staged, options, (data) => rename(join(unpacked, 'rootfs'), join(data, 'rootfs')));
    await rm(unpacked, { recursive: true, force: true });
  }
}

/** A tree of the host seen as the guest's root: its owners mapped, its device nodes dead unless privileged. */
export function treeSteps(tree: string, root: string, idmap: readonly IdExtent[]): Step[] {
  const clone = steps.cloneIdmap(tree, root);
  return idmap.length === 0 ? [clone] : [clone, steps.bind(root, root, ['nodev'])];
}
