/**
 * Random requests to every route of a table, for a bounded time. What must
 * hold: no 500, no answer outside the envelope, no request without an answer,
 * nothing shown to a caller nobody trusts, and a server that still answers
 * afterwards. The same seed sends the same requests.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { INTERNAL_TEXT } from '../../api/error-text.ts';
import type { Route, WebSocketRoute } from '../../api/http/route.ts';
import * as values from './fuzz-values.ts';
import { send, sendRaw, type Reply, type Send, type Target } from './http-client.ts';
import { Random } from './random.ts';

export interface FuzzOptions {
  readonly target: Target;
  readonly routes: readonly Route[];
  readonly webSocketRoutes?: readonly WebSocketRoute[];
  readonly seed: number;
  /** Every route is tried at least once, however short this is. */
  readonly budgetMs: number;
  /** False for a target that presents no trusted certificate. */
  readonly isTrusted: boolean;
  /** Names of things that exist, so that requests get past the first lookup. */
  readonly names?: readonly string[];
  /** Routes to leave out (those that would end the server, say). */
  readonly skip?: (route: Route) => boolean;
  /** Milliseconds in which a request must be answered. */
  readonly patienceMs?: number;
}

export interface FuzzReport {
  readonly requests: number;
  /** How often each status came. */
  readonly statuses: Readonly<Record<number, number>>;
  /** What went wrong, with the request that did it. */
  readonly failures: readonly string[];
}

const MAX_FAILURES = 20;
const AT_ONCE = 4;

export async function fuzzRoutes(options: FuzzOptions): Promise<FuzzReport> {
  const random = new Random(options.seed);
  const routes = options.routes.filter((route) => options.skip?.(route) !== true);
  const statuses: Record<number, number> = {};
  const failures: string[] = [];
  const until = Date.now() + options.budgetMs;
  let requests = 0;
  const worker = async (): Promise<void> => {
    while (failures.length < MAX_FAILURES && (requests < routes.length || Date.now() < until)) {
      const route = routes[requests % routes.length];
      if (route === undefined) return;
      requests += 1;
      const what = makeRequest(random, route, options.names ?? []);
      const outcome = await tryRequest(options, route, what);
      if (outcome.status !== 0) statuses[outcome.status] = (statuses[outcome.status] ?? 0) + 1;
      if (outcome.failure !== null) failures.push(`${outcome.failure}: ${describe(what)}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (options.target.socketPath !== undefined) {
    failures.push(...(await fuzzUpgrades(random, options.target.socketPath, options)));
  }
  const last = await send(options.target, { path: '/' });
  if (last.status !== 200) failures.push(`the server answers ${String(last.status)} afterwards`);
  return { requests, statuses, failures };
}

function makeRequest(random: Random, route: Route, names: readonly string[]): Send {
  const prefix = random.chance(0.1) ? route.path.replace('/1.0/instances', '/1.0/containers') : route.path;
  const path = prefix.replace(/\{\w+\*?\}/g, () => values.pathPart(random, names));
  // Waiting for ever is what this route is for.
  const query = route.path.endsWith('/wait') ? '?timeout=0' : values.queryText(random);
  const hasBody = route.body !== undefined || random.chance(0.05);
  const body = hasBody ? values.body(random, route.body ?? 'stream') : undefined;
  return {
    method: route.method,
    path: path.replace(/[^\x21-\x7e]/g, (letter) => encodeURIComponent(letter)) + query,
    headers: {
      ...values.headers(random),
      ...(body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }),
    },
    ...(body === undefined ? {} : { body }),
  };
}

async function tryRequest(
  options: FuzzOptions,
  route: Route,
  what: Send,
): Promise<{ status: number; failure: string | null }> {
  const patience = options.patienceMs ?? 30_000;
  const timer = new AbortController();
  const late = sleep(patience, null, { signal: timer.signal }).catch(() => null);
  try {
    const reply = await Promise.race([send(options.target, what), late]);
    if (reply === null) return { status: 0, failure: `no answer in ${String(patience)} ms` };
    return {
      status: reply.status,
      failure: judge(options, route, reply) ?? (await judgeOperation(options, reply)),
    };
  } catch (err) {
    // A closed connection is a right answer to nonsense, a wrong one to a request with a good head.
    return { status: 0, failure: `the connection broke (${err instanceof Error ? err.message : 'unknown'})` };
  } finally {
    timer.abort();
  }
}

function judge(options: FuzzOptions, route: Route, reply: Reply): string | null {
  if (reply.status === 500) return `500 ${reply.text.slice(0, 300)}`;
  const isSuccess = reply.status >= 200 && reply.status < 300;
  if (!options.isTrusted && isSuccess && route.access !== 'any' && route.access !== 'metrics') {
    return `${String(reply.status)} for a caller nobody trusts`;
  }
  if (reply.status < 400 || route.method === 'HEAD' || reply.status === 416) return null;
  const envelope = safely(() => reply.json());
  return envelope?.['type'] === 'error' && envelope['error_code'] === reply.status
    ? null
    : `${String(reply.status)} outside the envelope: ${reply.text.slice(0, 200)}`;
}

/** An operation that fails is fine; one that fails by a bug is not. */
async function judgeOperation(options: FuzzOptions, reply: Reply): Promise<string | null> {
  if (reply.status !== 202 || typeof reply.headers.location !== 'string') return null;
  const ended = await send(options.target, { path: `${reply.headers.location}/wait?timeout=5` });
  return ended.text.includes(INTERNAL_TEXT)
    ? `its operation ended with a bug: ${ended.text.slice(0, 300)}`
    : null;
}

async function fuzzUpgrades(random: Random, socketPath: string, options: FuzzOptions): Promise<string[]> {
  const failures: string[] = [];
  for (const route of options.webSocketRoutes ?? []) {
    for (let i = 0; i < 10; i++) {
      const path = route.path.replace(/\{\w+\*?\}/g, () => values.pathPart(random, options.names ?? []));
      const key = random.chance(0.7) ? random.bytes(16).toString('base64') : 'x';
      const head =
        `GET ${path}${values.queryText(random)} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: ${random.pick(['13', '8', 'x'])}\r\nSec-WebSocket-Key: ${key}\r\n\r\n`;
      const garbage = random.bytes(random.below(200));
      const { text } = await sendRaw(socketPath, Buffer.concat([Buffer.from(head), garbage]), 300);
      if (/^HTTP\/1\.1 500/.test(text))
        failures.push(`500 for an upgrade: ${head.split('\r\n', 1)[0] ?? ''}`);
    }
  }
  return failures;
}

function describe(what: Send): string {
  const body =
    what.body === undefined
      ? ''
      : ` body ${JSON.stringify(Buffer.from(what.body).toString('latin1').slice(0, 400))}`;
  return `${what.method ?? 'GET'} ${what.path.slice(0, 300)} ${JSON.stringify(what.headers ?? {}).slice(0, 300)}${body}`;
}

function safely<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    // The caller reports the text that could not be read.
    return null;
  }
}
