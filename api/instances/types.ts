/** Words shared by the files of this folder, and what the rest of the daemon sees of instances. */
import type { DeviceMap, InstanceRow, StringMap } from '../db/rows.ts';

export type InstanceStatus =
  | 'Stopped'
  | 'Starting'
  | 'Running'
  | 'Stopping'
  | 'Freezing'
  | 'Frozen'
  | 'Thawed'
  | 'Aborting'
  | 'Error'
  | 'Ready';

export const STATUS_CODES: Readonly<Record<InstanceStatus, number>> = {
  Stopped: 102,
  Running: 103,
  Starting: 106,
  Stopping: 107,
  Aborting: 108,
  Freezing: 109,
  Frozen: 110,
  Thawed: 111,
  Error: 112,
  Ready: 113,
};

/** A row with its profiles merged in: profile[0] … profile[n-1], then local. */
export interface Expanded {
  readonly row: InstanceRow;
  readonly config: StringMap;
  readonly devices: DeviceMap;
}

export interface StopOptions {
  /** Seconds to wait for a clean shutdown; -1 for ever. */
  readonly timeoutS: number;
  readonly force: boolean;
}

/** A wire InstanceState (snake_case as in the API). */
export type InstanceStateWire = Readonly<Record<string, unknown>>;

/**
 * The running side of instances (`runtime.ts`). All verbs must be called
 * inside the instance's lane; `status`, `initPid` and `state` need none.
 */
export interface Runtime {
  status(id: string): InstanceStatus;
  /** 0 when stopped. */
  initPid(id: string): number;
  start(id: string, signal: AbortSignal): Promise<void>;
  stop(id: string, options: StopOptions, signal: AbortSignal): Promise<void>;
  restart(id: string, options: StopOptions, signal: AbortSignal): Promise<void>;
  freeze(id: string): Promise<void>;
  unfreeze(id: string): Promise<void>;
  /**
   * Brings a running container from one definition to the next (limits, hot
   * plug). Called after the new one has been validated and before it is
   * saved; a Fault means nothing was changed. Returns the volatile.* keys
   * (null: to be removed) that the caller saves together with the new definition.
   */
  apply(before: Expanded, after: Expanded): Promise<Readonly<Record<string, string | null>>>;
  /** Refuses (bad_request) what the runtime could not do with this definition; no side effects. */
  validate(next: Expanded): void;
  state(id: string): Promise<InstanceStateWire>;
  /** One for each id, read in batches. */
  states(ids: readonly string[]): Promise<InstanceStateWire[]>;
  /** Forgets everything of a stopped instance outside its volume: id range, logs, links, leases. Idempotent. */
  forget(row: InstanceRow): Promise<void>;
}

/**
 * The known instances, in memory; every change is written to the database
 * first. Rows are frozen: a change makes a new row.
 */
export interface InstanceStore {
  /** Fault not_found "Instance not found". Instances in phase `creating` are not found by name. */
  byName(project: string, name: string): InstanceRow;
  byId(id: string): InstanceRow;
  has(project: string, name: string): boolean;
  list(project?: string): InstanceRow[];
  insert(row: InstanceRow): Promise<void>;
  change(id: string, changes: Partial<Omit<InstanceRow, 'id'>>): Promise<InstanceRow>;
  /** Sets (or with null removes) local config keys such as volatile.*. No validation. */
  setConfig(id: string, changes: Readonly<Record<string, string | null>>): Promise<InstanceRow>;
  remove(id: string): Promise<void>;
  expand(row: InstanceRow): Expanded;
}
