/** What instances and images see of storage. Drivers are `overlay.ts`, `dir.ts`, `btrfs.ts`. */
import type { IdExtent, Step } from '../../native/steps.ts';
import type { StringMap } from '../db/rows.ts';

/** The root volume of one instance. */
export interface RootVolume {
  readonly project: string;
  readonly instance: string;
}

/** An image whose files are on this host. */
export interface StoredImage {
  readonly fingerprint: string;
  /** Path of the unified file, or of the metadata part of a split image. */
  readonly path: string;
  /** Path of the root part of a split image. */
  readonly rootfsPath: string | null;
  /** True when the one file is the root file system itself, with no metadata.yaml. */
  readonly isBareRoot: boolean;
  /**
   * Present while the image is still being looked at: its unpacked tree is seen
   * by nobody before this resolves, and goes when it rejects.
   */
  readonly accepted?: Promise<void>;
}

export interface VolumeSource {
  readonly kind: 'image' | 'empty' | 'copy';
  readonly image?: StoredImage;
  readonly copyOf?: RootVolume;
}

export interface CreateVolumeOptions {
  /** Enforced size of the root disk in bytes; null for none. */
  readonly sizeBytes: number | null;
  readonly signal: AbortSignal;
  /** Human text such as `Unpack: 45%`, for the operation's metadata. */
  readonly onProgress?: (text: string) => void;
}

export interface PoolSpace {
  readonly space: { readonly used: number; readonly total: number };
  readonly inodes: { readonly used: number; readonly total: number };
}

/**
 * One pool that is ready for use.
 *
 * Every call is idempotent: it may be repeated after a crash. A failed create
 * leaves nothing; `remove` of a volume that is not there is no error.
 * `volumePath` holds `metadata.yaml` and `templates/` beside what is the
 * driver's own; its name is `<instance>`, or `<project>_<instance>` outside `default`.
 */
export interface Pool {
  readonly name: string;
  readonly driver: string;
  create(volume: RootVolume, source: VolumeSource, options: CreateVolumeOptions): Promise<void>;
  remove(volume: RootVolume): Promise<void>;
  rename(from: RootVolume, to: RootVolume): Promise<void>;
  /** Fault bad_request when it cannot be (shrunk below its use, or while running where that needs a stop). */
  resize(volume: RootVolume, sizeBytes: number | null): Promise<void>;
  /** Bytes used by the instance alone; null when the driver cannot tell cheaply. `initPid` 0 when stopped. */
  usage(volume: RootVolume, initPid: number): Promise<number | null>;
  exists(volume: RootVolume): Promise<boolean>;
  /** Names on disk, `<project>_` split off, for finding leftovers. */
  list(): Promise<RootVolume[]>;

  volumePath(volume: RootVolume): string;
  /** Where the assembled root appears in the private mount namespace. */
  rootPath(volume: RootVolume): string;
  /**
   * Steps that assemble the root at rootPath(), idmapped with `idmap` (empty:
   * privileged). They follow a `private-mounts` and an `idmap` step.
   */
  rootSteps(volume: RootVolume, idmap: readonly IdExtent[]): Promise<Step[]>;

  /** Unpacks the image ahead of its first use (harmless when it is there). */
  prepareImage(image: StoredImage, options: CreateVolumeOptions): Promise<void>;
  /** Removes the unpacked image, or leaves it until its last instance is gone. */
  forgetImage(fingerprint: string): Promise<void>;
  resources(): Promise<PoolSpace>;
}

export interface PoolRecord {
  readonly name: string;
  readonly driver: string;
  readonly description: string;
  readonly config: StringMap;
  readonly status: string;
}

export interface Pools {
  /** Fault not_found; Fault unavailable with the reason when the pool could not be brought up. */
  get(name: string): Pool;
  names(): string[];
}
