/** Pools and images in a scratch folder, on the real native border and a database in memory. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { openNative } from '../../native/index.ts';
import type { Native } from '../../native/types.ts';
import { SILENT } from '../../process/log.ts';
import type { ApiEvent } from '../../api/events/events.ts';
import { Events } from '../../api/events/events.ts';
import { openImages } from '../../api/images/images.ts';
import type { ImageStore } from '../../api/images/images.ts';
import type { ImageWishes } from '../../api/images/import.ts';
import { openOperations } from '../../api/operations/operations.ts';
import type { OperationsAdmin } from '../../api/operations/operations.ts';
import { pathsBelow } from '../../api/paths.ts';
import type { Paths } from '../../api/paths.ts';
import { openPools } from '../../api/storage/pools.ts';
import type { PoolAdmin } from '../../api/storage/pools.ts';
import type { RootVolume } from '../../api/storage/types.ts';
import { memoryDatabase } from './fake-tables.ts';
import type { MemoryDatabase } from './fake-tables.ts';

export const REQUESTOR = { username: 'root', protocol: 'unix', address: '@' } as const;

export const NO_WISHES: ImageWishes = {
  filename: null,
  isPublic: false,
  autoUpdate: false,
  properties: {},
  expiresAt: null,
  profiles: null,
  aliases: [],
  fingerprint: null,
};

export interface RaisedWarning {
  readonly type: string;
  readonly entityUrl?: string;
}

export class StorageDaemon {
  readonly state = mkdtempSync(join(tmpdir(), 'slipway-storage-'));
  readonly paths: Paths = pathsBelow(this.state, join(this.state, 'log'));
  readonly native: Native = openNative();
  readonly database: MemoryDatabase = memoryDatabase();
  readonly events = new Events();
  readonly operations: OperationsAdmin = openOperations({ events: this.events, log: SILENT });
  readonly seen: ApiEvent[] = [];
  readonly warnings: RaisedWarning[] = [];
  readonly usedBy = new Map<string, string[]>();
  /** Name of an instance -> pid of its init. */
  readonly running = new Map<string, number>();
  readonly projects = new Set(['default']);
  /** `images.max_unpacked_size`. */
  maxUnpackedBytes = 64 * 2 ** 30;
  private stop = new AbortController();
  private openedPools: PoolAdmin | null = null;
  private openedImages: ImageStore | null = null;

  constructor() {
    this.events.subscribe((event) => this.seen.push(event));
  }

  get pools(): PoolAdmin {
    if (this.openedPools === null) throw new Error('the daemon is not open');
    return this.openedPools;
  }

  get images(): ImageStore {
    if (this.openedImages === null) throw new Error('the daemon is not open');
    return this.openedImages;
  }

  /** Also a second time, as after a crash: the database and the disk stay. */
  async open(): Promise<this> {
    this.stop = new AbortController();
    this.openedPools = await openPools({
      paths: this.paths,
      native: this.native,
      log: SILENT,
      database: this.database,
      events: this.events,
      warnings: {
        raise: (warning) => Promise.resolve(void this.warnings.push(warning)),
        resolve: () => Promise.resolve(),
      },
      initPid: (volume) => this.running.get(volume.instance) ?? 0,
      usedBy: (pool) => this.usedBy.get(pool) ?? [],
      stop: this.stop.signal,
    });
    this.openedImages = await openImages({
      paths: this.paths,
      log: SILENT,
      database: this.database,
      events: this.events,
      operations: this.operations,
      projects: this.projectNames(),
      pools: this.openedPools,
      profileExists: (_project, name) => name === 'default',
      native: this.native,
      maxUnpackedBytes: () => this.maxUnpackedBytes,
      serverVersion: '5.0.2',
      proxies: () => ({ http: '', https: '', ignoreHosts: '' }),
    });
    return this;
  }

  async close(): Promise<void> {
    this.stop.abort(new Error('closing'));
    await this.openedPools?.release();
    await rm(this.state, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** Imports a body; rejects with what the operation failed with. */
  async import(body: Buffer, contentType?: string, wishes: Partial<ImageWishes> = {}): Promise<string> {
    const received = await this.images.receive(Readable.from([body]), contentType);
    const operation = this.images.import('default', received, { ...NO_WISHES, ...wishes }, REQUESTOR);
    await operation.finished;
    const wire = operation.render();
    if (wire['err'] !== '') throw new Error(String(wire['err']));
    return received.fingerprint;
  }

  private projectNames() {
    return {
      exists: (name: string) => this.projects.has(name),
      get: () => {
        throw new Error('not asked for');
      },
      list: () => [],
      resolve: (_kind: string, name: string) => name,
    };
  }
}

export function volume(instance: string): RootVolume {
  return { project: 'default', instance };
}
