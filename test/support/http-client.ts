/** A small client for tests: one request over a unix socket or TLS, and the whole answer. */
import { request as plainRequest, type IncomingHttpHeaders, type RequestOptions } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { connect as connectPlain, type Socket } from 'node:net';

export interface Target {
  readonly socketPath?: string;
  readonly port?: number;
  /** Client certificate of a TLS target. */
  readonly cert?: string;
  readonly key?: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  /** The envelope; fails when the body is no JSON object. */
  json(): Record<string, unknown>;
}

export interface Send {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
}

/** Resolves with the answer; rejects when the connection ends without one. */
export function send(target: Target, what: Send): Promise<Reply> {
  const options: RequestOptions = {
    method: what.method ?? 'GET',
    path: what.path,
    headers: what.headers ?? {},
    agent: false,
    ...(target.socketPath === undefined
      ? { host: '127.0.0.1', port: target.port }
      : { socketPath: target.socketPath }),
  };
  const tls = {
    rejectUnauthorized: false,
    ...(target.cert === undefined ? {} : { cert: target.cert }),
    ...(target.key === undefined ? {} : { key: target.key }),
  };
  return new Promise((resolve, reject) => {
    const req = target.socketPath === undefined ? tlsRequest({ ...options, ...tls }) : plainRequest(options);
    let answered = false;
    req.on('response', (res) => {
      answered = true;
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const text = bytes.toString();
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          bytes,
          text,
          json: () => toObject(JSON.parse(text)),
        });
      });
    });
    // A server may answer and close while a large body is still being sent.
    req.on('error', (err) => {
      if (!answered) reject(err);
    });
    req.end(what.body);
  });
}

/** Sends bytes as they are and returns all that comes back until the connection ends or `quietMs` pass without data. */
export function sendRaw(
  socketPath: string,
  bytes: string | Buffer,
  quietMs: number,
): Promise<{ text: string; ended: boolean }> {
  return new Promise((resolve) => {
    const socket: Socket = connectPlain(socketPath);
    const chunks: Buffer[] = [];
    const finish = (ended: boolean): void => {
      socket.destroy();
      resolve({ text: Buffer.concat(chunks).toString('latin1'), ended });
    };
    socket.setTimeout(quietMs, () => {
      finish(false);
    });
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('close', () => {
      finish(true);
    });
    // What matters is what came back; the close follows.
    socket.on('error', () => undefined);
    socket.write(bytes);
  });
}

function toObject(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('the body is no JSON object');
  return { ...value };
}
