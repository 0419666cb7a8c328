/**
 * How each row is laid out in its table: the kind of every column, the columns
 * that name a row, and what else must be unique. Column names are the field
 * names in snake_case. The tables themselves are made by `migrations/`.
 */
import { Fault } from '../../process/fault.ts';
import type { Keys, Rows, TableName } from './rows.ts';

/** `json` columns are text; `int` columns are 64 bits wide. */
export type Kind = 'text' | 'bool' | 'int' | 'json';

export interface TableShape<N extends TableName> {
  readonly columns: { readonly [F in keyof Rows[N] & string]: Kind };
  readonly key: readonly (keyof Keys[N] & keyof Rows[N] & string)[];
  readonly unique: readonly (readonly (keyof Rows[N] & string)[])[];
}

export const SHAPES: { readonly [N in TableName]: TableShape<N> } = {
  config: { columns: { key: 'text', value: 'text' }, key: ['key'], unique: [] },
  certificates: {
    columns: {
      fingerprint: 'text',
      type: 'text',
      name: 'text',
      restricted: 'bool',
      projects: 'json',
      certificate: 'text',
    },
    key: ['fingerprint'],
    unique: [],
  },
  projects: {
    columns: { name: 'text', description: 'text', config: 'json' },
    key: ['name'],
    unique: [],
  },
  profiles: {
    columns: { project: 'text', name: 'text', description: 'text', config: 'json', devices: 'json' },
    key: ['project', 'name'],
    unique: [],
  },
  instances: {
    columns: {
      id: 'text',
      project: 'text',
      name: 'text',
      phase: 'text',
      architecture: 'text',
      description: 'text',
      ephemeral: 'bool',
      stateful: 'bool',
      profiles: 'json',
      config: 'json',
      devices: 'json',
      pool: 'text',
      createdAt: 'text',
      lastUsedAt: 'text',
    },
    key: ['id'],
    unique: [['project', 'name']],
  },
  images: {
    columns: {
      project: 'text',
      fingerprint: 'text',
      filename: 'text',
      size: 'int',
      public: 'bool',
      autoUpdate: 'bool',
      cached: 'bool',
      architecture: 'text',
      properties: 'json',
      profiles: 'json',
      form: 'text',
      createdAt: 'text',
      expiresAt: 'text',
      uploadedAt: 'text',
      lastUsedAt: 'text',
    },
    key: ['project', 'fingerprint'],
    unique: [],
  },
  aliases: {
    columns: { project: 'text', name: 'text', target: 'text', description: 'text' },
    key: ['project', 'name'],
    unique: [],
  },
  pools: {
    columns: { name: 'text', driver: 'text', description: 'text', config: 'json', status: 'text' },
    key: ['name'],
    unique: [],
  },
  networks: {
    columns: { name: 'text', type: 'text', description: 'text', config: 'json', status: 'text' },
    key: ['name'],
    unique: [],
  },
  warnings: {
    columns: {
      uuid: 'text',
      project: 'text',
      type: 'text',
      status: 'text',
      severity: 'text',
      count: 'int',
      firstSeenAt: 'text',
      lastSeenAt: 'text',
      lastMessage: 'text',
      entityUrl: 'text',
    },
    key: ['uuid'],
    unique: [['type', 'project', 'entityUrl']],
  },
};

/** Every table, in the order in which they are made. */
export const TABLE_NAMES: readonly TableName[] = [
  'config',
  'certificates',
  'projects',
  'profiles',
  'instances',
  'images',
  'aliases',
  'pools',
  'networks',
  'warnings',
];

/** `createdAt` -> `created_at`. */
export function columnName(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** What `make` gives for each table; `M` says the type of each, which `make` must keep to. */
export function forEachTable<M extends { readonly [N in TableName]: object }>(
  make: (name: TableName) => object,
): M {
  const made: Record<string, object> = {};
  for (const name of TABLE_NAMES) made[name] = make(name);
  // TABLE_NAMES holds every TableName; that each object is the one for its
  // table cannot be said in the type system.
  return made as M;
}

/** What a table calls a row in error texts. */
export function describeKey(name: TableName, key: object): string {
  return `${name} ${Object.values(key).map(String).join('/')}`;
}

/** PostgreSQL has no place for a zero character in a text; refused for every database, so that they stay alike. */
export function refuseZero(name: TableName, fields: object): void {
  const kinds = new Map<string, Kind>(Object.entries<Kind>(SHAPES[name].columns));
  for (const [field, value] of Object.entries(fields)) {
    if (kinds.get(field) === 'text' && String(value).includes('\0')) {
      throw new Fault(
        'bad_request',
        `write ${name}: ${field} holds a zero character, which cannot be stored`,
      );
    }
  }
}
