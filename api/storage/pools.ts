/**
 * The storage pools of this server: their rows, the pools behind them, and
 * what `/1.0/storage-pools` can do with them.
 *
 * A row in state Pending is one whose making or removing a crash cut short;
 * start-up removes what there is of it.
 */
import { Fault, describeChain } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Lanes } from '../../process/lanes.ts';
import { Undo } from '../../process/undo.ts';
import type { Database } from '../db/store.ts';
import type { PoolRow, StringMap } from '../db/rows.ts';
import type { Events, Requestor } from '../events/events.ts';
import { parseBytes } from '../instances/values.ts';
import { runTool } from '../tools.ts';
import { bringUp, checkSource, growSource, makeSource, removeSource, takeDown } from './bring-up.ts';
import type { BringUpParts } from './bring-up.ts';
import {
  DRIVERS,
  checkPoolChange,
  checkPoolConfig,
  checkPoolName,
  driverName,
  withoutEmpty,
} from './pool-config.ts';
import type { RootUse } from './root-file.ts';
import type { Pool, PoolRecord, PoolSpace, Pools, RootVolume, StoredImage } from './types.ts';
import type { VolumePool } from './volume-pool.ts';

export interface PoolsParts extends Omit<BringUpParts, 'configOf' | 'knownImage'> {
  readonly database: Database;
  readonly events: Events;
  /** URLs of the instances and profiles that name a pool. */
  readonly usedBy: (pool: string) => readonly string[];
}

export interface PoolRequest {
  readonly name: string;
  readonly driver: string;
  readonly description: string;
  readonly config: StringMap;
}

export interface PoolChange {
  readonly description?: string;
  readonly config?: StringMap;
  /** Shown the pool when its turn has come; may refuse (an entity tag). */
  readonly check?: (pool: PoolRecord) => void;
}

export interface DriverInfo {
  readonly Name: string;
  readonly Version: string;
  readonly Remote: boolean;
}

/** What the routes, the images and the composition root need beyond Pools. */
export interface PoolAdmin extends Pools {
  records(): PoolRecord[];
  /** Fault not_found. */
  record(name: string): PoolRecord;
  create(request: PoolRequest, requestor?: Requestor): Promise<void>;
  /** `replace`: keys that are not named go; otherwise they stay. */
  update(name: string, change: PoolChange, replace: boolean, requestor?: Requestor): Promise<void>;
  /** Fault bad_request while something uses it. */
  remove(name: string, requestor?: Requestor): Promise<void>;
  resources(name: string): Promise<PoolSpace>;
  usedBy(name: string): Promise<string[]>;
  volumes(name: string): Promise<RootVolume[]>;
  volumeUse(name: string, volume: RootVolume): Promise<RootUse | null>;
  /** Fingerprints of the images that are kept unpacked in a pool. */
  unpackedImages(name: string): Promise<string[]>;
  /** Unpacks an image in the background where the next launch will want it. */
  prepareAhead(image: StoredImage): Promise<void>;
  /** The image is gone: every pool gives up its unpacked form when it can. */
  forgetImage(fingerprint: string): Promise<void>;
  /** Start-up: forgets unpacked images that are not among these, unpacks again (in the background) what is missing. */
  keepImages(known: readonly StoredImage[]): Promise<void>;
  /** Drivers that work on this host, for the server's environment. */
  drivers(): Promise<DriverInfo[]>;
  /** Tries again to bring up the pools that could not be used. */
  retry(): Promise<void>;
  /** Unmounts what was mounted on the host. For a clean end with no instance running. */
  release(): Promise<void>;
}

/** Opens all pools of the database. A pool that cannot be brought up is kept, with its reason. */
export async function openPools(parts: PoolsParts): Promise<PoolAdmin> {
  const set = new PoolSet(parts);
  await set.open();
  return set;
}

interface Entry {
  readonly row: PoolRow;
  readonly pool: VolumePool | null;
  /** Why there is no pool. */
  readonly problem: unknown;
}

const UNAVAILABLE = 'Storage pool unavailable';

class PoolSet implements PoolAdmin {
  private readonly parts: PoolsParts;
  private readonly entries = new Map<string, Entry>();
  /** Making, changing and removing of one pool go one after the other. */
  private readonly lanes = new Lanes();
  /** Every image of this server, for volumes whose unpacked image has vanished. */
  private readonly images = new Map<string, StoredImage>();
  private driverInfo: Promise<DriverInfo[]> | null = null;

  constructor(parts: PoolsParts) {
    this.parts = parts;
  }

  async open(): Promise<void> {
    for (const row of await this.parts.database.tables.pools.all()) {
      if (row.status === 'Pending') await this.finishRemoval(row);
      else await this.tryUp(row);
    }
  }

  get(name: string): Pool {
    return this.ready(name);
  }

  names(): string[] {
    return [...this.entries.keys()].sort();
  }

  records(): PoolRecord[] {
    return this.names().map((name) => this.record(name));
  }

  record(name: string): PoolRecord {
    const { row, pool } = this.entry(name);
    return { ...row, status: pool === null ? 'Unavailable' : row.status };
  }

  async create(request: PoolRequest, requestor?: Requestor): Promise<void> {
    checkPoolName(request.name);
    if (request.driver === '') throw new Fault('bad_request', 'No driver provided');
    const driver = driverName(request.driver);
    const config = withoutEmpty(request.config);
    checkPoolConfig(driver, config);
    await this.lanes.run(request.name, async () => {
      if (this.entries.has(request.name))
        throw new Fault('already_exists', 'The storage pool already exists');
      await this.make({
        name: request.name,
        driver,
        description: request.description,
        config,
        status: 'Pending',
      });
    });
    this.tell('storage-pool-created', request.name, requestor, { driver });
  }

  async update(name: string, change: PoolChange, replace: boolean, requestor?: Requestor): Promise<void> {
    await this.lanes.run(name, async () => {
      const { row, pool, problem } = this.entry(name);
      change.check?.(this.record(name));
      const given = change.config ?? {};
      const fixed = { source: row.config['source'] ?? '' };
      // PUT bodies written by hand often leave out what cannot change anyway.
      const config = withoutEmpty(
        replace ? { ...fixed, ...keepFixed(row.config), ...given } : { ...row.config, ...given },
      );
      checkPoolChange(driverName(row.driver), row.config, config);
      const size = config['size'] ?? '';
      if (size !== (row.config['size'] ?? '')) await growSource(this.parts.paths, row, parseBytes(size));
      const description = change.description ?? (replace ? '' : row.description);
      await this.parts.database.tables.pools.update({ name }, { config, description });
      this.entries.set(name, { row: { ...row, config, description }, pool, problem });
    });
    this.tell('storage-pool-updated', name, requestor);
  }

  async remove(name: string, requestor?: Requestor): Promise<void> {
    await this.lanes.run(name, async () => {
      const { row, pool } = this.entry(name);
      const volumes = pool === null ? [] : await pool.list();
      if (volumes.length > 0 || this.parts.usedBy(name).length > 0) {
        throw new Fault('bad_request', 'The storage pool is currently in use');
      }
      await this.parts.database.tables.pools.update({ name }, { status: 'Pending' });
      faultPoint('pool-delete.row-pending');
      this.entries.delete(name);
      await this.finishRemoval(row);
    });
    this.tell('storage-pool-deleted', name, requestor);
  }

  resources(name: string): Promise<PoolSpace> {
    return this.ready(name).resources();
  }

  async usedBy(name: string): Promise<string[]> {
    this.entry(name);
    const images = (await this.unpackedImages(name)).map((fingerprint) => `/1.0/images/${fingerprint}`);
    return [...this.parts.usedBy(name), ...images];
  }

  async volumes(name: string): Promise<RootVolume[]> {
    return (await this.entry(name).pool?.list()) ?? [];
  }

  volumeUse(name: string, volume: RootVolume): Promise<RootUse | null> {
    return this.ready(name).rootUse(volume, this.parts.initPid(volume));
  }

  async unpackedImages(name: string): Promise<string[]> {
    return (await this.entry(name).pool?.images()) ?? [];
  }

  async prepareAhead(image: StoredImage): Promise<void> {
    if (image.accepted === undefined) this.images.set(image.fingerprint, image);
    const likely = this.entries.get(this.entries.size === 1 ? (this.names()[0] ?? '') : 'default');
    if (likely?.pool) await this.prepareIn(likely.pool, image);
  }

  async forgetImage(fingerprint: string): Promise<void> {
    this.images.delete(fingerprint);
    for (const { pool } of this.entries.values()) await pool?.forgetImage(fingerprint);
  }

  async keepImages(known: readonly StoredImage[]): Promise<void> {
    const { images } = this;
    for (const image of known) images.set(image.fingerprint, image);
    for (const { pool } of this.entries.values()) {
      for (const fingerprint of (await pool?.images()) ?? []) {
        if (!images.has(fingerprint)) await pool?.forgetImage(fingerprint);
      }
      for (const fingerprint of (await pool?.missingImages()) ?? []) {
        const image = images.get(fingerprint);
        if (pool !== null && image !== undefined) void this.prepareIn(pool, image);
      }
    }
  }

  drivers(): Promise<DriverInfo[]> {
    this.driverInfo ??= readDrivers();
    return this.driverInfo;
  }

  async retry(): Promise<void> {
    for (const name of this.names()) {
      await this.lanes.run(name, async () => {
        const entry = this.entries.get(name);
        if (entry !== undefined && entry.pool === null) await this.tryUp(entry.row);
      });
    }
  }

  async release(): Promise<void> {
    for (const { row } of this.entries.values()) await takeDown(this.parts.paths, row);
  }

  private async prepareIn(pool: VolumePool, image: StoredImage): Promise<void> {
    await pool.prepareImage(image, { sizeBytes: null, signal: this.parts.stop }).catch((err: unknown) => {
      // An import that fails tells so itself.
      if (image.accepted !== undefined) return;
      this.parts.log.warn('image not unpacked ahead', { image: image.fingerprint, error: err });
    });
  }

  private entry(name: string): Entry {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new Fault('not_found', 'Storage pool not found');
    return entry;
  }

  private ready(name: string): VolumePool {
    const { pool, problem } = this.entry(name);
    if (pool === null) {
      throw new Fault('unavailable', `storage pool ${name} cannot be used`, { cause: problem });
    }
    return pool;
  }

  private async make(row: PoolRow): Promise<void> {
    const { pools } = this.parts.database.tables;
    await checkSource(this.parts.paths, row);
    const undo = new Undo();
    try {
      await pools.insert(row);
      faultPoint('pool-create.row-stored');
      undo.add('remove the row', () => pools.remove({ name: row.name }));
      undo.add('remove the storage', () => removeSource(this.parts.paths, row));
      const config = await makeSource(this.parts.paths, row);
      faultPoint('pool-create.source-made');
      const made: PoolRow = { ...row, config, status: 'Created' };
      undo.add('forget the pool', () => Promise.resolve(this.entries.delete(row.name)));
      // The driver asks for its configuration while it opens.
      this.entries.set(row.name, { row: made, pool: null, problem: 'it is being made' });
      const pool = await bringUp(this.upParts(), made);
      faultPoint('pool-create.up');
      await pools.update({ name: row.name }, { config, status: 'Created' });
      faultPoint('pool-create.row-created');
      this.entries.set(row.name, { row: made, pool, problem: null });
      undo.keep();
    } catch (err) {
      await undo.rollBack((what, error) => {
        this.parts.log.error('undo of a storage pool failed', { pool: row.name, what, error });
      });
      throw err;
    }
  }

  private async tryUp(row: PoolRow): Promise<void> {
    const entityUrl = `/1.0/storage-pools/${row.name}`;
    this.entries.set(row.name, { row, pool: null, problem: 'it is being opened' });
    try {
      const pool = await bringUp(this.upParts(), row);
      this.entries.set(row.name, { row, pool, problem: null });
      await this.parts.warnings.resolve(UNAVAILABLE, entityUrl);
    } catch (err) {
      this.entries.set(row.name, { row, pool: null, problem: err });
      this.parts.log.error('storage pool unavailable', { pool: row.name, error: err });
      await this.parts.warnings.raise({
        type: UNAVAILABLE,
        severity: 'high',
        message: describeChain(err),
        entityUrl,
      });
    }
  }

  private async finishRemoval(row: PoolRow): Promise<void> {
    await removeSource(this.parts.paths, row);
    faultPoint('pool-delete.source-removed');
    await this.parts.database.tables.pools.remove({ name: row.name });
    faultPoint('pool-delete.row-removed');
  }

  private upParts(): BringUpParts {
    return {
      ...this.parts,
      configOf: (name) => this.entries.get(name)?.row.config ?? {},
      knownImage: (fingerprint) => this.images.get(fingerprint) ?? null,
    };
  }

  private tell(
    action: string,
    name: string,
    requestor?: Requestor,
    context?: Readonly<Record<string, string>>,
  ): void {
    this.parts.events.lifecycle(action, `/1.0/storage-pools/${encodeURIComponent(name)}`, {
      ...(requestor === undefined ? {} : { requestor }),
      ...(context === undefined ? {} : { context }),
    });
  }
}

/** What PUT cannot take away. */
function keepFixed(config: StringMap): StringMap {
  const kept: Record<string, string> = {};
  for (const key of ['volatile.initial_source', 'size']) {
    if (config[key] !== undefined) kept[key] = config[key];
  }
  return kept;
}

async function readDrivers(): Promise<DriverInfo[]> {
  const found: DriverInfo[] = [];
  for (const Name of DRIVERS) {
    const Version = Name === 'btrfs' ? await btrfsVersion() : '1';
    if (Version !== null) found.push({ Name, Version, Remote: false });
  }
  return found;
}

/** null when the tools are not installed. */
async function btrfsVersion(): Promise<string | null> {
  try {
    return /v(\S+)/.exec((await runTool('btrfs', ['--version'])).stdout)?.[1] ?? 'unknown';
  } catch {
    return null;
  }
}
