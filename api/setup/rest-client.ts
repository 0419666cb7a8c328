/** The REST service as its clients see it, over the unix socket. The set-up commands use nothing else of the daemon. */
import { createReadStream } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { stat } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Fault, type FaultCode } from '../../process/fault.ts';

/** LXD's envelope, as far as it is read here. */
interface Envelope {
  readonly type: string;
  readonly status_code?: number;
  readonly error_code?: number;
  readonly error?: string;
  readonly operation?: string;
  readonly metadata?: unknown;
}

interface OperationBody {
  readonly id: string;
  readonly status_code: number;
  readonly err?: string;
  readonly metadata?: Readonly<Record<string, unknown>> | null;
}

const ANSWER_MS = 30_000;
/** One wait for an operation; it is asked again until it has ended. */
const WAIT_S = 20;
const SUCCESS = 200;
const CHUNK = 1024 * 1024;

const CODES: Readonly<Record<number, FaultCode>> = {
  400: 'bad_request',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  412: 'etag_mismatch',
  503: 'unavailable',
  507: 'storage_full',
};

interface SentFile {
  readonly file: string;
  /** Text around it. */
  readonly before?: string;
  readonly after?: string;
}

interface SendOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly files?: readonly SentFile[];
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((sent: number, total: number) => void) | undefined;
  readonly timeoutMs?: number;
}

export class RestClient {
  private readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  /** `metadata` of a sync answer. Fault with the server's text otherwise; unavailable when nobody listens. */
  async get(path: string, signal?: AbortSignal): Promise<unknown> {
    return (await this.send('GET', path, { signal })).metadata;
  }

  /** As get(), but null when there is no such thing. */
  async find(path: string, signal?: AbortSignal): Promise<unknown> {
    try {
      return await this.get(path, signal);
    } catch (err) {
      if (err instanceof Fault && err.code === 'not_found') return null;
      throw err;
    }
  }

  /** Sends a change and waits until it is done, in the background or not. */
  async change(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.finish(await this.send(method, path, { body, signal }), signal);
  }

  /** Sends a file as the body and waits for the operation. */
  async upload(path: string, file: string, options: Omit<SendOptions, 'files' | 'body'>): Promise<unknown> {
    const answer = await this.send('POST', path, { ...options, files: [{ file }], timeoutMs: 0 });
    return this.finish(answer, options.signal);
  }

  /** Sends files as the parts of a form, in their order, and waits for the operation. */
  async uploadForm(
    path: string,
    parts: readonly { readonly name: string; readonly file: string }[],
    options: Omit<SendOptions, 'files' | 'body'>,
  ): Promise<unknown> {
    const boundary = `slipway-${randomUUID()}`;
    const files = parts.map(({ name, file }, index): SentFile => {
      const about = `Content-Disposition: form-data; name="${name}"; filename="${basename(file)}"`;
      return {
        file,
        before: `${index === 0 ? '' : '\r\n'}--${boundary}\r\n${about}\r\nContent-Type: application/octet-stream\r\n\r\n`,
        ...(index === parts.length - 1 ? { after: `\r\n--${boundary}--\r\n` } : {}),
      };
    });
    const headers = { ...options.headers, 'Content-Type': `multipart/form-data; boundary=${boundary}` };
    const answer = await this.send('POST', path, { ...options, headers, files, timeoutMs: 0 });
    return this.finish(answer, options.signal);
  }

  private async finish(answer: Envelope, signal: AbortSignal | undefined): Promise<unknown> {
    if (answer.type !== 'async') return answer.metadata;
    let operation = asOperation(answer.metadata);
    const url = `/1.0/operations/${operation.id}`;
    while (operation.status_code < SUCCESS) {
      try {
        const next = await this.send('GET', `${url}/wait?timeout=${String(WAIT_S)}`, { signal });
        operation = asOperation(next.metadata);
      } catch (err) {
        // An operation that ended is forgotten after a while: then there is nothing left to wait for.
        if (signal?.aborted === true) await this.cancel(url);
        throw err;
      }
    }
    if (operation.status_code !== SUCCESS) {
      throw new Fault('tool_failed', operation.err ?? 'the operation failed without a reason');
    }
    return operation.metadata;
  }

  /** Best effort, after the user interrupted: an operation that cannot be cancelled goes on in the daemon. */
  private async cancel(url: string): Promise<void> {
    await this.send('DELETE', url, {}).catch(() => undefined);
  }

  private async send(method: string, path: string, options: SendOptions): Promise<Envelope> {
    const what = `${method} ${path} at ${this.socket}`;
    try {
      const answer = await this.exchange(method, path, options);
      return checked(answer.status, answer.text, what);
    } catch (err) {
      options.signal?.throwIfAborted();
      if (err instanceof Fault) throw err;
      throw new Fault('unavailable', what, { cause: err });
    }
  }

  private exchange(
    method: string,
    path: string,
    options: SendOptions,
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const json = options.body === undefined ? undefined : JSON.stringify(options.body);
      const outgoing = request({
        socketPath: this.socket,
        method,
        path,
        headers: {
          ...(json === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...options.headers,
        },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        timeout: options.timeoutMs ?? ANSWER_MS,
      });
      outgoing.on('error', reject);
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('response', (incoming) => {
        readText(incoming).then((text) => {
          resolve({ status: incoming.statusCode ?? 0, text });
        }, reject);
      });
      if (options.files === undefined) outgoing.end(json);
      // An error of the request itself has been told above; what is left are errors of the files.
      else pipeline(contentsOf(options.files, options.onBytes), outgoing).catch(reject);
    });
  }
}

async function* contentsOf(
  files: readonly SentFile[],
  onBytes: SendOptions['onBytes'],
): AsyncGenerator<Buffer | string> {
  let total = 0;
  for (const { file } of files) total += (await stat(file)).size;
  let sent = 0;
  for (const { file, before, after } of files) {
    if (before !== undefined) yield before;
    // Without an encoding set, a file stream yields buffers.
    for await (const chunk of createReadStream(file, { highWaterMark: CHUNK }) as AsyncIterable<Buffer>) {
      sent += chunk.length;
      onBytes?.(sent, total);
      yield chunk;
    }
    if (after !== undefined) yield after;
  }
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  // Without an encoding set, an http message yields buffers.
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function checked(status: number, text: string, what: string): Envelope {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new Fault('unavailable', `${what}: the answer (${String(status)}) is no JSON`, { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || !('type' in parsed)) {
    throw new Fault('unavailable', `${what}: the answer is not one of this API`);
  }
  // The fields are all optional but for `type`, which was looked at above.
  const envelope = parsed as Envelope;
  if (envelope.type !== 'error') return envelope;
  throw new Fault(CODES[envelope.error_code ?? status] ?? 'tool_failed', envelope.error ?? what);
}

function asOperation(value: unknown): OperationBody {
  if (typeof value === 'object' && value !== null && 'id' in value && 'status_code' in value) {
    // Two of its fields were looked at; the others are optional.
    return value as OperationBody;
  }
  throw new Fault('unavailable', 'the service did not answer with an operation');
}
