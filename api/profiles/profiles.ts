/** The verbs of profiles. A change reaches every instance that uses the profile. */
import { Fault, isFault } from '../../process/fault.ts';
import type { FaultCode } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Lanes } from '../../process/lanes.ts';
import type { InstanceRow, ProfileRow } from '../db/rows.ts';
import type { Events, Requestor } from '../events/events.ts';
import { clientText } from '../error-text.ts';
import type { ProjectNames } from '../projects/types.ts';
import { checkProfileName, replaced } from './definition.ts';
import type { GivenDefinition, ProfileDefinition } from './definition.ts';
import { DEFAULT_PROFILE, taken } from './store.ts';
import type { ProfileStore } from './store.ts';
import type { ProfileFollower, ProfileHooks, ProfileKey, ProfiledInstances } from './types.ts';

/** Instances that are brought to a changed profile at the same time. */
const SIDE_BY_SIDE = 8;

export interface ProfileParts {
  readonly store: ProfileStore;
  readonly projects: ProjectNames;
  readonly instances: ProfiledInstances;
  readonly hooks: ProfileHooks;
  readonly events: Events;
  readonly followers?: readonly ProfileFollower[];
}

interface Failure {
  readonly row: InstanceRow;
  readonly error: unknown;
}

export class Profiles {
  private readonly parts: ProfileParts;
  private readonly lanes = new Lanes();

  constructor(parts: ProfileParts) {
    this.parts = parts;
  }

  /** The project whose profiles are used. Fault not_found for an unknown project. */
  projectFor(project: string): string {
    return this.parts.projects.resolve('profiles', project);
  }

  list(project: string): ProfileRow[] {
    return this.parts.store.list(project);
  }

  /** Fault not_found. */
  get(key: ProfileKey): ProfileRow {
    return this.parts.store.get(key);
  }

  usersOf(key: ProfileKey): InstanceRow[] {
    return this.parts.instances.usersOf(key);
  }

  /** Faults: already_exists, bad_request. */
  async create(key: ProfileKey, given: GivenDefinition, requestor: Requestor): Promise<void> {
    checkProfileName(key.name);
    const { store, hooks } = this.parts;
    if (store.find(key) !== undefined) throw taken(key.name);
    const definition = replaced(given);
    hooks.validateProfile(definition.config, definition.devices);
    await store.insert({ ...definition, project: key.project, name: key.name });
    this.tell('profile-created', key, requestor);
  }

  /**
   * `next` is asked inside the profile's lane and may refuse (an entity tag).
   * Every user is checked before anything is changed; then the profile is
   * saved and each user is brought to it. A Fault names those that could not be.
   */
  update(key: ProfileKey, next: (row: ProfileRow) => ProfileDefinition, requestor: Requestor): Promise<void> {
    return this.inLane(key, async () => {
      const before = this.get(key);
      const after: ProfileRow = { ...before, ...next(before) };
      this.parts.hooks.validateProfile(after.config, after.devices);
      const users = sameForUsers(before, after) ? [] : this.usersOf(key);
      for (const row of users) this.checkUser(row, after);
      const { hooks, instances, store } = this.parts;
      const views = users.map((row) => ({
        before: instances.expandWith(row, before),
        after: instances.expandWith(row, after),
      }));
      const forget = await hooks.noteUsers(views);
      faultPoint('profile.noted');
      await store.update(after).catch(async (err: unknown) => {
        await forget();
        throw err;
      });
      faultPoint('profile.stored');
      const failures = await this.applyToAll(users, before, after);
      this.tell('profile-updated', key, requestor);
      if (failures.length > 0) throw failedUsers(failures);
    });
  }

  /** Faults: forbidden for `default`, already_exists. */
  rename(key: ProfileKey, name: string, requestor: Requestor): Promise<void> {
    return this.inLane(key, async () => {
      const { store, instances } = this.parts;
      this.get(key);
      refuseDefault(key, 'renamed');
      checkProfileName(name);
      const inUse = new Fault('already_exists', `Name ${JSON.stringify(name)} already in use`);
      if (store.find({ project: key.project, name }) !== undefined) throw inUse;
      try {
        await instances.renameProfile(key, name, {
          write: (tables) => store.writeRename(tables, key, name),
          done: () => {
            store.renamed(key, name);
          },
        });
      } catch (err) {
        throw isFault(err, 'already_exists') ? inUse : err;
      }
      for (const follower of this.followers()) await follower.profileRenamed(key, name);
      this.tell('profile-renamed', { ...key, name }, requestor, { old_name: key.name });
    });
  }

  /** Faults: forbidden for `default`, bad_request while instances use it. */
  remove(key: ProfileKey, requestor: Requestor): Promise<void> {
    return this.inLane(key, async () => {
      this.get(key);
      refuseDefault(key, 'deleted');
      await this.parts.store.remove(key, () => {
        if (this.parts.instances.isProfileUsed(key))
          throw new Fault('bad_request', 'Profile is currently in use');
      });
      for (const follower of this.followers()) await follower.profileRemoved(key);
      this.tell('profile-deleted', key, requestor);
    });
  }

  private followers(): readonly ProfileFollower[] {
    return this.parts.followers ?? [];
  }

  private checkUser(row: InstanceRow, after: ProfileRow): void {
    try {
      this.parts.hooks.validateUser(this.parts.instances.expandWith(row, after));
    } catch (cause) {
      const text = `change profile "${after.name}": instance "${row.name}" of project "${row.project}" could not take it`;
      throw isFault(cause) ? new Fault(cause.code, text, { cause }) : cause;
    }
  }

  private async applyToAll(
    users: readonly InstanceRow[],
    before: ProfileRow,
    after: ProfileRow,
  ): Promise<Failure[]> {
    const failures: Failure[] = [];
    const waiting = [...users];
    const worker = async () => {
      for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) {
        try {
          await this.applyToOne(row.id, before, after);
        } catch (error) {
          failures.push({ row, error });
        }
      }
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
    return failures;
  }

  private async applyToOne(id: string, before: ProfileRow, after: ProfileRow): Promise<void> {
    const { hooks, instances } = this.parts;
    await hooks.applyToUser(id, () => {
      const row = instances.byId(id);
      return { before: instances.expandWith(row, before), after: instances.expandWith(row, after) };
    });
    faultPoint('profile.followed');
  }

  private tell(
    action: string,
    key: ProfileKey,
    requestor: Requestor,
    context?: Readonly<Record<string, unknown>>,
  ): void {
    this.parts.events.lifecycle(action, profileUrl(key), {
      project: key.project,
      requestor,
      ...(context === undefined ? {} : { context }),
    });
  }

  private inLane<T>(key: ProfileKey, work: () => Promise<T>): Promise<T> {
    return this.lanes.run(`${key.project}/${key.name}`, work);
  }
}

export function profileUrl(key: ProfileKey): string {
  const query = key.project === 'default' ? '' : `?project=${encodeURIComponent(key.project)}`;
  return `/1.0/profiles/${encodeURIComponent(key.name)}${query}`;
}

function refuseDefault(key: ProfileKey, verb: string): void {
  if (key.name === DEFAULT_PROFILE) {
    throw new Fault('forbidden', `The "default" profile cannot be ${verb}`);
  }
}

/** Only the description differs. */
function sameForUsers(before: ProfileRow, after: ProfileRow): boolean {
  const text = (row: ProfileRow) => JSON.stringify([row.config, row.devices]);
  return text(before) === text(after);
}

/** LXD's words. The status is that of the first failure. */
function failedUsers(failures: readonly Failure[]): Fault {
  const lines = failures.map(
    ({ row, error }) => ` - Project: ${row.project}, Instance: ${row.name}: ${clientText(error)}`,
  );
  const first = failures[0]?.error;
  const code: FaultCode = isFault(first) ? first.code : 'internal';
  const text = `The following instances failed to update (profile change still saved):\n${lines.join('\n')}`;
  return new Fault(code, text, isFault(first) ? {} : { cause: first });
}
