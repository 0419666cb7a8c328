/** A client of the REST API over a unix socket with kept connections, as the usual clients have them. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import http from 'node:http';
import { performance } from 'node:perf_hooks';

export interface Answer {
  readonly type: string;
  readonly operation: string;
  readonly error: string;
  readonly metadata: unknown;
}

/** What lies below the keys, undefined where there is nothing. */
export function dig(value: unknown, ...keys: readonly string[]): unknown {
  let at = value;
  for (const key of keys) {
    if (typeof at !== 'object' || at === null) return undefined;
    // An object of JSON: its keys are what the peer sent.
    at = (at as Readonly<Record<string, unknown>>)[key];
  }
  return at;
}

export class Client {
  readonly socketPath: string;
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** Body of the answer. A failed connection rejects. */
  async raw(
    method: string,
    path: string,
    body?: string | Buffer,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Buffer> {
    const res = await this.open(method, path, headers, (req) => req.end(body));
    const chunks: Buffer[] = [];
    for await (const chunk of res) chunks.push(Buffer.from(chunk as Uint8Array)); // a stream without encoding
    return Buffer.concat(chunks);
  }

  async request(method: string, path: string, body?: unknown): Promise<Answer> {
    return parse(await this.raw(method, path, body === undefined ? undefined : JSON.stringify(body)));
  }

  /** A request that must succeed; waits for its operation. Its metadata. */
  async done(method: string, path: string, body?: unknown): Promise<unknown> {
    return this.finish(`${method} ${path}`, await this.request(method, path, body));
  }

  async finish(what: string, answer: Answer): Promise<unknown> {
    if (answer.type === 'error') throw new Error(`${what}: ${answer.error}`);
    if (answer.type === 'sync') return answer.metadata;
    const ended = await this.request('GET', `${answer.operation}/wait`);
    if (dig(ended.metadata, 'status_code') !== 200) {
      throw new Error(`${what}: ${String(dig(ended.metadata, 'err') ?? ended.error)}`);
    }
    return ended.metadata;
  }

  /** Milliseconds until a request and its operation are done. */
  async time(method: string, path: string, body?: unknown): Promise<number> {
    const begin = performance.now();
    await this.done(method, path, body);
    return performance.now() - begin;
  }

  /** Reads an answer without keeping it. Resolves to the number of its bytes. */
  async drain(path: string): Promise<number> {
    const res = await this.open('GET', path, {}, (req) => req.end());
    let bytes = 0;
    for await (const chunk of res) bytes += Buffer.from(chunk as Uint8Array).length; // as above
    return bytes;
  }

  async upload(path: string, file: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    const { size } = await stat(file);
    const all = { 'content-type': 'application/octet-stream', 'content-length': String(size), ...headers };
    const res = await this.open('POST', path, all, (req) => createReadStream(file).pipe(req));
    const chunks: Buffer[] = [];
    for await (const chunk of res) chunks.push(Buffer.from(chunk as Uint8Array)); // as above
    return parse(Buffer.concat(chunks));
  }

  close(): void {
    this.agent.destroy();
  }

  private open(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    send: (req: http.ClientRequest) => void,
  ): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { socketPath, agent } = this;
      const req = http.request({ socketPath, agent, method, path, headers }, resolve);
      req.on('error', reject);
      send(req);
    });
  }
}

function parse(body: Buffer): Answer {
  const value: unknown = JSON.parse(body.toString());
  return {
    type: String(dig(value, 'type')),
    operation: String(dig(value, 'operation') ?? ''),
    error: String(dig(value, 'error') ?? ''),
    metadata: dig(value, 'metadata'),
  };
}
