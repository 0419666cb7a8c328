/** Images may name the profiles of instances made from them: those names follow the profiles. */
import type { ImageRow } from '../db/rows.ts';
import type { ProjectNames } from '../projects/types.ts';
import type { ProfileFollower, ProfileKey } from './types.ts';

export interface ImageRowsWithProfiles {
  all(): readonly ImageRow[];
  change(row: ImageRow, changes: { readonly profiles: readonly string[] }): Promise<unknown>;
}

export function imageProfiles(images: ImageRowsWithProfiles, projects: ProjectNames): ProfileFollower {
  const edit = async (key: ProfileKey, next: (names: readonly string[]) => readonly string[]) => {
    for (const row of images.all()) {
      if (row.profiles?.includes(key.name) !== true) continue;
      if (projects.resolve('profiles', row.project) !== key.project) continue;
      await images.change(row, { profiles: next(row.profiles) });
    }
  };
  return {
    profileRenamed: (key, to) => edit(key, (names) => names.map((name) => (name === key.name ? to : name))),
    profileRemoved: (key) => edit(key, (names) => names.filter((name) => name !== key.name)),
  };
}
