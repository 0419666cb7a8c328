/**
 * Lines of a table: one request each, and all that a client may match on in
 * its answer. Every answer is held against the envelope that belongs to its
 * status, down to the order of the keys.
 */
import assert from 'node:assert/strict';
import { send, type Reply, type Target } from './http-client.ts';

export interface Line {
  /** `GET /1.0/instances`; the path is sent as it is. */
  readonly ask: string;
  /** Sent as JSON; a string or buffer as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly code: number;
  /** The whole text of the error, or a pattern. */
  readonly error?: string | RegExp;
  /** What the metadata must hold; objects may hold more, lists may not. */
  readonly holds?: unknown;
  /** The metadata, exactly. */
  readonly is?: unknown;
  readonly location?: string | RegExp;
  /** An ETag must (true) or must not (false) be there. */
  readonly etag?: boolean;
  /** Headers of the answer, by their lower-case names. */
  readonly answers?: Readonly<Record<string, string | RegExp>>;
  /** Body of a file answer. */
  readonly text?: string | RegExp;
  /** Waits for the operation: its final status, or the text of its failure. */
  readonly ends?: 'Success' | { readonly err: string | RegExp };
  /** What the operation must hold at its end. */
  readonly result?: unknown;
}

const KEYS = ['type', 'status', 'status_code', 'operation', 'error_code', 'error', 'metadata'];
const OPERATION_KEYS = [
  ...['id', 'class', 'description', 'created_at', 'updated_at', 'status', 'status_code', 'resources'],
  ...['metadata', 'may_cancel', 'err', 'location'],
];

/** Sends one line and checks its answer. */
export async function check(target: Target, line: Line): Promise<Reply> {
  const [method = '', path = ''] = line.ask.split(' ');
  const isPlain = typeof line.body === 'string' || Buffer.isBuffer(line.body);
  const reply = await send(target, {
    method,
    path,
    headers: { ...line.headers },
    ...(line.body === undefined ? {} : { body: isPlain ? line.body : JSON.stringify(line.body) }),
  });
  const told = `${line.ask} answered ${String(reply.status)} ${reply.text.slice(0, 400)}`;
  assert.equal(reply.status, line.code, told);
  checkHeaders(reply, line, told);
  if (line.text !== undefined) match(reply.text, line.text, told);
  else if (method !== 'HEAD' && reply.headers['content-type'] === 'application/json') {
    await checkJson(target, reply, line, told);
  }
  return reply;
}

function checkHeaders(reply: Reply, line: Line, told: string): void {
  if (line.location !== undefined) match(reply.headers.location ?? '', line.location, told);
  if (line.etag !== undefined)
    assert.equal(/^"[0-9a-f]{64}"$/.test(reply.headers.etag ?? ''), line.etag, told);
  for (const [name, value] of Object.entries(line.answers ?? {})) {
    match(String(reply.headers[name] ?? ''), value, `${told}: header ${name}`);
  }
  if (reply.status >= 400) assert.equal(reply.headers['x-content-type-options'], 'nosniff', told);
}

async function checkJson(target: Target, reply: Reply, line: Line, told: string): Promise<void> {
  const envelope = reply.json();
  assert.deepEqual(Object.keys(envelope), KEYS, told);
  const { metadata } = envelope;
  const rest = Object.fromEntries(Object.entries(envelope).filter(([key]) => key !== 'metadata'));
  const { location = '' } = reply.headers;
  const sync = { type: 'sync', status: 'Success', status_code: 200, operation: '', error_code: 0, error: '' };
  if (line.code >= 400) {
    const error = { type: 'error', status: '', status_code: 0, operation: '', error_code: line.code };
    assert.deepEqual(rest, { ...error, error: envelope['error'] }, told);
    assert.equal(metadata, null, told);
    assert.notEqual(envelope['error'], '', told);
    if (line.error !== undefined) match(String(envelope['error']), line.error, told);
  } else if (line.code === 202) {
    const started = { type: 'async', status: 'Operation created', status_code: 100, operation: location };
    assert.deepEqual(rest, { ...started, error_code: 0, error: '' }, told);
    checkOperation(metadata, location, told);
  } else {
    assert.deepEqual(rest, sync, told);
    if (line.code === 201) assert.equal(metadata, null, told);
  }
  if ('is' in line) assert.deepEqual(metadata, line.is, told);
  if ('holds' in line) holds(metadata, line.holds, told);
  if (line.ends !== undefined) await checkEnd(target, location, line);
}

/** In the answer of the request that made it the operation runs already. */
function checkOperation(metadata: unknown, location: string, told: string): void {
  const operation = objectOf(metadata, told);
  assert.deepEqual(Object.keys(operation), OPERATION_KEYS, told);
  assert.match(location, /^\/1\.0\/operations\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, told);
  assert.equal(`/1.0/operations/${String(operation['id'])}`, location, told);
  holds(operation, { status: 'Running', status_code: 103, err: '', location: 'none' }, told);
}

async function checkEnd(target: Target, location: string, line: Line): Promise<void> {
  const reply = await send(target, { path: `${location}/wait` });
  const told = `${line.ask} ended with ${reply.text.slice(0, 600)}`;
  assert.equal(reply.status, 200, told);
  const operation = objectOf(reply.json()['metadata'], told);
  if (line.ends === 'Success') holds(operation, { status: 'Success', status_code: 200, err: '' }, told);
  else {
    holds(operation, { status: 'Failure', status_code: 400 }, told);
    match(String(operation['err']), line.ends?.err ?? '', told);
  }
  if ('result' in line) holds(operation, line.result, told);
}

function match(text: string, wanted: string | RegExp, told: string): void {
  if (typeof wanted === 'string') assert.equal(text, wanted, told);
  else assert.match(text, wanted, told);
}

function objectOf(value: unknown, told: string): Record<string, unknown> {
  assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value), told);
  return { ...value };
}

/** Fails where `value` lacks something of `wanted`; a pattern stands for a text, a function decides itself. */
export function holds(value: unknown, wanted: unknown, told: string): void {
  if (wanted instanceof RegExp) match(String(value), wanted, told);
  else if (typeof wanted === 'function') assert.ok(wanted(value), told);
  else if (Array.isArray(wanted)) {
    assert.ok(Array.isArray(value) && value.length === wanted.length, told);
    wanted.forEach((one, index) => {
      holds(value[index], one, `${told}: [${String(index)}]`);
    });
  } else if (typeof wanted === 'object' && wanted !== null) {
    const actual = objectOf(value, told);
    for (const [key, one] of Object.entries(wanted)) holds(actual[key], one, `${told}: ${key}`);
  } else assert.deepEqual(value, wanted, told);
}
