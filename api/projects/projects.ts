/** The verbs of projects. Only an empty project can be renamed, removed or get other features. */
import { Fault, isFault } from '../../process/fault.ts';
import type { ImageRow, ProfileRow, ProjectRow } from '../db/rows.ts';
import type { Database, Tables } from '../db/store.ts';
import type { Events, Requestor } from '../events/events.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import { profileUrl } from '../profiles/profiles.ts';
import { DEFAULT_PROFILE } from '../profiles/store.ts';
import type { ProfileStore } from '../profiles/store.ts';
import type { ProfiledInstances } from '../profiles/types.ts';
import type { ProjectStateWire } from '../wire/projects.ts';
import { checkProjectName, featuresDiffer, hasOwnProfiles, newProject, refuseDefault } from './definition.ts';
import type { GivenProject, ProjectDefinition } from './definition.ts';
import { projectState } from './state.ts';
import { DEFAULT_PROJECT } from './store.ts';
import type { ProjectChange, ProjectStore } from './store.ts';
import type { ProjectFollower } from './types.ts';

export interface ProjectParts {
  readonly database: Database;
  readonly store: ProjectStore;
  readonly profiles: ProfileStore;
  readonly instances: ProfiledInstances;
  readonly followers: readonly ProjectFollower[];
  readonly events: Events;
}

export class Projects {
  private readonly parts: ProjectParts;

  constructor(parts: ProjectParts) {
    this.parts = parts;
  }

  list(): ProjectRow[] {
    return this.parts.store.list();
  }

  /** Fault not_found. */
  get(name: string): ProjectRow {
    return this.parts.store.get(name);
  }

  /** URLs of instances, profiles and images that are in the project, for each name. */
  async usedBy(names: readonly string[]): Promise<Map<string, string[]>> {
    const images = await this.parts.database.tables.images.all();
    return new Map(names.map((name) => [name, this.urlsIn(name, images)]));
  }

  async state(name: string): Promise<ProjectStateWire> {
    const { database, instances } = this.parts;
    this.get(name);
    const networks = name === DEFAULT_PROJECT ? (await database.tables.networks.all()).length : 0;
    return projectState(
      instances.list(name).map((row) => instances.expand(row)),
      networks,
    );
  }

  /** Faults: already_exists, bad_request. */
  async create(name: string, given: GivenProject, requestor: Requestor): Promise<void> {
    checkProjectName(name);
    const row: ProjectRow = { ...newProject(given), name };
    const profiles = hasOwnProfiles(row.config) ? [emptyDefault(name)] : [];
    try {
      await this.parts.store.insert(row, (tables) => insertAll(tables, profiles));
    } catch (err) {
      throw isFault(err, 'already_exists') ? taken(name) : err;
    }
    this.parts.profiles.adopt(name, profiles);
    this.tell('project-created', name, requestor);
  }

  /** `next` is asked when nothing else changes projects, and may refuse (an entity tag). */
  async update(
    name: string,
    next: (row: ProjectRow) => ProjectDefinition,
    requestor: Requestor,
  ): Promise<void> {
    const { store, profiles } = this.parts;
    await store.change(name, async (row) => {
      const definition = next(row);
      if (!featuresDiffer(row.config, definition.config)) return unchangedFeatures(definition);
      if (name === DEFAULT_PROJECT) {
        throw new Fault('bad_request', "You can't change the features of the default project");
      }
      await this.refuseUsed(name, 'Features can only be changed on empty projects');
      const before = profiles.list(name);
      const after = hasOwnProfiles(definition.config) ? [before[0] ?? emptyDefault(name)] : [];
      return {
        definition,
        more: async (tables) => {
          for (const old of before) await tables.profiles.remove({ project: name, name: old.name });
          await insertAll(tables, after);
        },
        done: () => {
          profiles.adopt(name, after);
        },
      };
    });
    this.tell('project-updated', name, requestor);
  }

  /** What can be said against a rename before it begins. */
  async checkRename(name: string, to: string): Promise<void> {
    const { store } = this.parts;
    store.get(name);
    refuseDefault(name, 'renamed');
    checkProjectName(to);
    if (store.exists(to)) throw renameTaken(to);
    await this.refuseUsed(name, 'Only empty projects can be renamed');
  }

  async rename(name: string, to: string, requestor: Requestor): Promise<void> {
    const { store, profiles, followers } = this.parts;
    const moved = profiles.list(name).map((row) => ({ ...row, project: to }));
    await store.rename(
      name,
      to,
      () => this.checkRename(name, to),
      async (tables) => {
        for (const row of moved) {
          await tables.profiles.update({ project: name, name: row.name }, { project: to });
        }
      },
    );
    profiles.adopt(name, []);
    profiles.adopt(to, moved);
    for (const follower of followers) await follower.projectRenamed(name, to);
    this.tell('project-renamed', to, requestor, { old_name: name });
  }

  async remove(name: string, requestor: Requestor): Promise<void> {
    const { store, profiles, followers } = this.parts;
    store.get(name);
    refuseDefault(name, 'deleted');
    const old = profiles.list(name);
    await store.remove(
      name,
      () => this.refuseUsed(name, 'Only empty projects can be removed'),
      async (tables) => {
        for (const row of old) await tables.profiles.remove({ project: name, name: row.name });
      },
    );
    profiles.adopt(name, []);
    for (const follower of followers) await follower.projectRemoved(name);
    this.tell('project-deleted', name, requestor);
  }

  /** The profile `default` does not count: it comes and goes with the project. */
  private async refuseUsed(name: string, text: string): Promise<void> {
    const own = profileUrl({ project: name, name: DEFAULT_PROFILE });
    const urls = (await this.usedBy([name])).get(name) ?? [];
    const isUsed = urls.some((url) => url !== own) || this.parts.instances.isProjectUsed(name);
    if (isUsed) throw new Fault('bad_request', text);
  }

  private urlsIn(project: string, images: readonly ImageRow[]): string[] {
    const query = project === DEFAULT_PROJECT ? '' : `?project=${encodeURIComponent(project)}`;
    const own = images.filter((row) => row.project === project);
    return [
      ...this.parts.instances.list(project).map((row) => instanceUrl(row)),
      ...this.parts.profiles.list(project).map(profileUrl),
      ...own.map((row) => `/1.0/images/${row.fingerprint}${query}`),
    ];
  }

  private tell(
    action: string,
    name: string,
    requestor: Requestor,
    context?: Readonly<Record<string, unknown>>,
  ): void {
    this.parts.events.lifecycle(action, projectUrl(name), {
      project: name,
      requestor,
      ...(context === undefined ? {} : { context }),
    });
  }
}

export function projectUrl(name: string): string {
  return `/1.0/projects/${encodeURIComponent(name)}`;
}

function unchangedFeatures(definition: ProjectDefinition): ProjectChange {
  return { definition, more: () => Promise.resolve(), done: () => undefined };
}

async function insertAll(tables: Tables, profiles: readonly ProfileRow[]): Promise<void> {
  for (const row of profiles) await tables.profiles.insert(row);
}

function emptyDefault(project: string): ProfileRow {
  const description = `Default LXD profile for project ${project}`;
  return { project, name: DEFAULT_PROFILE, description, config: {}, devices: {} };
}

function taken(name: string): Fault {
  return new Fault('already_exists', `Project "${name}" already exists`);
}

function renameTaken(name: string): Fault {
  return new Fault('already_exists', `A project named "${name}" already exists`);
}
