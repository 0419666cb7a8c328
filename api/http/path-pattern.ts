/** Paths of routes: how the router and the websocket side read `{name}` and `{name*}`, and their aliases. */
import { Fault } from '../../process/fault.ts';

export const INSTANCES_PATH = '/1.0/instances';
/** LXD's older name of the same routes; old clients know no other. */
export const CONTAINERS_PATH = '/1.0/containers';
export const VIRTUAL_MACHINES_PATH = '/1.0/virtual-machines';

/** The pattern in the words of the router: `/1.0/instances/:name`, `/1.0/images/aliases/*name`. */
export function routerPath(path: string): string {
  return path.replace(/\{(\w+)\*\}/g, '*$1').replace(/\{(\w+)\}/g, ':$1');
}

/** The path under another prefix when it is one of the instances' paths, else null. */
export function aliasOf(path: string, prefix: string): string | null {
  if (path !== INSTANCES_PATH && !path.startsWith(`${INSTANCES_PATH}/`)) return null;
  return prefix + path.slice(INSTANCES_PATH.length);
}

/** Orders paths so that a literal part is tried before a parameter, and `{name*}` last. */
export function bySpecificity(a: string, b: string): number {
  const left = a.split('/');
  const right = b.split('/');
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = rank(left[i]) - rank(right[i]);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : 1;
}

function rank(part: string | undefined): number {
  if (part === undefined) return 3;
  if (part.endsWith('*}')) return 2;
  return part.startsWith('{') ? 1 : 0;
}

export interface PathMatcher {
  /** Decoded parameters, or null. Fault bad_request for a wrong percent-encoding. */
  match(path: string): Record<string, string> | null;
}

/** A matcher for one path, used where the router is not (upgrades). */
export function compilePath(path: string): PathMatcher {
  const names: string[] = [];
  const source = path
    .split('/')
    .map((part) => {
      const parameter = /^\{(\w+)(\*?)\}$/.exec(part);
      if (parameter === null) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      names.push(parameter[1] ?? '');
      return parameter[2] === '*' ? '(.+)' : '([^/]+)';
    })
    .join('/');
  const pattern = new RegExp(`^${source}$`);
  return {
    match: (text) => {
      const found = pattern.exec(text);
      if (found === null) return null;
      return Object.fromEntries(names.map((name, i) => [name, decodePart(found[i + 1] ?? '')]));
    },
  };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // URIError says only "URI malformed".
    throw new Fault('bad_request', 'the path of the request cannot be decoded');
  }
}

/** Path and query of a request line; an absolute URL (`http://unix.socket/1.0`) is taken too. */
export function splitUrl(url: string): { path: string; query: string } {
  const start = url.startsWith('/') ? 0 : startOfPath(url);
  const mark = url.indexOf('?', start);
  return mark < 0
    ? { path: url.slice(start) || '/', query: '' }
    : { path: url.slice(start, mark) || '/', query: url.slice(mark + 1) };
}

function startOfPath(url: string): number {
  const scheme = url.indexOf('://');
  if (scheme < 0) return 0;
  const slash = url.indexOf('/', scheme + 3);
  return slash < 0 ? url.length : slash;
}
