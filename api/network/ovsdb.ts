/**
 * A client of ovsdb-server (RFC 7047), as far as `transact` and `echo` go.
 *
 * One connection, made when it is first needed and again after it broke. An
 * idle one does not keep the process alive.
 */
import net from 'node:net';
import { Fault, isFault } from '../../process/fault.ts';
import { JsonFrames } from './json-frames.ts';

/** `{"op": "select", …}` and its kind. */
export type Operation = Readonly<Record<string, unknown>>;

/** What one operation came to: `rows` of a select, `count`, `uuid`. */
export type Outcome = Readonly<Record<string, unknown>>;

const DATABASE = 'Open_vSwitch';
const TIMEOUT_MS = 5_000;
/** Far beyond any answer to our questions. */
const MAX_PENDING = 64 * 1024 * 1024;

export interface OvsdbOptions {
  /** `unix:/path` or `tcp:host:port`; asked at each connection. */
  readonly address: () => string;
  readonly timeoutMs?: number;
}

interface Waiter {
  resolve(outcomes: readonly Outcome[]): void;
  reject(err: Error): void;
}

interface Link {
  readonly address: string;
  readonly socket: net.Socket;
  readonly waiters: Map<number, Waiter>;
}

/** The connection went before the answer came. */
class LostLink extends Error {}

export class Ovsdb {
  private readonly options: OvsdbOptions;
  private link: Promise<Link> | null = null;
  private lastId = 0;

  constructor(options: OvsdbOptions) {
    this.options = options;
  }

  /**
   * Carries out operations, all or none, and resolves with what each came to.
   * They may be sent twice when the connection breaks: they must be harmless
   * when they have been done already. Faults: unavailable (no server), timeout,
   * conflict (it refuses), bad_request (the address is none).
   */
  async transact(operations: readonly Operation[]): Promise<readonly Outcome[]> {
    try {
      return await this.once(operations);
    } catch (err) {
      if (!(err instanceof LostLink)) throw err;
    }
    try {
      return await this.once(operations);
    } catch (err) {
      if (!(err instanceof LostLink)) throw err;
      throw new Fault('unavailable', 'Open vSwitch: its database closes the connection', { cause: err });
    }
  }

  close(): void {
    const { link } = this;
    this.link = null;
    link?.then(
      ({ socket }) => socket.destroy(),
      () => undefined, // whoever waits for it is told
    );
  }

  private async once(operations: readonly Operation[]): Promise<readonly Outcome[]> {
    const link = await this.connected();
    this.lastId += 1;
    const id = this.lastId;
    const request = { method: 'transact', params: [DATABASE, ...operations], id };
    return new Promise((resolve, reject) => {
      const timeoutMs = this.options.timeoutMs ?? TIMEOUT_MS;
      const timer = setTimeout(() => {
        // An answer that comes too late would belong to nobody.
        link.socket.destroy();
        settle(() => {
          reject(new Fault('timeout', `Open vSwitch: no answer within ${String(timeoutMs / 1000)} s`));
        });
      }, timeoutMs);
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        link.waiters.delete(id);
        if (link.waiters.size === 0) link.socket.unref();
        act();
      };
      link.waiters.set(id, {
        resolve: (outcomes) => {
          settle(() => {
            resolve(outcomes);
          });
        },
        reject: (err) => {
          settle(() => {
            reject(err);
          });
        },
      });
      link.socket.ref();
      link.socket.write(JSON.stringify(request));
    });
  }

  private async connected(): Promise<Link> {
    const address = this.options.address();
    const { link } = this;
    if (link !== null) {
      const known = await link;
      if (known.address === address && !known.socket.destroyed) return known;
      known.socket.destroy();
      if (this.link === link) this.link = null;
    }
    if (this.link === null) {
      const fresh = connect(address);
      this.link = fresh;
      fresh.catch(() => {
        if (this.link === fresh) this.link = null;
      });
    }
    return this.link;
  }
}

/** Fault bad_request for what is no address of a database. */
export function parseOvsdbAddress(text: string): { path: string } | { host: string; port: number } {
  const path = /^unix:(\/.+)$/.exec(text)?.[1];
  if (path !== undefined) return { path };
  const [, host = '', port = ''] = /^tcp:(\[[0-9a-fA-F:.]+\]|[^:[\]]+):(\d{1,5})$/.exec(text) ?? [];
  if (host !== '' && Number(port) > 0 && Number(port) < 65_536) {
    return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
  }
  throw new Fault(
    'bad_request',
    `"${text.slice(0, 100)}" is no address of an OVS database; write unix:/path or tcp:host:port`,
  );
}

async function connect(address: string): Promise<Link> {
  const socket = net.connect(parseOvsdbAddress(address));
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy(new Error(`no connection within ${String(TIMEOUT_MS / 1000)} s`));
    }, TIMEOUT_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once('error', (cause) => {
      clearTimeout(timer);
      reject(
        new Fault(
          'unavailable',
          `Open vSwitch: connect to ${address}; is ovsdb-server running, and is network.ovs.connection right?`,
          { cause },
        ),
      );
    });
  });
  const link: Link = { address, socket, waiters: new Map() };
  const frames = new JsonFrames();
  socket.unref();
  socket.on('data', (piece) => {
    // The stream has no encoding set: pieces are bytes.
    for (const text of frames.push(Buffer.from(piece))) take(link, text);
    if (frames.pending > MAX_PENDING) socket.destroy();
  });
  let reason: Error | null = null;
  socket.on('error', (err) => (reason = err));
  socket.once('close', () => {
    for (const waiter of [...link.waiters.values()]) {
      waiter.reject(new LostLink('the connection was closed', { cause: reason }));
    }
  });
  return link;
}

interface Message {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: unknown;
}

function take(link: Link, text: string): void {
  let message: Message;
  try {
    message = JSON.parse(text) as Message; // its fields are looked at one by one
  } catch (err) {
    link.socket.destroy(new Error('what answers is no database', { cause: err }));
    return;
  }
  if (message.method === 'echo') {
    // A server that gets no answer takes the client for dead.
    link.socket.write(JSON.stringify({ id: message.id, result: message.params, error: null }));
    return;
  }
  const waiter = typeof message.id === 'number' ? link.waiters.get(message.id) : undefined;
  if (waiter === undefined) return;
  try {
    waiter.resolve(outcomesOf(message));
  } catch (err) {
    if (!isFault(err)) throw err;
    waiter.reject(err);
  }
}

function outcomesOf(message: Message): readonly Outcome[] {
  if (message.error !== null && message.error !== undefined) throw refused(message.error);
  if (!Array.isArray(message.result)) throw refused('its answer is no list');
  const outcomes = message.result.map((one: unknown): Outcome => (isObject(one) ? one : {}));
  // After the first error the rest is null; an error of the whole comes behind the last one.
  const bad = outcomes.find((one) => one['error'] !== undefined);
  if (bad !== undefined) throw refused(bad['error'], bad['details']);
  return outcomes;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refused(error: unknown, details?: unknown): Fault {
  const text = typeof error === 'string' ? error : JSON.stringify(error);
  const more = typeof details === 'string' ? ` (${details})` : '';
  return new Fault('conflict', `Open vSwitch refuses the change: ${text}${more}`);
}
