/** How work on an instance ends: the states that are saved, and what a failure leaves. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain, Fault, isFault } from '../../process/fault.ts';
import { isTakenOver, loadFields, recordFault, saveInstance } from '../nova/instances.ts';
import { isNovaError, type NovaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost, PowerState } from './host.ts';
import { instanceMethod, LIFE_CYCLE, setError, type Work } from './method.ts';

export type LifeWork = (host: ComputeHost, work: Work) => Promise<unknown>;

/**
 * Handlers by their method: with an action event, a fault record, the task
 * state put back, and the lane of the instance.
 *
 * Differs: in Nova some of these take no lock, and a delete that comes
 * meanwhile runs beside them. Here it waits for its turn.
 */
export function lifeHandlers(
  host: ComputeHost,
  table: Readonly<Record<string, LifeWork>>,
): ReadonlyMap<string, RpcHandler> {
  return new Map(
    Object.entries(table).map(([name, run]) => {
      const rules = { ...LIFE_CYCLE, event: `compute_${name}`, locks: true };
      return [name, instanceMethod(host, rules, (work) => run(host, work))];
    }),
  );
}

const BACK_MS = 30_000;
const BACK_PAUSE_MS = 1000;

/** What the guest does now. A daemon that is just being started again is waited for, half a minute. */
export async function powerNow(host: ComputeHost, { call, instance }: Work): Promise<PowerState> {
  const deadline = performance.now() + BACK_MS;
  for (;;) {
    try {
      return await host.guests.power(call, instance.text('uuid'));
    } catch (err) {
      if (!isFault(err, 'unavailable') || performance.now() >= deadline) throw err;
    }
    await sleep(BACK_PAUSE_MS, undefined, {
      ref: false,
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    });
  }
}

/** The last save of a method: these states, and the power state the guest has. */
export async function settle(
  host: ComputeHost,
  work: Work,
  vmState: string,
  expected?: readonly (string | null)[],
): Promise<void> {
  const { context, instance } = work;
  instance.set('power_state', await powerNow(host, work));
  instance.set('vm_state', vmState);
  instance.set('task_state', null);
  await saveInstance(
    host.conductor,
    context,
    instance,
    expected === undefined ? {} : { taskState: expected },
  );
}

/**
 * Runs work after whose failure the guest is in doubt: the instance is in
 * error then, or back in `refusedState` when it was only refused.
 */
export async function orError<T>(
  host: ComputeHost,
  work: Work,
  refusedState: string,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (err) {
    // Differs: Nova puts an instance into error that somebody else has taken over.
    if (isTakenOver(err)) throw err;
    await afterFailure(host, work, refusedState, err);
    throw isRollback(err) ? (err.cause ?? err) : err;
  }
}

/** The guest is in doubt: error, and why. */
export async function failed(host: ComputeHost, work: Work, err: unknown): Promise<void> {
  // Around methods this one is no fault: it may mean that the instance was deleted. Here the guest has vanished.
  if (isNovaError(err, 'InstanceNotFound')) await noteFault(host, work, err);
  await setError(host, work.context, work.instance, false);
}

async function afterFailure(
  host: ComputeHost,
  work: Work,
  refusedState: string,
  err: unknown,
): Promise<void> {
  const { context, instance } = work;
  try {
    if (!isRefusal(err) && !isRollback(err)) {
      await failed(host, work, err);
      return;
    }
    instance.set('vm_state', refusedState);
    instance.set('task_state', null);
    await saveInstance(host.conductor, context, instance);
  } catch (failure) {
    // What went wrong matters more than that it could not be written down.
    host.log.warn('the state of an instance was not saved', {
      instance: instance.text('uuid'),
      error: describeChain(failure),
    });
  }
}

/** Nothing was done: the feature is not there. */
function isRefusal(err: unknown): boolean {
  return isFault(err, 'not_implemented') || isNovaError(err, 'NotImplementedError');
}

/** Nothing is left of what was done. */
function isRollback(err: unknown): err is NovaError {
  return isNovaError(err, 'InstanceFaultRollback');
}

/** Writes a fault down for the owner; what cannot be written is logged. */
export async function noteFault(
  host: ComputeHost,
  { context, instance }: Pick<Work, 'context' | 'instance'>,
  err: unknown,
): Promise<void> {
  const at = { instanceUuid: instance.text('uuid'), host: host.name };
  try {
    await recordFault(host.conductor, context, at, err);
  } catch (failure) {
    host.log.warn('a fault was not recorded', {
      instance: at.instanceUuid,
      error: describeChain(failure),
    });
  }
}

/** Seconds a clean end may take: the image's os_shutdown_timeout, else shutdown_timeout. */
export async function shutdownTimeout(host: ComputeHost, work: Work): Promise<number> {
  await loadSystemMetadata(host, work);
  const given = work.instance.texts('system_metadata')['image_os_shutdown_timeout'] ?? '';
  return /^\d{1,9}$/.test(given) ? Number(given) : host.options.DEFAULT.shutdown_timeout;
}

export function loadSystemMetadata(host: ComputeHost, { context, instance }: Work): Promise<void> {
  return loadFields(host.conductor, context, instance, ['system_metadata']);
}

/** Off: within the time it is given, by force at once when `isClean` is false. */
export async function powerOff(host: ComputeHost, work: Work, isClean: boolean): Promise<void> {
  const timeoutS = isClean ? await shutdownTimeout(host, work) : 0;
  await host.guests.powerOff(work.call, work.instance.text('uuid'), timeoutS);
}

/** Everything a container is made of, for work that makes it anew. */
export function loadWhole(host: ComputeHost, { context, instance }: Work): Promise<void> {
  return loadFields(host.conductor, context, instance, ['flavor', 'metadata', 'system_metadata', 'keypairs']);
}

/** A boolean argument that some senders leave out. */
export function flagArg(work: Work, name: string, fallback: boolean): boolean {
  const value = work.args[name] ?? fallback;
  if (typeof value === 'boolean') return value;
  throw new Fault('bad_request', `${work.request.method}: ${name} is not a boolean`);
}
