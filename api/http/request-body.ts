/** Bodies of requests: JSON that has been checked, or the bytes as they come. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { z } from 'zod';
import { Fault } from '../../process/fault.ts';
import { jsonErrorPlace } from './json-position.ts';

export const MAX_JSON_BYTES = 1024 * 1024;
/** A JSON body must be complete, and a stream must go on, within this time. */
const PATIENCE_MS = 60_000;
/** What is read of a body that nobody wants. */
const MAX_DRAINED_BYTES = 16 * 1024 * 1024;
const DRAIN_MS = 5000;
const DRAIN_QUIET_MS = 250;
/** No name, value or path can hold it; PostgreSQL cannot store it. */
const ZERO_BYTE = /(?<!\\)(?:\\\\)*\\u0000/;
/** An escaped half of a surrogate pair, with or without its other half. */
const HALF_LETTER = /\\u[dD][89a-fA-F]/;

/**
 * Reads and checks a JSON body. Its Content-Type is not looked at, as in LXD.
 * Faults: too_large; bad_request with the place of a syntax error or the name
 * of the field with a wrong type.
 */
export async function readJsonBody(req: IncomingMessage, schema: z.ZodType): Promise<unknown> {
  const text = decodeUtf8(await readBytes(req));
  const found = schema.safeParse(parseJson(text));
  if (found.success) return found.data;
  const issue = found.error.issues[0];
  const field = issue?.path.map(String).join('.') ?? '';
  const what = field === '' ? 'the request body' : `field "${field.slice(0, 200)}"`;
  throw new Fault('bad_request', `${what} is not valid: ${lowerFirst(issue?.message ?? 'wrong type')}`);
}

function parseJson(text: string): unknown {
  if (text.trim() === '') throw new Fault('bad_request', 'the request body is empty, JSON was expected');
  if (ZERO_BYTE.test(text)) throw new Fault('bad_request', 'the request body holds a zero byte in a text');
  try {
    const value: unknown = JSON.parse(HALF_LETTER.test(text) ? withWholeLetters(text) : text);
    return value;
  } catch (err) {
    if (err instanceof RangeError) throw new Fault('bad_request', 'the request body is nested too deeply');
    if (!(err instanceof SyntaxError)) throw err;
    throw new Fault('bad_request', `the request body is not JSON: syntax error at ${jsonErrorPlace(text)}`);
  }
}

/**
 * Halves of surrogate pairs become U+FFFD, as in Go: they could be stored, but
 * then no URL could be made of the name. Rendered anew, only halves that have
 * no partner are escapes.
 */
function withWholeLetters(text: string): string {
  return JSON.stringify(JSON.parse(text)).replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g, '$1\\ufffd');
}

function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // The decoder's only complaint; its message has nothing a client could use.
    throw new Fault('bad_request', 'the request body is not UTF-8');
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function tooLarge(): Fault {
  return new Fault('too_large', `the request body is larger than ${String(MAX_JSON_BYTES)} bytes`);
}

function readBytes(req: IncomingMessage): Promise<Buffer> {
  if (Number(req.headers['content-length'] ?? 0) > MAX_JSON_BYTES) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (act: () => void): void => {
      clearTimeout(timer);
      req.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      act();
    };
    const fail = (fault: Fault): void => {
      finish(() => {
        req.pause();
        reject(fault);
      });
    };
    const timer = setTimeout(() => {
      fail(
        new Fault('bad_request', `the request body was not complete after ${String(PATIENCE_MS / 1000)} s`),
      );
    }, PATIENCE_MS);
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > MAX_JSON_BYTES) fail(tooLarge());
      else chunks.push(chunk);
    };
    const onEnd = (): void => {
      finish(() => {
        resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks));
      });
    };
    const onClose = (): void => {
      fail(new Fault('bad_request', 'the client went away before the request body was complete'));
    };
    req.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/**
 * The body as a stream of its own. A verb that destroys it (a pipeline that
 * failed does) must not take the connection with it: the client still has to
 * read why.
 */
export class BodyStream extends Readable {
  private readonly source: IncomingMessage;
  private idle: NodeJS.Timeout | null = null;

  constructor(source: IncomingMessage) {
    super({ highWaterMark: 256 * 1024 });
    this.source = source;
    source.on('data', this.onData).on('end', this.onEnd).on('close', this.onClose).on('error', this.onClose);
    source.pause();
  }

  override _read(): void {
    this.idle ??= setTimeout(() => {
      this.destroy(new Fault('bad_request', `the request body stopped for ${String(PATIENCE_MS / 1000)} s`));
    }, PATIENCE_MS);
    this.source.resume();
  }

  override _destroy(err: Error | null, done: (err?: Error | null) => void): void {
    this.stopTimer();
    const { source } = this;
    source
      .off('data', this.onData)
      .off('end', this.onEnd)
      .off('close', this.onClose)
      .off('error', this.onClose);
    source.pause();
    done(err);
  }

  private readonly onData = (chunk: Buffer): void => {
    if (this.push(chunk)) {
      this.idle?.refresh();
      return;
    }
    // The reader is the slow one now: no time limit for the client.
    this.stopTimer();
    this.source.pause();
  };

  private readonly onEnd = (): void => {
    this.stopTimer();
    this.push(null);
  };

  private readonly onClose = (): void => {
    if (!this.source.complete) {
      this.destroy(new Fault('bad_request', 'the client went away before the request body was complete'));
    }
  };

  private stopTimer(): void {
    if (this.idle !== null) clearTimeout(this.idle);
    this.idle = null;
  }
}

/** True while the client may still be sending a body. */
export function hasUnreadBody(req: IncomingMessage): boolean {
  if (req.complete) return false;
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;
}

/**
 * Throws away what is left of a body before an answer is sent: many clients
 * read nothing until they have sent everything. Resolves at the end of the
 * body, or when the client sends too much, for too long, or nothing at all.
 */
export function drainBody(req: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let size = 0;
    const finish = (): void => {
      clearTimeout(total);
      clearTimeout(quiet);
      req.off('data', onData).off('end', finish).off('error', finish).off('close', finish);
      resolve();
    };
    const total = setTimeout(finish, DRAIN_MS);
    const quiet = setTimeout(finish, DRAIN_QUIET_MS);
    const onData = (chunk: Buffer): void => {
      quiet.refresh();
      size += chunk.length;
      if (size > MAX_DRAINED_BYTES) finish();
    };
    req.on('data', onData).on('end', finish).on('error', finish).on('close', finish);
    req.resume();
  });
}
