/**
 * HTTP to the services of the cloud: connections that are kept, deadlines, and
 * errors that are Faults. axios' own errors hold the whole request with the
 * token in it, so none of them leaves this file.
 */
import http from 'node:http';
import https from 'node:https';
import { type Readable } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import axios, { type AxiosInstance, type AxiosResponse } from 'axios';
import { Fault } from '../../process/fault.ts';
import { type Log } from '../../process/log.ts';
import { CloudFault, readError } from './cloud-fault.ts';
import { recordOf } from './json.ts';

export interface TlsOptions {
  /** PEM texts. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The certificate is not checked. */
  readonly insecure?: boolean;
}

export interface SessionOptions {
  readonly log: Log;
  /** Milliseconds a request may take until its answer is complete (streams: until its head is there). */
  readonly timeoutMs: number;
  readonly tls?: TlsOptions;
}

export interface HttpRequest {
  /** What is done, for errors: "create a port at Neutron". */
  readonly what: string;
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A Readable or a Buffer is sent as it is, everything else as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  /** Statuses of 300 and more that are no fault. */
  readonly accept?: readonly number[];
  /** It must not be sent a second time, even when the connection broke before an answer. */
  readonly isOnce?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON that was read; other text as it is; null for none. */
  readonly body: unknown;
}

export interface HttpStream {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

/** Kept connections close before the usual server does (Apache: 5 s), so that few requests meet a closing one. */
const IDLE_MS = 4000;
const SECRET_HEADERS = ['x-auth-token', 'x-service-token', 'x-subject-token'];
/** The connection went away under a request. */
const RESET = ['ECONNRESET', 'EPIPE'];

export class HttpSession {
  private readonly log: Log;
  private readonly timeoutMs: number;
  private readonly agents: readonly [http.Agent, https.Agent];
  private readonly client: AxiosInstance;

  constructor(options: SessionOptions) {
    this.log = options.log;
    this.timeoutMs = options.timeoutMs;
    const keep = { keepAlive: true, maxFreeSockets: 16, timeout: IDLE_MS };
    const { tls = {} } = options;
    const secure = new https.Agent({
      ...keep,
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls.key === undefined ? {} : { key: tls.key }),
      rejectUnauthorized: tls.insecure !== true,
    });
    this.agents = [new http.Agent(keep), secure];
    this.client = axios.create({
      adapter: 'http',
      httpAgent: this.agents[0],
      httpsAgent: this.agents[1],
      // Only the configuration says where to connect to, not the environment.
      proxy: false,
      // A redirect would carry the token to wherever it points.
      maxRedirects: 0,
      maxBodyLength: Infinity,
      maxContentLength: Infinity,
      decompress: false,
      responseType: 'stream',
      validateStatus: () => true,
    });
  }

  /** Sends and reads the whole answer. CloudFault for a status of 300 and more; Fault unavailable, timeout. */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { response, deadline } = await this.start(request);
    try {
      return { ...headOf(response), body: await bodyOf(response, request) };
    } catch (err) {
      throw this.faultOf(err, request, deadline);
    } finally {
      deadline.end();
    }
  }

  /** Sends and hands out the body unread. The deadline holds for the head alone; the caller ends the stream. */
  async stream(request: HttpRequest): Promise<HttpStream> {
    const { response, deadline } = await this.start(request);
    deadline.end();
    const { signal } = request;
    const { data: body } = response;
    const abort = (): void => void body.destroy(new Error('given up'));
    signal?.addEventListener('abort', abort, { once: true });
    body.once('close', () => signal?.removeEventListener('abort', abort));
    return { ...headOf(response), body };
  }

  /** Closes the connections that are kept. */
  close(): void {
    for (const agent of this.agents) agent.destroy();
  }

  private async start(request: HttpRequest): Promise<{ response: Response; deadline: Deadline }> {
    const deadline = new Deadline(request.timeoutMs ?? this.timeoutMs, request.signal);
    try {
      const response = await this.exchange(request, deadline, true);
      if (response.status < 300 || request.accept?.includes(response.status) === true) {
        return { response, deadline };
      }
      const said = readError(await bodyOf(response, request), secretsOf(request));
      throw new CloudFault(request.what, response.status, said);
    } catch (err) {
      deadline.end();
      throw this.faultOf(err, request, deadline);
    }
  }

  private async exchange(request: HttpRequest, deadline: Deadline, mayRepeat: boolean): Promise<Response> {
    const { body } = request;
    const isRaw = body === undefined || Buffer.isBuffer(body) || isReadable(body);
    try {
      return await this.client.request<Readable>({
        method: request.method,
        url: request.url,
        headers: {
          Accept: 'application/json',
          'User-Agent': 'slipway-compute',
          ...(isRaw ? {} : { 'Content-Type': 'application/json' }),
          ...request.headers,
        },
        ...(body === undefined ? {} : { data: isRaw ? body : JSON.stringify(body) }),
        signal: deadline.signal,
      });
    } catch (err) {
      const isRepeatable = mayRepeat && request.isOnce !== true && !isReadable(body);
      if (!isRepeatable || !isIdleReset(err) || deadline.signal.aborted) throw err;
      this.log.debug('kept connection was closed, the request is sent again', { what: request.what });
      return this.exchange(request, deadline, false);
    }
  }

  private faultOf(err: unknown, request: HttpRequest, deadline: Deadline): unknown {
    if (err instanceof Fault) return err;
    if (request.signal?.aborted === true) return request.signal.reason;
    const { host } = new URL(request.url);
    if (deadline.isOver) {
      return new Fault('timeout', `${request.what}: no answer of ${host} in ${String(deadline.ms)} ms`);
    }
    const code = codeOf(err);
    return new Fault('unavailable', `${request.what}: ${host} cannot be reached (${code})`, {
      facts: { code },
    });
  }
}

type Response = AxiosResponse<Readable>;

/** The caller's signal and the time limit in one. */
class Deadline {
  readonly ms: number;
  readonly signal: AbortSignal;
  isOver = false;
  private readonly timer: NodeJS.Timeout;

  constructor(ms: number, outer: AbortSignal | undefined) {
    this.ms = ms;
    const own = new AbortController();
    this.timer = setTimeout(() => {
      this.isOver = true;
      own.abort();
    }, ms);
    this.signal = outer === undefined ? own.signal : AbortSignal.any([own.signal, outer]);
  }

  end(): void {
    clearTimeout(this.timer);
  }
}

function isReadable(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body;
}

function codeOf(err: unknown): string {
  const code = recordOf(err)['code'];
  if (typeof code === 'string') return code;
  return err instanceof Error && err.message === 'socket hang up' ? 'ECONNRESET' : 'connection failed';
}

/** The other side closed a kept connection before it saw the request. */
function isIdleReset(err: unknown): boolean {
  const { request } = recordOf(err);
  return RESET.includes(codeOf(err)) && recordOf(request)['reusedSocket'] === true;
}

function secretsOf(request: HttpRequest): string[] {
  return Object.entries(request.headers ?? {})
    .filter(([name]) => SECRET_HEADERS.includes(name.toLowerCase()))
    .map(([, value]) => value);
}

function headOf(response: Response): { status: number; headers: Record<string, string> } {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(response.headers)) {
    if (typeof value === 'string') headers[name.toLowerCase()] = value;
  }
  return { status: response.status, headers };
}

async function bodyOf(response: Response, request: HttpRequest): Promise<unknown> {
  const text = await readText(response.data);
  if (text === '') return null;
  const type = String(response.headers['content-type'] ?? '');
  if (!type.includes('json')) return text;
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    // The parser's text quotes the answer, which may hold a secret.
    throw new Fault('unavailable', `${request.what}: the answer is broken JSON`);
  }
}
