/** What the rest of the daemon sees of projects. `store.ts` implements it. */
import type { ProjectRow } from '../db/rows.ts';

export type ProjectKind = 'images' | 'profiles' | 'networks' | 'instances' | 'volumes';

export interface ProjectNames {
  exists(name: string): boolean;
  /** Fault not_found "Project not found". */
  get(name: string): ProjectRow;
  list(): ProjectRow[];
  /**
   * The project whose objects of this kind are used: the project itself, or
   * `default` when its `features.*` key is off. Fault not_found for an unknown project.
   */
  resolve(kind: ProjectKind, project: string): string;
}

/**
 * Something that lives in projects and has URLs: instances, images, profiles.
 * Given to `projects.ts` for `used_by` and for telling an empty project.
 */
export interface ProjectContent {
  /** URLs of what is in the project, such as `/1.0/instances/c1?project=p1`. */
  usedBy(project: string): Promise<readonly string[]> | readonly string[];
}

/** Something that names projects without living in them (certificates). */
export interface ProjectFollower {
  projectRenamed(from: string, to: string): Promise<void>;
  projectRemoved(name: string): Promise<void>;
}
