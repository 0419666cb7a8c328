/** The rows of images and their aliases: in the database, and in memory for every reader. */
import { Fault } from '../../process/fault.ts';
import type { Database } from '../db/store.ts';
import type { AliasRow, ImageRow } from '../db/rows.ts';

/** Neither part can hold a line end. */
function keyOf(project: string, name: string): string {
  return `${project}\n${name}`;
}

export async function openImageRows(database: Database): Promise<ImageRows> {
  const rows = new ImageRows(database);
  await rows.load();
  return rows;
}

/** Every change is on disk before readers see it. */
export class ImageRows {
  private readonly database: Database;
  private readonly images = new Map<string, ImageRow>();
  private readonly aliases = new Map<string, AliasRow>();

  constructor(database: Database) {
    this.database = database;
  }

  async load(): Promise<void> {
    for (const row of await this.database.tables.images.all()) {
      this.images.set(keyOf(row.project, row.fingerprint), row);
    }
    for (const row of await this.database.tables.aliases.all()) {
      this.aliases.set(keyOf(row.project, row.name), row);
    }
  }

  all(): ImageRow[] {
    return [...this.images.values()];
  }

  list(project: string): ImageRow[] {
    return this.all().filter((row) => row.project === project);
  }

  has(project: string, fingerprint: string): boolean {
    return this.images.has(keyOf(project, fingerprint));
  }

  /** True when the image is known in some project: its files are shared by all. */
  isKnown(fingerprint: string): boolean {
    return this.all().some((row) => row.fingerprint === fingerprint);
  }

  /** By fingerprint or a prefix of it. Fault not_found, or bad_request when it is the prefix of several. */
  byPrefix(project: string, prefix: string, isVisible: (row: ImageRow) => boolean = () => true): ImageRow {
    const exact = this.images.get(keyOf(project, prefix));
    if (exact !== undefined && isVisible(exact)) return exact;
    const wanted = prefix.toLowerCase();
    const found = /^[0-9a-f]{1,64}$/.test(wanted)
      ? this.list(project).filter((row) => row.fingerprint.startsWith(wanted) && isVisible(row))
      : [];
    const [first] = found;
    if (first === undefined) throw new Fault('not_found', 'Image not found');
    if (found.length > 1) throw new Fault('bad_request', 'More than one image matches');
    return first;
  }

  aliasList(project: string): AliasRow[] {
    return [...this.aliases.values()].filter((row) => row.project === project);
  }

  aliasesOf(row: ImageRow): AliasRow[] {
    return this.aliasList(row.project).filter((alias) => alias.target === row.fingerprint);
  }

  findAlias(project: string, name: string): AliasRow | undefined {
    return this.aliases.get(keyOf(project, name));
  }

  /** Fault not_found with LXD's text. */
  alias(project: string, name: string): AliasRow {
    const row = this.findAlias(project, name);
    if (row === undefined) throw new Fault('not_found', 'Image alias not found');
    return row;
  }

  /** An image with its first aliases, all or nothing. */
  async insert(row: ImageRow, aliases: readonly AliasRow[]): Promise<void> {
    await this.database.transaction(async (tables) => {
      await tables.images.insert(row);
      for (const alias of aliases) await tables.aliases.insert(alias);
    });
    this.images.set(keyOf(row.project, row.fingerprint), row);
    for (const alias of aliases) this.aliases.set(keyOf(alias.project, alias.name), alias);
  }

  async change(row: ImageRow, changes: Partial<ImageRow>): Promise<ImageRow> {
    const { project, fingerprint } = row;
    await this.database.tables.images.update({ project, fingerprint }, changes);
    return this.note(row, changes);
  }

  /** A change that readers see at once and that may be lost in a crash (times of use). */
  note(row: ImageRow, changes: Partial<ImageRow>): ImageRow {
    const key = keyOf(row.project, row.fingerprint);
    const changed = { ...(this.images.get(key) ?? row), ...changes };
    if (this.images.has(key)) this.images.set(key, changed);
    return changed;
  }

  /** With its aliases. */
  async remove(row: ImageRow): Promise<void> {
    const { project, fingerprint } = row;
    const aliases = this.aliasesOf(row);
    await this.database.transaction(async (tables) => {
      for (const alias of aliases) await tables.aliases.remove({ project, name: alias.name });
      await tables.images.remove({ project, fingerprint });
    });
    for (const alias of aliases) this.aliases.delete(keyOf(project, alias.name));
    this.images.delete(keyOf(project, fingerprint));
  }

  async insertAlias(row: AliasRow): Promise<void> {
    if (this.findAlias(row.project, row.name) !== undefined) throw aliasTaken(row.name);
    await this.database.tables.aliases.insert(row);
    this.aliases.set(keyOf(row.project, row.name), row);
  }

  async changeAlias(row: AliasRow, changes: Partial<AliasRow>): Promise<AliasRow> {
    const { project, name } = row;
    const changed = { ...row, ...changes };
    if (changed.name !== name && this.findAlias(project, changed.name) !== undefined)
      throw aliasTaken(changed.name);
    await this.database.tables.aliases.update({ project, name }, changes);
    this.aliases.delete(keyOf(project, name));
    this.aliases.set(keyOf(project, changed.name), changed);
    return changed;
  }

  async removeAlias(row: AliasRow): Promise<void> {
    await this.database.tables.aliases.remove({ project: row.project, name: row.name });
    this.aliases.delete(keyOf(row.project, row.name));
  }
}

export function aliasTaken(name: string): Fault {
  return new Fault('already_exists', `Alias "${name}" already exists`);
}
