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

/** Something that names projects without living in them (certificates). */
export interface ProjectFollower {
  projectRenamed(from: string, to: string): Promise<void>;
  projectRemoved(name: string): Promise<void>;
}
