/** `/1.0/operations`: background operations, their end, their cancelling and their websockets. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import type { Events } from '../events/events.ts';
import { answers, type Call, type Caller, type Route, type WebSocketRoute } from '../http/route.ts';
import type { KnownOperation, OperationsAdmin } from '../operations/operations.ts';
import { operation, operationList } from '../wire/operations.ts';

const LIST = '/1.0/operations';
const ONE = '/1.0/operations/{id}';
const MAX_WAIT_S = 2 ** 31 / 1000 - 1;

export interface OperationRouteParts {
  readonly operations: OperationsAdmin;
  readonly events: Events;
}

export function operationRoutes(parts: OperationRouteParts): Route[] {
  const { operations, events } = parts;
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'trusted',
      summary: 'Lists the operations, grouped by their status.',
      answer: operationList,
      handle: async (call) => answers.sync(listOperations(operations, call)),
    },
    {
      method: 'GET',
      path: ONE,
      access: 'trusted',
      summary: 'Shows an operation; it can be read for five seconds after its end.',
      answer: operation,
      handle: async (call) => answers.sync(visible(operations, call).render()),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'trusted',
      summary: 'Cancels an operation.',
      handle: async (call) => {
        const found = visible(operations, call);
        await found.cancel();
        events.lifecycle('operation-cancelled', `${LIST}/${found.id}`, {
          requestor: call.caller.requestor,
          ...(found.project === '' ? {} : { project: found.project }),
        });
        return answers.empty();
      },
    },
    {
      method: 'GET',
      path: `${ONE}/wait`,
      access: 'any',
      summary: 'Answers when the operation has ended, or after `timeout` seconds; always with 200.',
      answer: operation,
      handle: async (call) => {
        const found = forWaiting(operations, call);
        await waitFor(found, readTimeout(call.query.get('timeout')), call.signal);
        return answers.sync(found.render());
      },
    },
  ];
}

export function operationWebSockets(parts: OperationRouteParts): WebSocketRoute[] {
  return [
    {
      path: `${ONE}/websocket`,
      access: 'any',
      summary: 'Connects one of the websockets of an operation; the secret alone lets in, once.',
      accept: async (call) => {
        return parts.operations.connect(call.params['id'] ?? '', call.query.get('secret') ?? '');
      },
    },
  ];
}

function listOperations(operations: OperationsAdmin, call: Call): Record<string, unknown[]> {
  const isEverywhere = call.query.get('all-projects') === 'true';
  const byStatus: Record<string, unknown[]> = {};
  for (const found of operations.list()) {
    const isAsked = isEverywhere || found.project === call.project || found.project === '';
    if (!isAsked || !maySee(call.caller, found)) continue;
    const list = (byStatus[found.status.toLowerCase()] ??= []);
    list.push(call.recursion > 0 ? found.render() : `${LIST}/${found.id}`);
  }
  return byStatus;
}

/** Operations of the whole server may hold tokens: they are the admins' alone. */
function maySee(caller: Caller, found: KnownOperation): boolean {
  return caller.admin || (caller.trusted && (caller.projects ?? []).includes(found.project));
}

function visible(operations: OperationsAdmin, call: Call): KnownOperation {
  const found = operations.known(call.params['id'] ?? '');
  if (!maySee(call.caller, found)) throw new Fault('not_found', 'Operation not found');
  return found;
}

/** Callers nobody trusts may wait when they know the operation's secret. */
function forWaiting(operations: OperationsAdmin, call: Call): KnownOperation {
  const secret = call.query.get('secret') ?? '';
  if (call.caller.trusted && secret === '') return visible(operations, call);
  const found = secret === '' ? null : operations.known(call.params['id'] ?? '');
  if (found?.hasSecret(secret) !== true) throw new Fault('not_trusted', 'not authorized');
  return found;
}

/** Seconds; -1 for ever. */
function readTimeout(text: string | null): number {
  if (text === null || text === '') return -1;
  const seconds = Number(text);
  if (!Number.isInteger(seconds)) {
    throw new Fault('bad_request', `timeout "${text.slice(0, 40)}" is not a number of seconds`);
  }
  return seconds;
}

async function waitFor(found: KnownOperation, timeoutS: number, gone: AbortSignal): Promise<void> {
  if (found.isFinal || timeoutS === 0) return;
  const timer = new AbortController();
  const signal = AbortSignal.any([timer.signal, gone]);
  const until = timeoutS < 0 || timeoutS > MAX_WAIT_S ? MAX_WAIT_S : timeoutS;
  // An aborted timer is the end of the waiting, not an error.
  const late = sleep(until * 1000, undefined, { signal }).catch(() => undefined);
  await Promise.race([found.finished, late]);
  timer.abort();
}
