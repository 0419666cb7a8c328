/**
 * Where the daemon is reached: the unix socket, HTTPS and the metrics
 * listener. The last two follow `core.https_address` and
 * `core.metrics_address` at run time.
 */
import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { ServerConfigAdmin } from '../server-config-types.ts';
import { parseListenAddress, reachableAddresses } from './address.ts';
import type { HttpService } from './app.ts';
import { splitUrl } from './path-pattern.ts';
import { sendError } from './respond.ts';
import { DEFAULT_LIMITS, makeServer, type Handlers, type ServerLimits } from './server.ts';
import type { ServerCertificate } from './server-certificate.ts';
import { listenUnix, type UnixListenOptions } from './unix-listener.ts';

const HTTPS_KEY = 'core.https_address';
const METRICS_KEY = 'core.metrics_address';
const METRICS_PATHS = new Set(['/', '/1.0', '/1.0/metrics']);
/** Interfaces of the host are read anew after this long: with many instances there are many. */
const ADDRESSES_KEPT_MS = 10_000;

export interface ListenerParts {
  readonly http: HttpService;
  readonly serverConfig: Pick<ServerConfigAdmin, 'get' | 'onChange'>;
  readonly certificate: ServerCertificate;
  readonly log: Log;
  /** Accept TLS 1.2 too. */
  readonly allowTls12?: boolean;
  readonly limits?: ServerLimits;
}

interface Open {
  readonly server: Server;
  readonly address: string;
}

export class Listeners {
  private readonly parts: ListenerParts;
  private readonly limits: ServerLimits;
  private unix: Server | null = null;
  private readonly remote = new Map<string, Open>();
  private known: { readonly at: number; readonly list: readonly string[] } | null = null;

  constructor(parts: ListenerParts) {
    this.parts = parts;
    this.limits = parts.limits ?? DEFAULT_LIMITS;
  }

  /** Opens the unix socket; faults of listenUnix(). */
  async openUnix(options: Omit<UnixListenOptions, 'log'>): Promise<void> {
    const server = makeServer(this.parts.http, this.parts.log, this.limits);
    await listenUnix(server, { ...options, log: this.parts.log });
    this.unix = server;
  }

  /**
   * Opens what the configuration asks for and follows its changes. An address
   * that cannot be opened at start is logged: the unix socket must come up all the same.
   */
  async followConfig(): Promise<void> {
    for (const key of [HTTPS_KEY, METRICS_KEY]) {
      try {
        await this.apply(key);
      } catch (err) {
        this.parts.log.error('cannot open a listener', { key, error: err });
      }
    }
    this.parts.serverConfig.onChange([HTTPS_KEY, METRICS_KEY], (key) => this.apply(key));
  }

  /** True while clients can come over the network. */
  get isRemote(): boolean {
    return this.remote.has(HTTPS_KEY);
  }

  /** `host:port` of the HTTPS listener for clients; empty when there is none. */
  addresses(): readonly string[] {
    const open = this.remote.get(HTTPS_KEY);
    const bound = open?.server.address();
    if (bound === undefined || bound === null || typeof bound === 'string') return [];
    if (this.known === null || Date.now() - this.known.at > ADDRESSES_KEPT_MS) {
      this.known = { at: Date.now(), list: reachableAddresses(bound.address, bound.port) };
    }
    return this.known.list;
  }

  /** Stops listening, lets requests end until the deadline and then closes every connection. */
  async close(deadlineMs: number): Promise<void> {
    const servers = [this.unix, ...[...this.remote.values()].map(({ server }) => server)].filter(
      (s) => s !== null,
    );
    this.unix = null;
    this.remote.clear();
    await Promise.all(servers.map((server) => closeServer(server, deadlineMs)));
    this.parts.http.closeWebSockets();
  }

  private async apply(key: string): Promise<void> {
    const wanted = this.parts.serverConfig.get(key);
    const current = this.remote.get(key) ?? null;
    if (wanted === (current?.address ?? '')) return;
    this.known = null;
    if (wanted === '') {
      this.remote.delete(key);
      if (current !== null) retire(current.server);
      return;
    }
    const server = await this.replace(key, wanted, current);
    this.remote.set(key, { server, address: wanted });
    this.parts.log.info('listening', { key, address: wanted });
  }

  /** The new listener first; only when it may collide with the old one (same port), the old one is closed before. */
  private async replace(key: string, wanted: string, current: Open | null): Promise<Server> {
    try {
      const server = await this.listen(key, wanted);
      if (current !== null) retire(current.server);
      return server;
    } catch (err) {
      const isSamePort = current !== null && portOf(current.server) === parseListenAddress(wanted).port;
      if (!isSamePort || !isTaken(err)) throw err;
    }
    retire(current.server);
    try {
      return await this.listen(key, wanted);
    } catch (err) {
      this.remote.set(key, { server: await this.listen(key, current.address), address: current.address });
      throw err;
    }
  }

  private async listen(key: string, text: string): Promise<Server> {
    const address = parseListenAddress(text);
    const { certificate, key: privateKey } = this.parts.certificate;
    const server = makeServer(
      key === METRICS_KEY ? metricsOnly(this.parts.http) : this.parts.http,
      this.parts.log,
      this.limits,
      {
        cert: certificate,
        key: privateKey,
        // Any certificate is let in here: whether it is trusted is decided for each request.
        requestCert: true,
        rejectUnauthorized: false,
        minVersion: this.parts.allowTls12 === true ? 'TLSv1.2' : 'TLSv1.3',
        handshakeTimeout: this.limits.headersTimeoutMs,
      },
    );
    server.listen({
      port: address.port,
      backlog: 1024,
      ...(address.host === null ? {} : { host: address.host }),
    });
    try {
      await once(server, 'listening');
    } catch (err) {
      throw new Fault('bad_request', `cannot listen on "${text}"`, { cause: err });
    }
    return server;
  }
}

function metricsOnly(http: HttpService): Handlers {
  return {
    handle: (req: IncomingMessage, res: ServerResponse) => {
      if (METRICS_PATHS.has(splitUrl(req.url ?? '/').path)) http.handle(req, res);
      else sendError(req, res, 404, 'not found');
    },
    upgrade: (_req, socket) => {
      socket.destroy();
    },
  };
}

/** Stops listening at once; requests that are being answered end in peace. */
function retire(server: Server): void {
  server.close();
  server.keepAliveTimeout = 1;
  server.closeIdleConnections();
}

async function closeServer(server: Server, deadlineMs: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  const timer = new AbortController();
  await Promise.race([closed, sleep(deadlineMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
  timer.abort();
  server.closeAllConnections();
}

function portOf(server: Server): number | null {
  const bound = server.address();
  return bound === null || typeof bound === 'string' ? null : bound.port;
}

function isTaken(err: unknown): boolean {
  const cause = err instanceof Error ? err.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE';
}
