/** The projects, in memory; every change is written to the database first. */
import { Fault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { ProjectRow } from '../db/rows.ts';
import type { Database, Tables } from '../db/store.ts';
import type { ProjectKind, ProjectNames } from './types.ts';

export const DEFAULT_PROJECT = 'default';

/** Which key decides whether a project has its own objects of a kind; null: always its own. */
const FEATURE: Readonly<Record<ProjectKind, string | null>> = {
  images: 'features.images',
  profiles: 'features.profiles',
  networks: 'features.networks',
  volumes: 'features.storage.volumes',
  instances: null,
};

/** Reads all projects; the first time, makes `default`. */
export async function openProjectStore(database: Database): Promise<ProjectStore> {
  const rows = await database.tables.projects.all();
  if (!rows.some((row) => row.name === DEFAULT_PROJECT)) {
    const row: ProjectRow = {
      name: DEFAULT_PROJECT,
      description: 'Default LXD project',
      config: {
        'features.images': 'true',
        'features.networks': 'true',
        'features.profiles': 'true',
        'features.storage.volumes': 'true',
      },
    };
    await database.tables.projects.insert(row);
    rows.push(row);
  }
  return new ProjectStore(database, rows);
}

export class ProjectStore implements ProjectNames {
  private readonly database: Database;
  private readonly rows = new Map<string, ProjectRow>();
  /** Projects being made, renamed or removed: one change at a time for each name. */
  private readonly lanes = new Lanes();
  /** Being renamed or removed: nothing new may come in. */
  private readonly leaving = new Set<string>();

  constructor(database: Database, rows: readonly ProjectRow[]) {
    this.database = database;
    for (const row of rows) this.rows.set(row.name, freeze(row));
  }

  exists(name: string): boolean {
    return this.rows.has(name);
  }

  get(name: string): ProjectRow {
    const row = this.rows.get(name);
    if (row === undefined) throw new Fault('not_found', 'Project not found');
    return row;
  }

  list(): ProjectRow[] {
    return [...this.rows.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  resolve(kind: ProjectKind, project: string): string {
    const feature = FEATURE[kind];
    const row = this.get(project);
    if (this.leaving.has(project)) throw new Fault('not_found', 'Project not found');
    return feature === null || row.config[feature] === 'true' ? project : DEFAULT_PROJECT;
  }

  /** `more` is written in the same transaction. Fault already_exists. */
  async insert(row: ProjectRow, more: Step): Promise<void> {
    await this.lanes.run('', async () => {
      await this.database.transaction(async (tables) => {
        await tables.projects.insert(row);
        await more(tables);
      });
      this.rows.set(row.name, freeze(row));
    });
  }

  /** `next` gets the row as it is when its turn comes. Fault not_found, and what `next` throws. */
  async change(name: string, next: (row: ProjectRow) => Promise<ProjectChange>): Promise<void> {
    await this.lanes.run('', async () => {
      const { definition, more, done } = await next(this.get(name));
      const row = freeze({ name, description: definition.description, config: definition.config });
      await this.database.transaction(async (tables) => {
        await tables.projects.update({ name }, { description: row.description, config: row.config });
        await more(tables);
      });
      this.rows.set(name, row);
      done();
    });
  }

  /** `mayGo` is asked when nothing can come into the project any more; what it throws keeps the project. */
  async rename(name: string, to: string, mayGo: () => Promise<void>, more: Step): Promise<void> {
    await this.leave(name, mayGo, async () => {
      const row = freeze({ ...this.get(name), name: to });
      await this.database.transaction(async (tables) => {
        await tables.projects.update({ name }, { name: to });
        await more(tables);
      });
      this.rows.delete(name);
      this.rows.set(to, row);
    });
  }

  async remove(name: string, mayGo: () => Promise<void>, more: Step): Promise<void> {
    await this.leave(name, mayGo, async () => {
      await this.database.transaction(async (tables) => {
        await tables.projects.remove({ name });
        await more(tables);
      });
      this.rows.delete(name);
    });
  }

  private async leave(name: string, mayGo: () => Promise<void>, work: () => Promise<void>): Promise<void> {
    await this.lanes.run('', async () => {
      this.leaving.add(name);
      try {
        await mayGo();
        await work();
      } finally {
        this.leaving.delete(name);
      }
    });
  }
}

/** What else is written in the same transaction. */
type Step = (tables: Tables) => Promise<void>;

export interface ProjectChange {
  readonly definition: Omit<ProjectRow, 'name'>;
  readonly more: Step;
  /** Called when it is on disk. */
  readonly done: () => void;
}

function freeze(row: ProjectRow): ProjectRow {
  return Object.freeze({ ...row, config: Object.freeze({ ...row.config }) });
}
