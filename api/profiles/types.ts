/** What profiles and instances need of each other. */
import type { DeviceMap, InstanceRow, ProfileRow, StringMap } from '../db/rows.ts';
import type { Tables } from '../db/store.ts';
import type { Expanded, InstanceStore } from '../instances/types.ts';

export interface ProfileKey {
  /** The project the profile lives in: `Projects.resolve('profiles', …)`. */
  readonly project: string;
  readonly name: string;
}

/** Implemented by the instances side; `profiles.ts` calls it when a profile is made or changed. */
export interface ProfileHooks {
  /**
   * Fault `bad_request` for keys, values and devices that no instance could
   * take from a profile. No side effects.
   */
  validateProfile(config: StringMap, devices: DeviceMap): void;
  /** Fault `bad_request` when this instance could not live with the definition. No side effects. */
  validateUser(next: Expanded): void;
  /**
   * Notes, before the profile is saved, what these instances are: a start of the
   * daemon finishes what it finds noted. Returns what forgets the notes.
   */
  noteUsers(
    users: readonly { readonly before: Expanded; readonly after: Expanded }[],
  ): Promise<() => Promise<void>>;
  /**
   * Brings one instance, running or not, from the old profile to the new one,
   * which has been saved. Takes the instance's lane itself and calls `views`
   * inside it: they show the row as it is then, with the old and the new profile.
   * Harmless when the instance is gone meanwhile. Its note is gone afterwards.
   */
  applyToUser(
    id: string,
    views: () => { readonly before: Expanded; readonly after: Expanded },
  ): Promise<void>;
}

/** The instance store as `profiles.ts` sees it. */
export interface ProfiledInstances extends InstanceStore {
  /** Rows, being created or not, that name the profile. */
  usersOf(profile: ProfileKey): InstanceRow[];
  /** True also when an instance that names it is on its way to the database. */
  isProfileUsed(profile: ProfileKey): boolean;
  /** As expand(), with this profile in place of the saved one of the same name. */
  expandWith(row: InstanceRow, profile: ProfileRow): Expanded;
  /** True when an instance is in the project or on its way into it. */
  isProjectUsed(project: string): boolean;
  /** Changes the name in every row that uses the profile, in one transaction with `save`. */
  renameProfile(profile: ProfileKey, name: string, save: RenameStep): Promise<void>;
}

/** `write` is done in the transaction with the tables given; `done` when it is on disk. */
export interface RenameStep {
  write(tables: Tables): Promise<void>;
  done(): void;
}

/** Something besides instances that names profiles (images). Called after the change is saved. */
export interface ProfileFollower {
  profileRenamed(profile: ProfileKey, to: string): Promise<void>;
  profileRemoved(profile: ProfileKey): Promise<void>;
}
