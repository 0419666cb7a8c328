/** Web proxies for images that are downloaded: which one a URL goes through, and how. */
import { request } from 'node:http';
import { Agent } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { Fault } from '../../process/fault.ts';

/** The server keys core.proxy_*; '' for none. */
export interface ProxyKeys {
  readonly http: string;
  readonly https: string;
  readonly ignoreHosts: string;
}

const CONNECT_MS = 30_000;

/**
 * The proxy for a URL, null for none. This machine itself is never asked for
 * through one. Fault bad_request for a proxy that is no http URL.
 */
export function proxyFor(url: URL, keys: ProxyKeys): URL | null {
  const text = url.protocol === 'https:' ? keys.https : keys.http;
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (text === '' || host === 'localhost' || host === '::1' || host.startsWith('127.')) return null;
  const ignored = keys.ignoreHosts.split(',').map((one) => one.trim().toLowerCase());
  if (ignored.some((one) => isIn(host, one))) return null;
  return parseProxy(text, `core.proxy_${url.protocol.slice(0, -1)}`);
}

/** `http://proxy:3128`, or without its scheme. Fault bad_request, without the text: it may hold a password. */
export function parseProxy(text: string, what = 'a proxy'): URL {
  const full = text.includes('://') ? text : `http://${text}`;
  const proxy = URL.canParse(full) ? new URL(full) : null;
  if (proxy?.protocol !== 'http:') {
    throw new Fault('bad_request', `${what} must be an http URL; write for example http://proxy:3128`);
  }
  return proxy;
}

/** `example.org` and `.example.org` mean the host and all below it, `*` every host. */
function isIn(host: string, pattern: string): boolean {
  if (pattern === '') return false;
  const name = pattern.replace(/^\*?\./, '');
  return pattern === '*' || host === name || host.endsWith(`.${name}`);
}

export function portOf(proxy: URL): number {
  return proxy.port === '' ? 80 : Number(proxy.port);
}

/** `name:password` for a proxy that asks for it; null without. */
export function loginOf(proxy: URL): { readonly username: string; readonly password: string } | null {
  if (proxy.username === '') return null;
  return { username: decodeURIComponent(proxy.username), password: decodeURIComponent(proxy.password) };
}

/** Reaches https servers through a tunnel that the proxy opens. */
export class TunnelAgent extends Agent {
  private readonly proxy: URL;

  constructor(proxy: URL) {
    super();
    this.proxy = proxy;
  }

  override createConnection(
    options: ConnectionOptions,
    done?: (err: Error | null, stream: Duplex) => void,
  ): null {
    const host = options.host ?? '';
    openTunnel(this.proxy, `${host.includes(':') ? `[${host}]` : host}:${String(options.port ?? 443)}`).then(
      (socket) => done?.(null, connect({ ...options, socket, servername: options.servername ?? host })),
      // The agent looks at the error alone.
      (err: unknown) =>
        done?.(err instanceof Error ? err : new Error(String(err)), null as unknown as Duplex),
    );
    return null;
  }
}

function openTunnel(proxy: URL, target: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const login = loginOf(proxy);
    const asked = request({
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: portOf(proxy),
      method: 'CONNECT',
      path: target,
      timeout: CONNECT_MS,
      agent: false,
      headers: {
        host: target,
        ...(login === null ? {} : { 'proxy-authorization': basic(login) }),
      },
    });
    asked.once('connect', (answer, socket) => {
      if (answer.statusCode === 200) resolve(socket);
      else {
        socket.destroy();
        reject(refused(proxy, target, `HTTP status ${String(answer.statusCode)}`));
      }
    });
    asked.once('response', (answer) => {
      answer.resume();
      reject(refused(proxy, target, `HTTP status ${String(answer.statusCode)}`));
    });
    asked.once('timeout', () => asked.destroy(new Error(`no answer within ${String(CONNECT_MS / 1000)} s`)));
    asked.once('error', (err) => {
      reject(refused(proxy, target, err.message));
    });
    asked.end();
  });
}

function basic({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function refused(proxy: URL, target: string, why: string): Fault {
  return new Fault('bad_request', `reach ${target} through the proxy ${proxy.host}: ${why}`);
}
