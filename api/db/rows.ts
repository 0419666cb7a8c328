/**
 * What is kept in the database: plain rows, one per object of the API. Maps and
 * lists are JSON columns, so that one change of an object is one UPDATE.
 */
export type StringMap = Readonly<Record<string, string>>;
export type DeviceMap = Readonly<Record<string, StringMap>>;

/** Times are RFC 3339 in UTC; NEVER stands for "not yet". */
export const NEVER = '1970-01-01T00:00:00Z';

export interface ConfigRow {
  readonly key: string;
  readonly value: string;
}

export interface CertificateRow {
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string;
  readonly type: 'client' | 'metrics';
  readonly name: string;
  readonly restricted: boolean;
  readonly projects: readonly string[];
  /** PEM. */
  readonly certificate: string;
}

export interface ProjectRow {
  readonly name: string;
  readonly description: string;
  readonly config: StringMap;
}

export interface ProfileRow {
  readonly project: string;
  readonly name: string;
  readonly description: string;
  readonly config: StringMap;
  readonly devices: DeviceMap;
}

/**
 * `creating`, `starting` and `deleting` are written before the first step that
 * a crash would orphan; start-up undoes (creating, starting) or finishes
 * (deleting) rows found in them.
 */
export type InstancePhase = 'creating' | 'ready' | 'starting' | 'deleting';

export interface InstanceRow {
  /** UUID; also `volatile.uuid`. */
  readonly id: string;
  readonly project: string;
  readonly name: string;
  readonly phase: InstancePhase;
  readonly architecture: string;
  readonly description: string;
  readonly ephemeral: boolean;
  readonly stateful: boolean;
  readonly profiles: readonly string[];
  /** Local keys, volatile.* and image.* among them. */
  readonly config: StringMap;
  readonly devices: DeviceMap;
  /** Storage pool of the root disk; fixed at creation. */
  readonly pool: string;
  readonly createdAt: string;
  readonly lastUsedAt: string;
}

export interface ImageRow {
  readonly project: string;
  readonly fingerprint: string;
  readonly filename: string;
  readonly size: number;
  readonly public: boolean;
  readonly autoUpdate: boolean;
  readonly cached: boolean;
  readonly architecture: string;
  readonly properties: StringMap;
  readonly profiles: readonly string[] | null;
  /**
   * `unified`: one file `<fingerprint>`; `split`: a second one `<fingerprint>.rootfs`;
   * `root`: one file that is a root file system without a description.
   */
  readonly form: 'unified' | 'split' | 'root';
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly uploadedAt: string;
  readonly lastUsedAt: string;
}

export interface AliasRow {
  readonly project: string;
  readonly name: string;
  readonly target: string;
  readonly description: string;
}

export interface PoolRow {
  readonly name: string;
  readonly driver: string;
  readonly description: string;
  readonly config: StringMap;
  readonly status: 'Pending' | 'Created' | 'Errored';
}

export interface NetworkRow {
  readonly name: string;
  readonly type: string;
  readonly description: string;
  readonly config: StringMap;
  readonly status: 'Pending' | 'Created' | 'Errored';
}

export interface WarningRow {
  readonly uuid: string;
  readonly project: string;
  readonly type: string;
  readonly status: 'new' | 'acknowledged' | 'resolved';
  readonly severity: 'low' | 'moderate' | 'high';
  readonly count: number;
  readonly firstSeenAt: string;
  readonly lastSeenAt: string;
  readonly lastMessage: string;
  readonly entityUrl: string;
}

/** Name of each table -> its row and the fields that name one row. */
export interface Rows {
  config: ConfigRow;
  certificates: CertificateRow;
  projects: ProjectRow;
  profiles: ProfileRow;
  instances: InstanceRow;
  images: ImageRow;
  aliases: AliasRow;
  pools: PoolRow;
  networks: NetworkRow;
  warnings: WarningRow;
}

export interface Keys {
  config: { readonly key: string };
  certificates: { readonly fingerprint: string };
  projects: { readonly name: string };
  profiles: { readonly project: string; readonly name: string };
  instances: { readonly id: string };
  images: { readonly project: string; readonly fingerprint: string };
  aliases: { readonly project: string; readonly name: string };
  pools: { readonly name: string };
  networks: { readonly name: string };
  warnings: { readonly uuid: string };
}

export type TableName = keyof Rows;
