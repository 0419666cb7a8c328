/** Calls a route as the server would: path parameters, the body's schema, If-Match. No sockets. */
import { Readable } from 'node:stream';
import { checkIfMatch, etagOf } from '../../api/etag.ts';
import type { Answer, Call, Caller, Method, Route } from '../../api/http/route.ts';
import { Fault } from '../../process/fault.ts';

export interface FakeRequest {
  readonly body?: unknown;
  readonly caller?: Caller;
  readonly ifMatch?: string;
}

const REQUESTOR = { username: 'root', protocol: 'unix', address: '@' } as const;

export const ADMIN: Caller = {
  trusted: true,
  admin: true,
  projects: null,
  requestor: REQUESTOR,
  certificate: null,
};

/** A restricted certificate for these projects. */
export function restrictedTo(...projects: string[]): Caller {
  return { ...ADMIN, admin: false, projects, requestor: { ...REQUESTOR, protocol: 'tls' } };
}

/** `target` is a path with its query. Throws what the handler throws; bad_request for a body the schema refuses. */
export async function callRoute(
  routes: readonly Route[],
  method: Method,
  target: string,
  request: FakeRequest = {},
): Promise<Answer> {
  const url = new URL(target, 'http://unix.socket');
  for (const route of routes.filter((one) => one.method === method)) {
    const params = matchPath(route.path, url.pathname);
    if (params !== null) return route.handle(toCall(route, params, url, request));
  }
  throw new Error(`no route for ${method} ${target}`);
}

/** The metadata of a sync answer and its tag. */
export async function readSync(
  answer: Promise<Answer>,
): Promise<{ readonly metadata: unknown; readonly etag: string }> {
  const given = await answer;
  if (given.kind !== 'sync') throw new Error(`expected a sync answer, got ${given.kind}`);
  return { metadata: given.metadata, etag: given.etagOf === undefined ? '' : etagOf(given.etagOf) };
}

function matchPath(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return null;
  const params: Record<string, string> = {};
  for (const [i, part] of wanted.entries()) {
    const name = /^\{(\w+)\}$/.exec(part)?.[1];
    if (name !== undefined) params[name] = decodeURIComponent(given[i] ?? '');
    else if (part !== given[i]) return null;
  }
  return params;
}

function toCall(route: Route, params: Record<string, string>, url: URL, request: FakeRequest): Call {
  return {
    method: route.method,
    params,
    query: url.searchParams,
    project: url.searchParams.get('project') ?? 'default',
    recursion: Number(url.searchParams.get('recursion') ?? 0),
    instancesPath: '/1.0/instances',
    headers: {},
    caller: request.caller ?? ADMIN,
    body: parseBody(route, request.body),
    stream: Readable.from([]),
    signal: new AbortController().signal,
    checkEtag: (value) => {
      checkIfMatch(request.ifMatch, value);
    },
  };
}

function parseBody(route: Route, body: unknown): unknown {
  if (route.body === undefined || route.body === 'stream') return undefined;
  const parsed = route.body.safeParse(body);
  if (!parsed.success) throw new Fault('bad_request', 'the body does not fit', { cause: parsed.error });
  return parsed.data;
}
