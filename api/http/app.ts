/**
 * Requests to routes and back. One entry of the router per path; what comes
 * before (CORS, the start-up gate) and after (rendering) is done without
 * middleware, for every list is answered through here.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import express from 'express';
import { Fault, describeChain, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { OperationsAdmin } from '../operations/operations.ts';
import type { ServerConfig } from '../server-config.ts';
import { checkAccess } from './access.ts';
import { HttpCall } from './call.ts';
import type { Callers, Identity } from './callers.ts';
import { setCorsHeaders } from './cors.ts';
import { errorAnswer } from './faults.ts';
import { Gate, type Phase } from './gate.ts';
import { routerPath, splitUrl } from './path-pattern.ts';
import { readJsonBody } from './request-body.ts';
import { requestId } from './request-id.ts';
import { sendAnswer, sendError } from './respond.ts';
import { pathEntries, type PathEntry } from './route-table.ts';
import type { Answer, Method, Route, WebSocketRoute } from './route.ts';
import { WebSocketSide } from './websockets.ts';

export interface HttpParts {
  readonly log: Log;
  readonly routes: readonly Route[];
  readonly webSocketRoutes: readonly WebSocketRoute[];
  readonly callers: Callers;
  readonly operations: Pick<OperationsAdmin, 'annotate'>;
  readonly serverConfig: ServerConfig;
  readonly projectExists: (name: string) => boolean;
}

export interface HttpService {
  handle(req: IncomingMessage, res: ServerResponse): void;
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** `starting` until called; see gate.ts for what is answered in each. */
  setPhase(phase: Phase): void;
  /** Ends the websockets of callers with this certificate, after its removal from the trust store. */
  dropCertificate(der: Buffer): void;
  /** Ends all websockets. */
  closeWebSockets(): void;
}

/** Builds the router from the table of routes. */
export function createHttp(parts: HttpParts): HttpService {
  const gate = new Gate();
  const router = buildRouter(parts);
  const handle = (req: IncomingMessage, res: ServerResponse): void => {
    setCorsHeaders(req, res, parts.serverConfig);
    if (req.method === 'OPTIONS') {
      res.writeHead(200, { 'Content-Length': 0 }).end();
      return;
    }
    const refusal = gate.refusal(req.method ?? 'GET', req.url ?? '/');
    if (refusal === null) router(req, res);
    else fail(parts.log, req, res, refusal, false);
  };
  const sockets = new WebSocketSide({ ...parts, gate, handle });
  return {
    handle,
    upgrade: (req, socket, head) => {
      sockets.upgrade(req, socket, head);
    },
    setPhase: (phase) => {
      gate.phase = phase;
    },
    dropCertificate: (der) => {
      sockets.dropCertificate(der);
    },
    closeWebSockets: () => {
      sockets.closeAll();
    },
  };
}

type Router = (req: IncomingMessage, res: ServerResponse) => void;

function buildRouter(parts: HttpParts): Router {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.set('query parser', false);
  app.set('case sensitive routing', true);
  app.set('strict routing', true);
  for (const entry of pathEntries(parts.routes, parts.webSocketRoutes)) {
    app.all(routerPath(entry.path), (req, res) =>
      answerRequest(parts, entry, req, res, readParams(req.params)),
    );
  }
  app.use((req: IncomingMessage, res: ServerResponse) => {
    fail(parts.log, req, res, new Fault('not_found', 'not found'), false);
  });
  app.use((err: unknown, req: IncomingMessage, res: ServerResponse, _next: unknown) => {
    fail(parts.log, req, res, err, false);
  });
  return (req, res) => {
    app(req, res);
  };
}

/** A parameter that took several parts of the path comes as a list. */
function readParams(params: Readonly<Record<string, string | string[]>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [name, Array.isArray(value) ? value.join('/') : value]),
  );
}

async function answerRequest(
  parts: HttpParts,
  entry: PathEntry,
  req: IncomingMessage,
  res: ServerResponse,
  params: Readonly<Record<string, string>>,
): Promise<void> {
  let identity: Identity | null = null;
  try {
    identity = parts.callers.identify(req);
    const answer = await callRoute(parts, entry, { req, res, identity, params });
    if (answer.kind === 'async') noteOperation(parts, req, answer);
    await sendAnswer(req, res, answer);
  } catch (err) {
    fail(parts.log, req, res, err, identity?.caller.trusted ?? false);
  }
}

interface Incoming {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly identity: Identity;
  readonly params: Readonly<Record<string, string>>;
}

async function callRoute(parts: HttpParts, entry: PathEntry, incoming: Incoming): Promise<Answer> {
  const { req, res, identity } = incoming;
  const { method, route } = chooseRoute(entry, req.method);
  const call = new HttpCall(req, res, {
    method,
    params: incoming.params,
    queryText: splitUrl(req.url ?? '/').query,
    instancesPath: entry.instancesPath,
    caller: identity.caller,
  });
  checkAccess(
    { access: route.access, identity, project: call.project, headers: req.headers },
    parts.serverConfig,
  );
  checkProject(parts, route, call.project);
  checkTarget(route, call.query.get('target') ?? '');
  const isRaw = route.acceptsRaw === true && req.headers['content-type'] === 'application/octet-stream';
  if (route.body !== undefined && route.body !== 'stream' && !isRaw) {
    call.body = await readJsonBody(req, route.body);
  }
  return route.handle(call);
}

function chooseRoute(entry: PathEntry, method: string | undefined): { method: Method; route: Route } {
  for (const [known, route] of entry.methods) {
    if (known === method) return { method: known, route };
  }
  const get = method === 'HEAD' ? entry.methods.get('GET') : undefined;
  if (get !== undefined) return { method: 'HEAD', route: get };
  // Same oddity as LXD: 501 for a method that a known path lacks.
  throw new Fault('not_implemented', 'not implemented');
}

/** Same oddity as LXD: some lists of an unknown project are empty; everything else in it is not found. */
function checkProject(parts: HttpParts, route: Route, project: string): void {
  if (route.access !== 'project' || parts.projectExists(project)) return;
  if (route.isEmptyWithoutProject !== true) throw new Fault('not_found', 'Project not found');
}

/** LXD without a cluster has one member, which it calls "none", and places nothing on it by name. */
function checkTarget(route: Route, target: string): void {
  if (target === '') return;
  if (route.method === 'POST') throw new Fault('bad_request', 'Target only allowed when clustered');
  if (target !== 'none') throw new Fault('not_found', `No cluster member called ${JSON.stringify(target)}`);
}

/** The id a client gave its request is found again in the log and on the operation. */
function noteOperation(
  parts: HttpParts,
  req: IncomingMessage,
  answer: Extract<Answer, { kind: 'async' }>,
): void {
  const id = requestId(req.headers);
  if (id === null) return;
  parts.operations.annotate(answer.operation.id, { req_id: id });
  parts.log.info('request started an operation', { req_id: id, operation: answer.operation.id });
}

/** Where an error of a request stops: it is answered, and logged once. */
function fail(log: Log, req: IncomingMessage, res: ServerResponse, err: unknown, trusted: boolean): void {
  const answer = errorAnswer(err, trusted);
  const facts = {
    method: req.method,
    path: splitUrl(req.url ?? '/').path.slice(0, 500),
    status: answer.status,
    req_id: requestId(req.headers) ?? undefined,
    ...(isFault(err) ? { ...err.facts, code: err.code } : {}),
    error: describeChain(err),
  };
  if (answer.isBug) {
    log.error('request failed unexpectedly', {
      ...facts,
      stack: err instanceof Error ? err.stack : undefined,
    });
  } else if (answer.status >= 500 && answer.status !== 501 && answer.status !== 503) {
    log.warn('request failed', facts);
  } else {
    log.debug('request refused', facts);
  }
  sendError(req, res, answer.status, answer.text);
}
