/**
 * The guest API: what a container may ask about itself, at /dev/lxd/sock
 * inside. cloud-init's LXD data source is the main reader.
 *
 * Guests are strangers: they see only their own instance, every answer is made
 * from memory, and what they send is never read further than its head.
 */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { WebSocketServer } from 'ws';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { Events } from '../events/events.ts';
import type { Expanded, InstanceStore } from '../instances/types.ts';
import { parseBool } from '../instances/values.ts';
import type { Paths } from '../paths.ts';
import { watchGuest } from './guest-changes.ts';
import type { GuestEvent } from './guest-changes.ts';
import { GuestIdentity } from './guest-identity.ts';
import type { Guest, IdentityParts } from './guest-identity.ts';
import { configUrls, guestDevices, isGuestKey, metaData } from './guest-view.ts';

/** Connections one guest may hold; the rest are closed at once. */
const MAX_CONNECTIONS = 64;
/** Bytes a guest may leave unread before it is dropped from the events. */
const MAX_UNREAD = 256 * 1024;

export interface GuestApiParts extends IdentityParts {
  readonly paths: Pick<Paths, 'state'>;
  readonly log: Log;
  readonly events: Events;
  readonly store: Pick<InstanceStore, 'list' | 'byId' | 'expand'>;
}

export interface GuestApi {
  /** Folder that is bind mounted as /dev/lxd; the socket in it is made anew by each daemon. */
  readonly dir: string;
  close(): Promise<void>;
}

/** Opens the socket. */
export async function openGuestApi(parts: GuestApiParts): Promise<GuestApi> {
  const dir = join(parts.paths.state, 'devlxd');
  const path = join(dir, 'sock');
  await mkdir(dir, { recursive: true, mode: 0o755 });
  // The umask of the daemon does not count here: every guest's root must get in.
  await chmod(dir, 0o755);
  await rm(path, { force: true });
  const side = new GuestSide(parts);
  await side.listen(path);
  await chmod(path, 0o666);
  return {
    dir,
    close: async () => {
      await side.close();
      await rm(path, { force: true });
    },
  };
}

type Reply = { readonly json: unknown } | { readonly raw: string };

class GuestSide {
  private readonly parts: GuestApiParts;
  private readonly identity: GuestIdentity;
  private readonly server: Server;
  private readonly webSockets = new WebSocketServer({ noServer: true, maxPayload: 4096 });
  private readonly guests = new WeakMap<Socket, Guest>();
  private readonly connections = new Map<string, number>();

  constructor(parts: GuestApiParts) {
    this.parts = parts;
    this.identity = new GuestIdentity(parts);
    this.server = createServer(
      {
        maxHeaderSize: 8192,
        headersTimeout: 10_000,
        requestTimeout: 10_000,
        connectionsCheckingInterval: 5000,
      },
      (req, res) => {
        this.answer(req, res);
      },
    );
    this.server.on('connection', (socket: Socket) => {
      this.meet(socket);
    });
    this.server.on('upgrade', (req, socket, head) => {
      this.upgrade(req, socket, head);
    });
  }

  async listen(path: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(path, resolve);
    });
  }

  async close(): Promise<void> {
    for (const client of this.webSockets.clients) client.terminate();
    await new Promise((resolve) => {
      this.server.close(resolve);
      this.server.closeAllConnections();
    });
  }

  /** Once per connection, before its first request is read. */
  private meet(socket: Socket): void {
    const guest = this.identify(socket);
    const key = guest?.id ?? '';
    const count = (this.connections.get(key) ?? 0) + 1;
    if (count > MAX_CONNECTIONS) {
      socket.destroy();
      return;
    }
    if (guest !== null) this.guests.set(socket, guest);
    this.connections.set(key, count);
    socket.once('close', () => {
      const left = (this.connections.get(key) ?? 1) - 1;
      if (left === 0) this.connections.delete(key);
      else this.connections.set(key, left);
    });
  }

  private identify(socket: Socket): Guest | null {
    // node keeps the descriptor of a connection there; there is no public way to it.
    const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null };
    const fd = handle?.fd;
    if (typeof fd !== 'number' || fd < 0) return null;
    try {
      return this.identity.identify(fd);
    } catch (err) {
      this.parts.log.warn('guest could not be identified', { error: err });
      return null;
    }
  }

  private answer(req: IncomingMessage, res: ServerResponse): void {
    try {
      const expanded = this.allowed(req);
      const url = this.read(req);
      if (url.pathname === '/1.0/events') {
        this.stream(expanded.row.id, wantedTypes(url), req, res);
        return;
      }
      send(res, reply(expanded, url.pathname));
    } catch (err) {
      const { status, text } = refusal(err, this.parts.log);
      // What the guest still sends is not read.
      res.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
      res.end(`${text}\n`);
    }
  }

  /** The instance behind the request; Fault forbidden for anybody else, and when the guest API is off for it. */
  private allowed(req: IncomingMessage): Expanded {
    const guest = this.guests.get(req.socket);
    if (guest === undefined || this.parts.runtime.initPid(guest.id) !== guest.initPid) {
      throw new Fault('forbidden', 'only root of a container of this server may ask');
    }
    const expanded = this.parts.store.expand(this.parts.store.byId(guest.id));
    if (!parseBool(expanded.config['security.devlxd'], true)) {
      throw new Fault('forbidden', 'the guest API is switched off for this instance');
    }
    return expanded;
  }

  private read(req: IncomingMessage): URL {
    if (req.method !== 'GET') throw new Fault('not_implemented', 'method not allowed');
    const url = URL.canParse(req.url ?? '', 'http://guest') ? new URL(req.url ?? '', 'http://guest') : null;
    if (url === null) throw new Fault('bad_request', 'bad request');
    return url;
  }

  /** Without an upgrade: one JSON object after the other, until the guest goes away. */
  private stream(id: string, types: readonly string[], req: IncomingMessage, res: ServerResponse): void {
    res.writeHead(200, { 'Content-Type': 'application/json' });
    res.flushHeaders();
    const stop = this.watch(id, types, (text) => {
      if (res.writableLength > MAX_UNREAD) req.socket.destroy();
      else res.write(`${text}\n`);
    });
    res.once('close', stop);
  }

  private upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    let id = '';
    let types: readonly string[] = [];
    try {
      id = this.allowed(req).row.id;
      const url = this.read(req);
      if (url.pathname !== '/1.0/events') throw new Fault('not_found', 'not found');
      types = wantedTypes(url);
    } catch (err) {
      const { status, text } = refusal(err, this.parts.log);
      socket.end(
        `HTTP/1.1 ${String(status)} Refused\r\nConnection: close\r\nContent-Length: ${String(text.length)}\r\n\r\n${text}`,
      );
      return;
    }
    this.webSockets.handleUpgrade(req, socket, head, (client) => {
      client.on('error', () => undefined);
      const stop = this.watch(id, types, (text) => {
        if (client.bufferedAmount > MAX_UNREAD) client.terminate();
        else client.send(text);
      });
      client.once('close', stop);
    });
  }

  private watch(id: string, types: readonly string[], write: (text: string) => void): () => void {
    return watchGuest(this.parts, id, (event: GuestEvent) => {
      if (types.includes(event.type)) write(JSON.stringify(event));
    });
  }
}

function wantedTypes(url: URL): readonly string[] {
  const asked = url.searchParams.get('type') ?? '';
  if (asked === '') return ['config', 'device'];
  const types = asked.split(',');
  if (!types.every((type) => type === 'config' || type === 'device')) {
    throw new Fault(
      'bad_request',
      `${JSON.stringify(asked.slice(0, 64))} is not a list of config and device`,
    );
  }
  return types;
}

function reply(expanded: Expanded, path: string): Reply {
  switch (path) {
    case '/':
      return { json: ['/1.0'] };
    case '/1.0':
      return { json: { api_version: '1.0', instance_type: 'container', location: 'none', state: 'Started' } };
    case '/1.0/config':
      return { json: configUrls(expanded) };
    case '/1.0/meta-data':
      return { raw: metaData(expanded) };
    case '/1.0/devices':
      return { json: guestDevices(expanded) };
  }
  if (path.startsWith('/1.0/config/'))
    return { raw: configValue(expanded, path.slice('/1.0/config/'.length)) };
  // Reading images is switched on by security.devlxd.images, which no instance here can have.
  if (path.startsWith('/1.0/images/')) throw new Fault('forbidden', 'not authorized');
  throw new Fault('not_found', 'not found');
}

function configValue(expanded: Expanded, encoded: string): string {
  let key: string;
  try {
    key = decodeURIComponent(encoded);
  } catch {
    throw new Fault('bad_request', 'bad request');
  }
  if (!isGuestKey(key)) throw new Fault('forbidden', 'not authorized');
  const value = Object.hasOwn(expanded.config, key) ? expanded.config[key] : undefined;
  if (value === undefined) throw new Fault('not_found', 'not found');
  return value;
}

function send(res: ServerResponse, answer: Reply): void {
  const isJson = 'json' in answer;
  const body = Buffer.from(isJson ? `${JSON.stringify(answer.json)}\n` : answer.raw);
  res.writeHead(200, {
    'Content-Type': isJson ? 'application/json' : 'application/octet-stream',
    'Content-Length': body.length,
  });
  res.end(body);
}

const STATUS: Readonly<Record<string, number>> = {
  bad_request: 400,
  forbidden: 403,
  not_found: 404,
  not_implemented: 405,
};

function refusal(err: unknown, log: Log): { readonly status: number; readonly text: string } {
  const status = err instanceof Fault ? STATUS[err.code] : undefined;
  if (err instanceof Fault && status !== undefined) return { status, text: err.message };
  log.error('guest request failed unexpectedly', { error: err });
  return { status: 500, text: 'internal error' };
}
