/** The environment of a command run in a container. Pure. */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';

const PREFIX = 'environment.';
const SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What a container may have besides the usual folders, and what is then searched too (LXD's list). */
export const SEARCH_EXTRAS: readonly { readonly when: string; readonly add: string }[] = [
  { when: '/snap', add: '/snap/bin' },
  { when: '/etc/NIXOS', add: '/run/current-system/sw/bin' },
];

export interface EnvironmentRequest {
  /** Expanded config; its `environment.*` keys count. */
  readonly config: StringMap;
  readonly asked: StringMap;
  readonly user: number;
  /** Folders of SEARCH_EXTRAS that are there. */
  readonly searchExtras: readonly string[];
}

/** Everything the command gets; nothing is inherited. Fault bad_request for a name that cannot be one. */
export function execEnvironment(request: EnvironmentRequest): Record<string, string> {
  // A Map, because a variable named __proto__ must stay a variable.
  const all = new Map<string, string>();
  for (const [key, value] of Object.entries(request.config)) {
    if (key.startsWith(PREFIX)) all.set(key.slice(PREFIX.length), value);
  }
  for (const [name, value] of Object.entries(request.asked)) {
    if (name === '' || name.includes('=')) {
      throw new Fault(
        'bad_request',
        `environment variable ${JSON.stringify(name)} must have a name without "="`,
      );
    }
    all.set(name, value);
  }
  const setDefault = (name: string, value: string): void => {
    if (!all.has(name)) all.set(name, value);
  };
  setDefault('PATH', [SEARCH_PATH, ...request.searchExtras].join(':'));
  if (request.user === 0) {
    setDefault('HOME', '/root');
    setDefault('USER', 'root');
  }
  setDefault('LANG', 'C.UTF-8');
  return Object.fromEntries(all);
}

/** `cwd` of the request, else the command's HOME, else the root. */
export function execDirectory(cwd: string, environment: StringMap): string {
  if (cwd !== '') return cwd;
  const home = environment['HOME'];
  return home === undefined || home === '' ? '/' : home;
}
