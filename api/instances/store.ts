/**
 * The known instances, in memory: lists and lookups never go to the database.
 *
 * A change is in memory when it is on disk, and not before. Changes of one
 * instance run one after the other, each on the row the one before left.
 */
import { Fault, isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import type { InstanceRow, ProfileRow, StringMap } from '../db/rows.ts';
import type { Database } from '../db/store.ts';
import { expandRow } from '../profiles/expand.ts';
import type { ProfileStore } from '../profiles/store.ts';
import type { ProfileKey, ProfiledInstances, RenameStep } from '../profiles/types.ts';
import type { ProjectNames } from '../projects/types.ts';
import { SharedGate } from './store-gate.ts';
import type { Expanded } from './types.ts';

export interface InstanceStoreParts {
  readonly database: Database;
  readonly profiles: ProfileStore;
  readonly projects: ProjectNames;
  readonly log: Log;
}

/** Reads all rows. */
export async function openInstanceStore(parts: InstanceStoreParts): Promise<ProfiledInstances> {
  return new Store(parts, await parts.database.tables.instances.all());
}

class Store implements ProfiledInstances {
  private readonly parts: InstanceStoreParts;
  private readonly rows = new Map<string, InstanceRow>();
  private readonly ids = new Map<string, string>();
  private readonly lanes = new Lanes();
  private readonly gate = new SharedGate();
  /** Rows on their way to the database: their profiles are in use already. */
  private readonly pending = new Set<InstanceRow>();
  /** Rows of which the database may hold another version, because an answer was lost. */
  private readonly unsure = new Set<string>();
  private readonly expanded = new WeakMap<
    InstanceRow,
    { readonly generation: number; readonly value: Expanded }
  >();
  private sorted: readonly InstanceRow[] | null = null;

  constructor(parts: InstanceStoreParts, rows: readonly InstanceRow[]) {
    this.parts = parts;
    for (const row of rows) this.put(freezeRow(row));
  }

  byName(project: string, name: string): InstanceRow {
    const id = this.ids.get(nameKey(project, name));
    const row = id === undefined ? undefined : this.rows.get(id);
    if (row === undefined || row.phase === 'creating') throw missing();
    return row;
  }

  byId(id: string): InstanceRow {
    const row = this.rows.get(id);
    if (row === undefined) throw missing();
    return row;
  }

  /** Also while the instance is being created: the name is taken. */
  has(project: string, name: string): boolean {
    return this.ids.has(nameKey(project, name));
  }

  /** By project and name, those being created or deleted among them. */
  list(project?: string): InstanceRow[] {
    this.sorted ??= [...this.rows.values()].sort(byProjectAndName);
    return this.sorted.filter((row) => project === undefined || row.project === project);
  }

  insert(row: InstanceRow): Promise<void> {
    const made = freezeRow(row);
    return this.inLane(row.id, async () => {
      if (this.has(made.project, made.name)) throw taken(made.name);
      await this.write(made, () => this.parts.database.tables.instances.insert(made));
    });
  }

  change(id: string, changes: Partial<Omit<InstanceRow, 'id'>>): Promise<InstanceRow> {
    return this.inLane(id, () => this.changeNow(this.byId(id), changes));
  }

  setConfig(id: string, changes: Readonly<Record<string, string | null>>): Promise<InstanceRow> {
    return this.inLane(id, () => {
      const row = this.byId(id);
      const config = mergeConfig(row.config, changes);
      return config === null ? Promise.resolve(row) : this.changeNow(row, { config });
    });
  }

  remove(id: string): Promise<void> {
    return this.inLane(id, async () => {
      await this.parts.database.tables.instances.remove({ id });
      const row = this.rows.get(id);
      if (row !== undefined) this.drop(row);
      this.unsure.delete(id);
    });
  }

  /** Fault bad_request when a row that is not stored yet names an unknown profile. */
  expand(row: InstanceRow): Expanded {
    const { generation } = this.parts.profiles;
    const known = this.expanded.get(row);
    if (known?.generation === generation) return known.value;
    const value = expandRow(row, this.profilesOf(row));
    if (Object.isFrozen(row)) this.expanded.set(row, { generation, value });
    return value;
  }

  expandWith(row: InstanceRow, profile: ProfileRow): Expanded {
    const isIt = (other: ProfileRow) => other.name === profile.name && other.project === profile.project;
    return expandRow(
      row,
      this.profilesOf(row).map((other) => (isIt(other) ? profile : other)),
    );
  }

  usersOf(profile: ProfileKey): InstanceRow[] {
    return this.list().filter((row) => this.uses(row, profile));
  }

  isProfileUsed(profile: ProfileKey): boolean {
    return [...this.rows.values(), ...this.pending].some((row) => this.uses(row, profile));
  }

  isProjectUsed(project: string): boolean {
    return [...this.rows.values(), ...this.pending].some((row) => row.project === project);
  }

  renameProfile(profile: ProfileKey, name: string, save: RenameStep): Promise<void> {
    return this.gate.alone(async () => {
      const rename = (used: string) => (used === profile.name ? name : used);
      const next = this.usersOf(profile).map((row) =>
        freezeRow({ ...row, profiles: row.profiles.map(rename) }),
      );
      await this.parts.database.transaction(async (tables) => {
        await save.write(tables);
        for (const row of next) await tables.instances.update({ id: row.id }, { profiles: row.profiles });
      });
      save.done();
      for (const row of next) this.put(row);
    });
  }

  private inLane<T>(id: string, work: () => Promise<T>): Promise<T> {
    return this.gate.shared(() => this.lanes.run(id, work));
  }

  private async changeNow(row: InstanceRow, changes: Partial<Omit<InstanceRow, 'id'>>): Promise<InstanceRow> {
    const differing = onlyDifferences(row, changes);
    const sure = !this.unsure.has(row.id);
    if (sure && Object.keys(differing).length === 0) return row;
    const next = freezeRow({ ...row, ...differing });
    const isRenamed = next.name !== row.name || next.project !== row.project;
    if (isRenamed && this.has(next.project, next.name)) throw taken(next.name);
    // After a lost answer the whole row is written, so that memory and database meet again.
    const fields = sure ? pick(next, Object.keys(differing)) : next;
    await this.write(next, () => this.parts.database.tables.instances.update({ id: row.id }, fields));
    return next;
  }

  private async write(next: InstanceRow, act: () => Promise<void>): Promise<void> {
    for (const name of this.newProfiles(next)) {
      this.parts.profiles.forUse({ project: this.profileProject(next), name });
    }
    this.pending.add(next);
    try {
      await act();
      this.unsure.delete(next.id);
      this.put(next);
    } catch (err) {
      if (isFault(err, 'already_exists')) throw taken(next.name);
      if (this.rows.has(next.id)) this.unsure.add(next.id);
      throw err;
    } finally {
      this.pending.delete(next);
    }
  }

  /** Profiles the stored row does not use yet. */
  private newProfiles(next: InstanceRow): readonly string[] {
    const before = this.rows.get(next.id);
    return before?.project === next.project
      ? next.profiles.filter((name) => !before.profiles.includes(name))
      : next.profiles;
  }

  private profilesOf(row: InstanceRow): ProfileRow[] {
    const project = this.profileProject(row);
    const isStored = this.rows.get(row.id) === row;
    const found: ProfileRow[] = [];
    for (const name of row.profiles) {
      const profile = isStored
        ? this.parts.profiles.find({ project, name })
        : this.parts.profiles.forUse({ project, name });
      if (profile !== undefined) found.push(profile);
      else
        this.parts.log.warn('instance names a profile that is missing', {
          instance: row.name,
          profile: name,
        });
    }
    return found;
  }

  private uses(row: InstanceRow, profile: ProfileKey): boolean {
    return row.profiles.includes(profile.name) && this.profileProject(row) === profile.project;
  }

  private profileProject(row: InstanceRow): string {
    const { projects } = this.parts;
    // A stored row may be left from a project that is gone; it must not take every list down.
    const isOrphan = this.rows.get(row.id) === row && !projects.exists(row.project);
    return isOrphan ? row.project : projects.resolve('profiles', row.project);
  }

  private put(row: InstanceRow): void {
    const before = this.rows.get(row.id);
    if (before !== undefined) this.drop(before);
    this.rows.set(row.id, row);
    this.ids.set(nameKey(row.project, row.name), row.id);
    this.sorted = null;
  }

  private drop(row: InstanceRow): void {
    this.rows.delete(row.id);
    this.ids.delete(nameKey(row.project, row.name));
    this.sorted = null;
  }
}

function missing(): Fault {
  return new Fault('not_found', 'Instance not found');
}

function taken(name: string): Fault {
  return new Fault('already_exists', `Instance "${name}" already exists`);
}

/** Neither part may hold a `/`. */
function nameKey(project: string, name: string): string {
  return `${project}/${name}`;
}

function byProjectAndName(a: InstanceRow, b: InstanceRow): number {
  return nameKey(a.project, a.name) < nameKey(b.project, b.name) ? -1 : 1;
}

/** null when the changes change nothing. */
function mergeConfig(config: StringMap, changes: Readonly<Record<string, string | null>>): StringMap | null {
  const merged = new Map(Object.entries(config));
  let isChanged = false;
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) isChanged = merged.delete(key) || isChanged;
    else if (merged.get(key) !== value) {
      merged.set(key, value);
      isChanged = true;
    }
  }
  return isChanged ? Object.fromEntries(merged) : null;
}

type Changes = Partial<Omit<InstanceRow, 'id'>>;

function onlyDifferences(row: InstanceRow, changes: Changes): Changes {
  const before = new Map<string, unknown>(Object.entries(row));
  const differing = Object.entries(changes).filter(([field, value]) => value !== before.get(field));
  return Object.fromEntries(differing);
}

function pick(row: InstanceRow, fields: readonly string[]): Changes {
  return Object.fromEntries(Object.entries(row).filter(([field]) => fields.includes(field)));
}

/** A frozen copy, all the way down; parts that are frozen already are shared. */
function freezeRow(row: InstanceRow): InstanceRow {
  const devices = Object.entries(row.devices).map(([name, device]) => [name, frozen(device)] as const);
  return Object.freeze({
    ...row,
    profiles: Object.isFrozen(row.profiles) ? row.profiles : Object.freeze([...row.profiles]),
    config: frozen(row.config),
    devices: Object.isFrozen(row.devices) ? row.devices : Object.freeze(Object.fromEntries(devices)),
  });
}

function frozen(map: StringMap): StringMap {
  return Object.isFrozen(map) ? map : Object.freeze({ ...map });
}
