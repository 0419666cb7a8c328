/** HTTP to the REST daemon of this host, over its unix socket. Answers are envelopes; errors become Faults. */
import http, { type IncomingMessage } from 'node:http';
import { type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { text as readText } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { envelope, errorEnvelope } from '../../api/wire/envelope.ts';
import { Fault, FAULTS, isFault, type FaultCode } from '../../process/fault.ts';

export interface RestRequest {
  readonly method: string;
  readonly path: string;
  /** JSON, or bytes when it is a stream. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Request id of Nova; the daemon writes it into its log. */
  readonly requestId?: string;
}

export interface RestAnswer {
  readonly metadata: unknown;
  /** URL of the operation that was started, or null. */
  readonly operation: string | null;
}

const CONNECT_CODES = ['ENOENT', 'ECONNREFUSED', 'EACCES', 'EPERM'];

/** Nobody listens, so nothing was sent. */
const NOT_THERE = ['ENOENT', 'ECONNREFUSED'];
const AGAIN_MS = 200;

export class Rest {
  readonly socketPath: string;
  /** How long a daemon that is being started again is waited for. */
  private readonly patienceMs: number;
  private readonly agent: http.Agent;

  constructor(socketPath: string, patienceMs = 0) {
    this.socketPath = socketPath;
    this.patienceMs = patienceMs;
    this.agent = new http.Agent({ keepAlive: true, maxFreeSockets: 8 });
  }

  /** Sends and opens the envelope. Fault of the daemon's own code; unavailable when it does not run. */
  async request(request: RestRequest): Promise<RestAnswer> {
    const response = await this.open(request);
    const answer = parsed(await textOf(response, request), request);
    const good = envelope.safeParse(answer);
    if (good.success) {
      const { operation, metadata } = good.data;
      return { metadata, operation: operation === '' ? null : operation };
    }
    throw faultOf(response.statusCode ?? 0, answer, request);
  }

  /** The answer unread, for files and logs. Errors become Faults. */
  async stream(request: RestRequest): Promise<IncomingMessage> {
    const response = await this.open(request);
    const status = response.statusCode ?? 0;
    if (status < 400) return response;
    throw faultOf(status, parsed(await textOf(response, request), request), request);
  }

  close(): void {
    this.agent.destroy();
  }

  private async open(request: RestRequest): Promise<IncomingMessage> {
    const deadline = performance.now() + this.patienceMs;
    for (let resets = 0; ;) {
      try {
        return await this.send(request);
      } catch (err) {
        if (request.signal?.aborted === true) throw request.signal.reason;
        if (isFault(err)) throw err;
        const code = codeOfError(err);
        const isThere = !NOT_THERE.includes(code);
        if (err instanceof IdleReset && resets === 0) resets += 1;
        // A stream that could not be sent is gone.
        else if (isThere || isReadable(request.body) || performance.now() >= deadline) {
          throw this.unreachable(request, code);
        } else await sleep(AGAIN_MS);
      }
    }
  }

  private unreachable(request: RestRequest, code: string): Fault {
    const hint = CONNECT_CODES.includes(code)
      ? `; is "slipway serve" running, and may this user open ${this.socketPath}?`
      : '';
    return new Fault('unavailable', `${what(request)}: the REST daemon cannot be reached (${code})${hint}`);
  }

  private send(request: RestRequest): Promise<IncomingMessage> {
    const { body } = request;
    const stream = isReadable(body) ? body : null;
    const text = body === undefined || stream !== null ? null : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const req = http.request({
        socketPath: this.socketPath,
        agent: this.agent,
        method: request.method,
        path: request.path,
        signal: request.signal,
        headers: {
          'User-Agent': 'slipway-compute',
          ...(text === null ? {} : { 'Content-Type': 'application/json' }),
          ...(request.requestId === undefined || request.requestId === ''
            ? {}
            : { 'X-Openstack-Request-Id': request.requestId }),
          ...request.headers,
        },
      });
      req.once('response', resolve);
      req.once('error', (err) => {
        const isIdle = req.reusedSocket && 'code' in err && err.code === 'ECONNRESET' && stream === null;
        reject(isIdle ? new IdleReset() : err);
      });
      if (stream === null) req.end(text ?? undefined);
      else pipeline(stream, req).catch(reject);
    });
  }
}

function codeOfError(err: unknown): string {
  return err instanceof Error && 'code' in err ? String(err.code) : 'connection failed';
}

/** The daemon was started again and closed what was kept. */
class IdleReset extends Error {}

async function textOf(response: IncomingMessage, request: RestRequest): Promise<string> {
  try {
    return await readText(response);
  } catch (cause) {
    if (request.signal?.aborted === true) throw request.signal.reason;
    throw new Fault('unavailable', `${what(request)}: the REST daemon broke off its answer`, { cause });
  }
}

function isReadable(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body;
}

function what(request: RestRequest): string {
  return `${request.method} ${request.path.replace(/\?.*$/, '')}`;
}

function parsed(text: string, request: RestRequest): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch (cause) {
    throw new Fault('unavailable', `${what(request)}: what answers on the socket is not the REST daemon`, {
      cause,
    });
  }
}

function faultOf(status: number, answer: unknown, request: RestRequest): Fault {
  const said = errorEnvelope.safeParse(answer);
  const code = said.success ? said.data.error_code : status;
  const text = said.success ? said.data.error : `HTTP status ${String(status)}`;
  return new Fault(codeOf(code), `${what(request)}: ${text}`, { facts: { status: code } });
}

const BY_STATUS: readonly (readonly [number, FaultCode])[] = [
  [400, 'bad_request'],
  [403, 'forbidden'],
  [409, 'conflict'],
  [500, 'internal'],
  [503, 'unavailable'],
];

/** The Fault code of a status: the plainest of those that share it. */
export function codeOf(status: number): FaultCode {
  const shared = BY_STATUS.find(([one]) => one === status);
  if (shared !== undefined) return shared[1];
  // The keys of a constant table are its codes.
  const codes = Object.keys(FAULTS) as FaultCode[];
  return codes.find((code) => FAULTS[code] === status) ?? 'internal';
}
