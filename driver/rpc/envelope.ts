/**
 * The bodies of messages: JSON with a JSON text inside (`oslo.message`), as
 * oslo.messaging 2.0 writes it. Broken ones end in a Fault bad_request here,
 * so that nothing behind this file meets them.
 */
import { Fault } from '../../process/fault.ts';
import { isRecord, textOrNull, type Json } from './json.ts';
import { uniqueId } from './unique-id.ts';

const VERSION = '2.0';
const CONTEXT = '_context_';

/** The request context: one entry for each `_context_…` key, without the prefix. Unknown ones are kept. */
export type RpcContext = Readonly<Record<string, unknown>>;

/** One call or cast as it came from the wire. */
export interface RpcRequest {
  readonly method: string;
  /** "1.0" when the message names none. */
  readonly version: string;
  readonly namespace: string | null;
  readonly args: Json;
  readonly context: RpcContext;
  /** `req-…` of the context, or '' . */
  readonly requestId: string;
  /** null: a cast, nobody waits. */
  readonly reply: ReplyAddress | null;
}

export interface ReplyAddress {
  readonly msgId: string;
  readonly queue: string;
  /** Seconds after which the caller gives up without a sign of life; null: it waits for the end. */
  readonly monitorS: number | null;
}

export interface Reply {
  readonly msgId: string;
  readonly result: unknown;
  /** A JSON text, or null. */
  readonly failure: string | null;
  readonly ending: boolean;
}

export interface Outgoing {
  readonly method: string;
  readonly version: string;
  readonly namespace?: string | undefined;
  readonly args: Readonly<Record<string, unknown>>;
  readonly context: RpcContext;
}

/** Opens the outer JSON. Fault bad_request when it is no JSON object or of another major version. */
export function openEnvelope(content: Buffer): Json {
  const outer = parsed(content.toString('utf8'), 'body');
  if (!isRecord(outer)) throw broken('the body is not a JSON object');
  const version = outer['oslo.version'];
  const inner = outer['oslo.message'];
  // Without both keys the body is the message itself.
  if (version === undefined || inner === undefined) return outer;
  if (typeof version !== 'string' || !/^2\.0(\.|$)/.test(version)) {
    throw broken(`the envelope is of version ${JSON.stringify(version)}, not ${VERSION}`);
  }
  if (typeof inner !== 'string') throw broken('oslo.message is not a text');
  const message = parsed(inner, 'oslo.message');
  if (!isRecord(message)) throw broken('oslo.message is not a JSON object');
  return message;
}

export function sealEnvelope(message: Readonly<Record<string, unknown>>): Buffer {
  return Buffer.from(JSON.stringify({ 'oslo.version': VERSION, 'oslo.message': JSON.stringify(message) }));
}

/** Id that is the same when a message comes again, or null. */
export function idOf(message: Json): string | null {
  return textOrNull(message['_unique_id']);
}

/** Where an answer is wanted, also for a message that is otherwise broken. */
export function replyAddress(message: Json): ReplyAddress | null {
  const msgId = message['_msg_id'];
  const queue = message['_reply_q'];
  if (typeof msgId !== 'string' || typeof queue !== 'string' || msgId === '' || queue === '') return null;
  const monitor = message['_timeout'];
  const monitorS = typeof monitor === 'number' && monitor >= 2 ? Math.min(monitor, 86_400) : null;
  return { msgId, queue, monitorS };
}

/** Fault bad_request for a message that is no request. */
export function readRequest(message: Json): RpcRequest {
  const method = message['method'];
  const args = message['args'] ?? {};
  const version = message['version'] ?? '1.0';
  const namespace = message['namespace'] ?? null;
  if (typeof method !== 'string' || method === '') throw broken('it names no method');
  if (!isRecord(args)) throw broken(`args of ${method} is not an object`);
  if (typeof version !== 'string') throw broken(`version of ${method} is not a text`);
  if (namespace !== null && typeof namespace !== 'string')
    throw broken(`namespace of ${method} is not a text`);
  const context = contextOf(message);
  const requestId = textOrNull(context['request_id']) ?? '';
  return { method, version, namespace, args, context, requestId, reply: replyAddress(message) };
}

export function contextOf(message: Json): RpcContext {
  // fromEntries and not assignments: a key may be called __proto__.
  return Object.fromEntries(
    Object.entries(message)
      .filter(([key]) => key.startsWith(CONTEXT))
      .map(([key, value]) => [key.slice(CONTEXT.length), value]),
  );
}

export function contextKeys(context: RpcContext): Json {
  return Object.fromEntries(Object.entries(context).map(([key, value]) => [`${CONTEXT}${key}`, value]));
}

/** The message of a request. `reply` makes it a call. */
export function writeRequest(request: Outgoing, reply: ReplyAddress | null): Json {
  return {
    method: request.method,
    args: request.args,
    ...(request.namespace === undefined ? {} : { namespace: request.namespace }),
    version: request.version,
    ...(reply === null ? {} : { _msg_id: reply.msgId, _reply_q: reply.queue, _timeout: reply.monitorS }),
    _unique_id: uniqueId(),
    ...contextKeys(request.context),
  };
}

export function readReply(message: Json): Reply {
  const msgId = message['_msg_id'];
  if (typeof msgId !== 'string') throw broken('a reply has no _msg_id');
  const failure = message['failure'] ?? null;
  if (failure !== null && typeof failure !== 'string') throw broken('failure of a reply is not a text');
  return { msgId, result: message['result'] ?? null, failure, ending: message['ending'] === true };
}

export function writeReply(reply: Reply): Json {
  return {
    result: reply.result ?? null,
    failure: reply.failure,
    ending: reply.ending,
    _msg_id: reply.msgId,
    _unique_id: uniqueId(),
  };
}

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Fault('bad_request', `read a message: ${what} is not JSON`, { cause });
  }
}

function broken(what: string): Fault {
  return new Fault('bad_request', `read a message: ${what}`);
}
