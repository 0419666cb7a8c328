/** All routes by path, with the aliases of the instances' paths. */
import { Fault } from '../../process/fault.ts';
import {
  CONTAINERS_PATH,
  INSTANCES_PATH,
  VIRTUAL_MACHINES_PATH,
  aliasOf,
  bySpecificity,
  compilePath,
  type PathMatcher,
} from './path-pattern.ts';
import { answers, type Answer, type Call, type Method, type Route, type WebSocketRoute } from './route.ts';

/** One path and what can be done there. */
export interface PathEntry {
  readonly path: string;
  readonly instancesPath: string;
  readonly methods: ReadonlyMap<Method, Route>;
}

export interface WebSocketEntry {
  readonly route: WebSocketRoute;
  readonly instancesPath: string;
  readonly matcher: PathMatcher;
}

/** Entries in the order in which they must be tried. */
export function pathEntries(routes: readonly Route[], webSockets: readonly WebSocketRoute[]): PathEntry[] {
  const byPath = new Map<string, { instancesPath: string; methods: Map<Method, Route> }>();
  const add = (path: string, instancesPath: string, route: Route): void => {
    const entry = byPath.get(path) ?? { instancesPath, methods: new Map<Method, Route>() };
    if (entry.methods.has(route.method)) throw new Error(`two routes for ${route.method} ${path}`);
    entry.methods.set(route.method, route);
    byPath.set(path, entry);
  };
  for (const route of [...routes, ...webSockets.map(withoutUpgrade)]) {
    add(route.path, INSTANCES_PATH, route);
    const containers = aliasOf(route.path, CONTAINERS_PATH);
    if (containers !== null) add(containers, CONTAINERS_PATH, route);
    const machines = aliasOf(route.path, VIRTUAL_MACHINES_PATH);
    if (machines !== null)
      add(machines, VIRTUAL_MACHINES_PATH, { ...route, handle: answerForMachines(route) });
  }
  return [...byPath.entries()]
    .map(([path, entry]) => ({ path, ...entry }))
    .sort((a, b) => bySpecificity(a.path, b.path));
}

export function webSocketEntries(routes: readonly WebSocketRoute[]): WebSocketEntry[] {
  return routes.flatMap((route) => {
    const own = { route, instancesPath: INSTANCES_PATH, matcher: compilePath(route.path) };
    const alias = aliasOf(route.path, CONTAINERS_PATH);
    if (alias === null) return [own];
    return [own, { route, instancesPath: CONTAINERS_PATH, matcher: compilePath(alias) }];
  });
}

/** A plain request for a path that only makes sense as a websocket. */
function withoutUpgrade(route: WebSocketRoute): Route {
  return {
    method: 'GET',
    path: route.path,
    access: route.access,
    summary: route.summary,
    handle: () =>
      Promise.reject(
        new Fault('bad_request', 'this path is a websocket; send the request with an upgrade header'),
      ),
  };
}

/** Differs: there are no virtual machines here; LXD built with them answers the same empty list. */
function answerForMachines(route: Route): (call: Call) => Promise<Answer> {
  return async (call) => {
    if (route.method === 'GET' && route.path === INSTANCES_PATH) return answers.sync([]);
    if (call.method === 'GET' || call.method === 'HEAD') throw new Fault('not_found', 'Instance not found');
    throw new Fault('bad_request', 'virtual machines are not supported by this server');
  };
}
