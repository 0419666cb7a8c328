/**
 * The instances side with nothing below it: real store, operations, events and
 * lanes; a pool that is folders, a runtime that only keeps states, images and
 * networks that are lists.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Events } from '../../api/events/events.ts';
import type { ApiEvent } from '../../api/events/events.ts';
import type { ImageRow } from '../../api/db/rows.ts';
import { NEVER } from '../../api/db/rows.ts';
import type { FoundImage, ImageQuery, Images } from '../../api/images/types.ts';
import { StateChanges } from '../../api/instances/change-state.ts';
import { deleteEphemeral } from '../../api/instances/delete.ts';
import type { InstanceParts } from '../../api/instances/parts.ts';
import { openInstanceStore } from '../../api/instances/store.ts';
import type {
  Expanded,
  InstanceStateWire,
  InstanceStatus,
  Runtime,
  StopOptions,
} from '../../api/instances/types.ts';
import { STATUS_CODES } from '../../api/instances/types.ts';
import type { ManagedNetwork, Networks } from '../../api/network/types.ts';
import type { OperationsAdmin } from '../../api/operations/operations.ts';
import { openOperations } from '../../api/operations/operations.ts';
import { pathsBelow } from '../../api/paths.ts';
import type { ProfileStore } from '../../api/profiles/store.ts';
import { openProfileStore } from '../../api/profiles/store.ts';
import type { ProfiledInstances } from '../../api/profiles/types.ts';
import { openProjectStore } from '../../api/projects/store.ts';
import { Fault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import { SILENT } from '../../process/log.ts';
import { fakeNative } from './fake-native.ts';
import { Barrier, FakePool } from './fake-pool.ts';
import { memoryDatabase } from './fake-tables.ts';
import type { MemoryDatabase } from './fake-tables.ts';

/** Keeps a state for each instance; a clean stop waits at `guest`. */
export class FakeRuntime implements Runtime {
  readonly calls: string[] = [];
  readonly applied: { readonly before: Expanded; readonly after: Expanded }[] = [];
  readonly starting = new Barrier();
  readonly guest = new Barrier();
  readonly faults: { start?: Error; apply?: Error; validate?: Error } = {};
  /** volatile.* keys that apply() says it set. */
  volatile: Record<string, string | null> = {};
  onStopped: (id: string) => Promise<void> = () => Promise.resolve();
  private readonly known = new Map<string, InstanceStatus>();

  status(id: string): InstanceStatus {
    return this.known.get(id) ?? 'Stopped';
  }

  set(id: string, status: InstanceStatus): void {
    this.known.set(id, status);
  }

  initPid(id: string): number {
    return this.status(id) === 'Stopped' ? 0 : 4711;
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    this.calls.push('start');
    await this.starting.pass(signal);
    if (this.faults.start !== undefined) throw this.faults.start;
    this.set(id, 'Running');
  }

  async stop(id: string, options: StopOptions, signal: AbortSignal): Promise<void> {
    this.calls.push(options.force ? 'kill' : 'stop');
    if (!options.force && options.timeoutS !== 0) await this.guest.pass(signal);
    this.set(id, 'Stopped');
    await this.onStopped(id);
  }

  async restart(id: string, options: StopOptions, signal: AbortSignal): Promise<void> {
    this.calls.push('restart');
    if (!options.force) await this.guest.pass(signal);
    this.set(id, 'Running');
  }

  freeze(id: string): Promise<void> {
    this.calls.push('freeze');
    this.set(id, 'Frozen');
    return Promise.resolve();
  }

  unfreeze(id: string): Promise<void> {
    this.calls.push('unfreeze');
    this.set(id, 'Running');
    return Promise.resolve();
  }

  apply(before: Expanded, after: Expanded): Promise<Readonly<Record<string, string | null>>> {
    if (this.faults.apply !== undefined) return Promise.reject(this.faults.apply);
    this.applied.push({ before, after });
    return Promise.resolve(this.volatile);
  }

  validate(): void {
    if (this.faults.validate !== undefined) throw this.faults.validate;
  }

  state(id: string): Promise<InstanceStateWire> {
    const status = this.status(id);
    return Promise.resolve({
      status,
      status_code: STATUS_CODES[status],
      pid: this.initPid(id),
      network: null,
    });
  }

  states(ids: readonly string[]): Promise<InstanceStateWire[]> {
    return Promise.all(ids.map((id) => this.state(id)));
  }

  forget(): Promise<void> {
    this.calls.push('forget');
    return Promise.resolve();
  }
}

const IMAGE: ImageRow = {
  project: 'default',
  fingerprint: 'ab'.repeat(32),
  filename: 'tiny.tar.xz',
  size: 1000,
  public: false,
  autoUpdate: false,
  cached: false,
  architecture: 'x86_64',
  properties: { os: 'tiny', release: '1' },
  profiles: null,
  form: 'unified',
  createdAt: NEVER,
  expiresAt: NEVER,
  uploadedAt: NEVER,
  lastUsedAt: NEVER,
};

/** One image, alias `tiny`. */
export class FakeImages implements Images {
  readonly image: FoundImage = {
    fingerprint: IMAGE.fingerprint,
    path: '/images/tiny',
    rootfsPath: null,
    isBareRoot: false,
    row: IMAGE,
  };
  touched = 0;

  find(query: ImageQuery): Promise<FoundImage> {
    const { alias, fingerprint, properties } = query;
    const fits =
      (alias === undefined || alias === 'tiny') &&
      (fingerprint === undefined || IMAGE.fingerprint.startsWith(fingerprint)) &&
      Object.entries(properties ?? {}).every(([key, value]) => IMAGE.properties[key] === value);
    return fits
      ? Promise.resolve(this.image)
      : Promise.reject(new Fault('not_found', 'Image alias not found'));
  }

  touch(): Promise<void> {
    this.touched += 1;
    return Promise.resolve();
  }
}

/** One managed bridge, `br0`. */
export class FakeNetworks implements Networks {
  readonly forgotten: string[] = [];
  fault: Fault | null = null;

  managed(name: string): ManagedNetwork | null {
    return name === 'br0' ? { name, type: 'bridge', config: {} } : null;
  }

  needsChecksums(): Promise<boolean> {
    return Promise.resolve(false);
  }

  plug(): Promise<void> {
    return Promise.resolve();
  }

  plugged(): Promise<void> {
    return Promise.resolve();
  }

  unplug(): Promise<void> {
    return Promise.resolve();
  }

  validateNic(): void {
    if (this.fault !== null) throw this.fault;
  }

  forget(_project: string, instance: string): Promise<void> {
    this.forgotten.push(instance);
    return Promise.resolve();
  }
}

export interface InstanceWorld {
  readonly parts: InstanceParts;
  readonly changes: StateChanges;
  readonly database: MemoryDatabase;
  readonly store: ProfiledInstances;
  readonly profiles: ProfileStore;
  readonly pool: FakePool;
  readonly runtime: FakeRuntime;
  readonly images: FakeImages;
  readonly networks: FakeNetworks;
  readonly operations: OperationsAdmin;
  /** Actions and sources of the lifecycle events so far. */
  readonly lifecycle: string[];
  close(): Promise<void>;
}

export interface WorldOptions {
  readonly pools?: readonly string[];
  /** Taken from a server that a test has made; else there are own ones. */
  readonly events?: Events;
  readonly operations?: OperationsAdmin;
}

/** A profile `default` with a root disk in pool `default` and a nic on `br0`. */
export async function openWorld(options: WorldOptions = {}): Promise<InstanceWorld> {
  const directory = await mkdtemp(join(tmpdir(), 'instances-test-'));
  const database = memoryDatabase();
  const projects = await openProjectStore(database);
  const profiles = await openProfileStore(database);
  const store = await openInstanceStore({ database, profiles, projects, log: SILENT });
  const found = profiles.get({ project: 'default', name: 'default' });
  await profiles.update({
    ...found,
    devices: {
      root: { type: 'disk', path: '/', pool: 'default' },
      eth0: { type: 'nic', network: 'br0', name: 'eth0' },
    },
  });
  const events = options.events ?? new Events();
  const operations = options.operations ?? openOperations({ events, log: SILENT });
  const runtime = new FakeRuntime();
  const images = new FakeImages();
  const networks = new FakeNetworks();
  const pools = (options.pools ?? ['default']).map((name) => new FakePool(name, directory));
  const [pool] = pools;
  if (pool === undefined) throw new Error('a world needs a pool');
  const lifecycle: string[] = [];
  events.subscribe((event) => {
    if (event.type === 'lifecycle') lifecycle.push(describeEvent(event));
  });
  const parts: InstanceParts = {
    native: fakeNative(),
    paths: pathsBelow(directory, join(directory, 'logs')),
    log: SILENT,
    lanes: new Lanes(),
    events,
    operations,
    store,
    runtime,
    images,
    pools: {
      get: (name) => {
        const one = pools.find((p) => p.name === name);
        if (one === undefined) throw new Fault('not_found', 'Storage pool not found');
        return one;
      },
      names: () => pools.map((p) => p.name),
    },
    networks,
    warnings: { raise: () => Promise.resolve(), resolve: () => Promise.resolve() },
    serverConfig: { get: () => '' },
  };
  runtime.onStopped = async (id) => {
    if (store.byId(id).ephemeral) await deleteEphemeral(parts, id);
  };
  return {
    parts,
    changes: new StateChanges(parts),
    database,
    store,
    profiles,
    pool,
    runtime,
    images,
    networks,
    operations,
    lifecycle,
    close: async () => {
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function describeEvent(event: ApiEvent): string {
  const metadata = new Map(Object.entries(event.metadata as object)); // events are made by our own code
  return `${String(metadata.get('action'))} ${String(metadata.get('source'))}`;
}
