/** The profiles, in memory; every change is written to the database first. */
import { Fault, isFault } from '../../process/fault.ts';
import type { ProfileRow } from '../db/rows.ts';
import type { Database, Tables } from '../db/store.ts';
import { DEFAULT_PROJECT } from '../projects/store.ts';
import type { ProfileKey } from './types.ts';

export const DEFAULT_PROFILE = 'default';

/** Reads all profiles; the first time, makes an empty `default`. */
export async function openProfileStore(database: Database): Promise<ProfileStore> {
  const rows = await database.tables.profiles.all();
  if (!rows.some((row) => row.project === DEFAULT_PROJECT && row.name === DEFAULT_PROFILE)) {
    const row: ProfileRow = {
      project: DEFAULT_PROJECT,
      name: DEFAULT_PROFILE,
      description: 'Default LXD profile',
      config: {},
      devices: {},
    };
    await database.tables.profiles.insert(row);
    rows.push(row);
  }
  return new ProfileStore(database, rows);
}

/** The caller sees to it that one profile is changed once at a time. */
export class ProfileStore {
  private readonly database: Database;
  private readonly rows = new Map<string, ProfileRow>();
  /** Being removed: no instance may begin to use them any more. */
  private readonly leaving = new Set<string>();
  private changes = 0;

  constructor(database: Database, rows: readonly ProfileRow[]) {
    this.database = database;
    for (const row of rows) this.rows.set(nameOf(row), freezeProfile(row));
  }

  /** Grows with every change; what was made from profiles is stale when it has grown. */
  get generation(): number {
    return this.changes;
  }

  find(key: ProfileKey): ProfileRow | undefined {
    return this.rows.get(nameOf(key));
  }

  /** Fault not_found "Profile not found". */
  get(key: ProfileKey): ProfileRow {
    const row = this.find(key);
    if (row === undefined) throw new Fault('not_found', 'Profile not found');
    return row;
  }

  /** Fault bad_request, in LXD's words, when an instance cannot take the profile. */
  forUse(key: ProfileKey): ProfileRow {
    const row = this.find(key);
    if (row === undefined || this.leaving.has(nameOf(key))) {
      throw new Fault('bad_request', `Requested profile "${key.name}" doesn't exist`);
    }
    return row;
  }

  /** Those of one project, or all, by name. */
  list(project?: string): ProfileRow[] {
    const rows = [...this.rows.values()].filter((row) => project === undefined || row.project === project);
    return rows.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  }

  async insert(row: ProfileRow): Promise<void> {
    try {
      await this.database.tables.profiles.insert(row);
    } catch (err) {
      throw isFault(err, 'already_exists') ? taken(row.name) : err;
    }
    this.put(row);
  }

  async update(row: ProfileRow): Promise<void> {
    const { description, config, devices } = row;
    await this.database.tables.profiles.update(keyOf(row), { description, config, devices });
    this.put(row);
  }

  /** The database's part of a rename; `renamed` is the memory's. */
  async writeRename(tables: Tables, key: ProfileKey, name: string): Promise<void> {
    await tables.profiles.update(keyOf(key), { name });
  }

  renamed(key: ProfileKey, name: string): void {
    const row = this.get(key);
    this.rows.delete(nameOf(key));
    this.put({ ...row, name });
  }

  /** `mayGo` is asked after the profile can find no new users; what it throws keeps the profile. */
  async remove(key: ProfileKey, mayGo: () => void): Promise<void> {
    const name = nameOf(key);
    this.leaving.add(name);
    try {
      mayGo();
      await this.database.tables.profiles.remove(keyOf(key));
      this.rows.delete(name);
      this.changes += 1;
    } finally {
      this.leaving.delete(name);
    }
  }

  /** Takes over what a transaction of the projects has written: all profiles of one project. */
  adopt(project: string, rows: readonly ProfileRow[]): void {
    for (const row of this.list(project)) this.rows.delete(nameOf(row));
    for (const row of rows) this.put(row);
    this.changes += 1;
  }

  private put(row: ProfileRow): void {
    this.rows.set(nameOf(row), freezeProfile(row));
    this.changes += 1;
  }
}

export function taken(name: string): Fault {
  return new Fault('already_exists', `The profile "${name}" already exists`);
}

export function freezeProfile(row: ProfileRow): ProfileRow {
  const devices = Object.entries(row.devices).map(
    ([name, device]) => [name, Object.freeze({ ...device })] as const,
  );
  return Object.freeze({
    ...row,
    config: Object.freeze({ ...row.config }),
    devices: Object.freeze(Object.fromEntries(devices)),
  });
}

/** Profile names hold no `/`. */
function nameOf(key: ProfileKey): string {
  return `${key.project}/${key.name}`;
}

function keyOf(key: ProfileKey): { project: string; name: string } {
  return { project: key.project, name: key.name };
}
