/**
 * Instances whose delete has come and waits for its turn in their lane: a build
 * that only waits for something ends at once, and the delete goes on.
 */
import { novaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';

type Host = Pick<ComputeHost, 'events'>;

/** By host, so that several in one process do not meet. */
const known = new WeakMap<object, Map<string, AbortController>>();

/** A delete has come; call what is given back when it has ended. */
export function announceDelete(host: Host, uuid: string): () => void {
  host.events.cancel(uuid);
  const dooms = doomsOf(host);
  const doom = doomOf(dooms, uuid);
  doom.abort();
  return () => {
    if (dooms.get(uuid) === doom) dooms.delete(uuid);
  };
}

/** Waits for work, but not for that of an instance somebody deletes: NovaError InstanceNotFound then. */
export async function unlessDeleted<T>(host: Host, uuid: string, work: Promise<T>): Promise<T> {
  const dooms = doomsOf(host);
  const doom = doomOf(dooms, uuid);
  const { signal } = doom;
  let reject: (err: unknown) => void = () => undefined;
  const deleted = new Promise<never>((_resolve, given) => {
    reject = given;
  });
  const onAbort = (): void => {
    reject(novaError('InstanceNotFound', { instance_id: uuid }, { message: 'it is being deleted' }));
  };
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([deleted, work]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    if (!signal.aborted && dooms.get(uuid) === doom) dooms.delete(uuid);
  }
}

function doomsOf(host: Host): Map<string, AbortController> {
  const dooms = known.get(host.events) ?? new Map<string, AbortController>();
  known.set(host.events, dooms);
  return dooms;
}

function doomOf(dooms: Map<string, AbortController>, uuid: string): AbortController {
  const doom = dooms.get(uuid) ?? new AbortController();
  dooms.set(uuid, doom);
  return doom;
}
