/**
 * Reads an image from a web server, LXD's `direct` way: a HEAD request may
 * name the file and its hash; a server that knows nothing of this gives the file itself.
 */
import { Readable } from 'node:stream';
import type { AxiosRequestConfig, AxiosResponse } from 'axios';
import { Fault } from '../../process/fault.ts';
import { HOST_ARCHITECTURE } from '../architectures.ts';
import { loginOf, portOf, proxyFor, TunnelAgent } from './web-proxy.ts';
import type { ProxyKeys } from './web-proxy.ts';

const ANSWER_MS = 30_000;
/** A download that brings nothing for so long has failed. */
const STALL_MS = 60_000;
const TELL_EVERY_MS = 1000;
const MOST_REDIRECTS = 5;

export interface FetchedImage {
  readonly content: AsyncIterable<Buffer>;
  /** SHA-256 that the server promised; null when it did not. */
  readonly fingerprint: string | null;
  readonly filename: string;
}

export interface FetchOptions {
  /** Version in LXD's sense, sent to the server. */
  readonly serverVersion: string;
  readonly proxies: ProxyKeys;
  readonly signal: AbortSignal;
  /** `45% (12.3MB/s)` */
  readonly onProgress: (text: string) => void;
}

/** Fault bad_request for what is no http(s) URL or cannot be had. */
export async function fetchImage(url: string, options: FetchOptions): Promise<FetchedImage> {
  const target = webUrl(url);
  const head = await ask('head', target, options);
  const named = header(head, 'lxd-image-url');
  const file = named === '' ? target : webUrl(named);
  const hash = header(head, 'lxd-image-hash').toLowerCase();
  const answer = await ask('get', file, options);
  const total = Number(header(answer, 'content-length'));
  return {
    content: watched(answer.data as Readable, total, options), // responseType is stream for get
    fingerprint: /^[0-9a-f]{64}$/.test(hash) ? hash : null,
    filename: (file.pathname.split('/').pop() ?? '').slice(0, 255),
  };
}

function webUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new Fault('bad_request', `${JSON.stringify(text.slice(0, 200))} is no http or https URL`);
  }
  return url;
}

/** Follows redirections itself: each place has its own proxy. */
async function ask(method: 'head' | 'get', url: URL, options: FetchOptions): Promise<AxiosResponse<unknown>> {
  let at = url;
  for (let hops = 0; hops <= MOST_REDIRECTS; hops += 1) {
    const answer = await askOnce(method, at, options);
    const next = header(answer, 'location');
    if (!isRedirect(answer.status) || next === '') return answer;
    if (answer.data instanceof Readable) answer.data.destroy();
    at = webUrl(URL.canParse(next, at.href) ? new URL(next, at).href : next);
  }
  throw new Fault('bad_request', `download ${url.origin}${url.pathname}: it is redirected again and again`);
}

function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

async function askOnce(
  method: 'head' | 'get',
  url: URL,
  options: FetchOptions,
): Promise<AxiosResponse<unknown>> {
  // Loaded when it is wanted: most daemons never download anything.
  const { default: axios, isAxiosError } = await import('axios');
  try {
    return await axios.request<unknown>({
      method,
      url: url.href,
      responseType: method === 'head' ? 'text' : 'stream',
      timeout: ANSWER_MS,
      maxRedirects: 0,
      maxContentLength: Infinity,
      decompress: false,
      ...through(url, options.proxies),
      signal: options.signal,
      headers: {
        'LXD-Server-Version': options.serverVersion,
        'LXD-Server-Architectures': HOST_ARCHITECTURE,
      },
      // A server may refuse HEAD and still have the file.
      validateStatus: (status) => method === 'head' || (status >= 200 && status < 300) || isRedirect(status),
    });
  } catch (err) {
    options.signal.throwIfAborted();
    const status = isAxiosError(err) ? (err.response?.status ?? err.code ?? '') : '';
    throw new Fault('bad_request', `download ${url.origin}${url.pathname}: ${String(status)}`, {
      cause: err,
    });
  }
}

/** What axios must be told of the proxy: for https it would not open a tunnel by itself. */
function through(url: URL, keys: ProxyKeys): Pick<AxiosRequestConfig, 'proxy' | 'httpsAgent'> {
  const proxy = proxyFor(url, keys);
  if (proxy === null) return { proxy: false };
  if (url.protocol === 'https:') return { proxy: false, httpsAgent: new TunnelAgent(proxy) };
  const auth = loginOf(proxy);
  const host = { protocol: 'http', host: proxy.hostname, port: portOf(proxy) };
  return { proxy: auth === null ? host : { ...host, auth } };
}

function header(answer: AxiosResponse<unknown>, name: string): string {
  const value: unknown = answer.headers[name];
  return typeof value === 'string' ? value : '';
}

async function* watched(stream: Readable, total: number, options: FetchOptions): AsyncGenerator<Buffer> {
  const stalled = setTimeout(() => {
    stream.destroy(new Fault('timeout', `the download brought nothing for ${String(STALL_MS / 1000)} s`));
  }, STALL_MS);
  const begun = performance.now();
  let received = 0;
  let toldAt = begun;
  try {
    for await (const chunk of stream) {
      stalled.refresh();
      received += (chunk as Buffer).length; // no encoding is set
      yield chunk as Buffer;
      const now = performance.now();
      if (now - toldAt < TELL_EVERY_MS) continue;
      toldAt = now;
      options.onProgress(progress(received, total, now - begun));
    }
  } finally {
    clearTimeout(stalled);
  }
}

/** In the words `lxc` shows. */
export function progress(received: number, total: number, elapsedMs: number): string {
  const speed = `${(received / 1e3 / Math.max(elapsedMs, 1)).toFixed(2)}MB/s`;
  if (!(total > 0)) return `${(received / 1e6).toFixed(2)}MB (${speed})`;
  return `${String(Math.floor((received / total) * 100))}% (${speed})`;
}
