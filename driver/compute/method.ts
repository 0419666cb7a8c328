/**
 * What Nova does around every method on an instance: the lane, the action
 * event, the fault record, the task state that is put back after a failure.
 */
import { describeChain } from '../../process/fault.ts';
import { callContext, type CallContext } from '../cloud/call-context.ts';
import { requestIdOf } from '../nova/context.ts';
import { isTakenOver, recordFault, saveInstance, withActionEvent } from '../nova/instances.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext, RpcRequest } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { Json } from '../rpc/json.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { insist, isConductorAway } from './insist.ts';

/** One call of a method on an instance. */
export interface Work {
  readonly context: RpcContext;
  /** The same request for Glance, Neutron, the daemon. */
  readonly call: CallContext;
  readonly instance: NovaObject;
  readonly args: Json;
  readonly request: RpcRequest;
}

export interface MethodRules {
  /** Name of the action event, `compute_<method>`; absent: users see none. */
  readonly event?: string;
  /** After a failure the task state is null again, unless somebody else has taken over. */
  readonly revertsTaskState?: boolean;
  /** A failure is written down for the owner. */
  readonly recordsFault?: boolean;
  /** Waits for other work on the same instance. */
  readonly locks?: boolean;
}

/** Rules of most methods: pause, start and so on. */
export const LIFE_CYCLE: MethodRules = { revertsTaskState: true, recordsFault: true };

/** Tasks that stay when this service ends: the next start looks at the guest, and ends or repeats them. */
const CUT_REBOOTS = ['reboot_pending', 'reboot_pending_hard', 'reboot_started', 'reboot_started_hard'];

/** A handler for a method whose argument `instance` is an Instance. */
export function instanceMethod(
  host: ComputeHost,
  rules: MethodRules,
  work: (work: Work) => Promise<unknown>,
): RpcHandler {
  return (request) => onInstance(host, rules, workOf(host, request), work);
}

export function workOf(host: ComputeHost, request: RpcRequest): Work {
  const { context, args } = request;
  const instance = NovaObject.of(args['instance']);
  return { context, call: callContext(context, host.signal), instance, args, request };
}

/** The same rules for work that no message asked for: recovery, periodic tasks. */
export function onInstance(
  host: ComputeHost,
  rules: MethodRules,
  given: Work,
  work: (work: Work) => Promise<unknown>,
): Promise<unknown> {
  const uuid = given.instance.text('uuid');
  const guarded = () => withRules(host, rules, given, work);
  return rules.locks === true ? host.lanes.run(uuid, guarded) : guarded();
}

async function withRules(
  host: ComputeHost,
  rules: MethodRules,
  given: Work,
  work: (work: Work) => Promise<unknown>,
): Promise<unknown> {
  const { context, instance } = given;
  const uuid = instance.text('uuid');
  // Outermost in Nova is the task state, then the event, then the fault.
  const faulty = () => guardFault(host, rules, given, work);
  try {
    if (rules.event === undefined) return await faulty();
    const onLost = (err: unknown) => {
      const { event = '' } = rules;
      host.log.warn('an event is not in the list of actions', {
        instance: uuid,
        event,
        error: describeChain(err),
      });
    };
    const event = { instanceUuid: uuid, event: rules.event, host: host.name, onLost };
    return await withActionEvent(host.conductor, context, event, faulty);
  } catch (err) {
    host.log.warn('work on an instance failed', {
      instance: uuid,
      method: given.request.method,
      request: requestIdOf(context),
      error: describeChain(err),
    });
    if (rules.revertsTaskState === true) await revertTaskState(host, given, err);
    throw err;
  }
}

async function guardFault(
  host: ComputeHost,
  rules: MethodRules,
  given: Work,
  work: (work: Work) => Promise<unknown>,
): Promise<unknown> {
  try {
    return await work(given);
  } catch (err) {
    if (rules.recordsFault === true && !isNovaError(err, 'InstanceNotFound')) {
      const at = { instanceUuid: given.instance.text('uuid'), host: host.name };
      const record = () => recordFault(host.conductor, given.context, at, err);
      const insisted = { instance: at.instanceUuid, what: 'record the fault', isWorth: isConductorAway };
      await insist(host, insisted, record).catch((failure: unknown) => {
        host.log.warn('a fault was not recorded', {
          instance: at.instanceUuid,
          error: describeChain(failure),
        });
      });
    }
    throw err;
  }
}

async function revertTaskState(host: ComputeHost, given: Work, err: unknown): Promise<void> {
  if (isTakenOver(err)) return;
  if (host.signal.aborted && CUT_REBOOTS.includes(given.instance.textOrNull('task_state') ?? '')) return;
  try {
    given.instance.set('task_state', null);
    const insisted = {
      instance: given.instance.text('uuid'),
      what: 'end its task',
      isWorth: isConductorAway,
    };
    await insist(host, insisted, () => saveInstance(host.conductor, given.context, given.instance));
    await host.tracker.note(given.context, given.instance);
  } catch (failure) {
    if (isNovaError(failure, 'InstanceNotFound')) return;
    host.log.warn('a task state was not put back', {
      instance: given.instance.text('uuid'),
      error: describeChain(failure),
    });
  }
}

/**
 * vm_state error, saved; task_state too when `clearsTask`. Harmless for an
 * instance that is gone.
 */
export async function setError(
  host: ComputeHost,
  context: RpcContext,
  instance: NovaObject,
  clearsTask: boolean,
): Promise<void> {
  instance.set('vm_state', 'error');
  if (clearsTask) instance.set('task_state', null);
  try {
    await saveInstance(host.conductor, context, instance);
  } catch (err) {
    if (!isNovaError(err, 'InstanceNotFound')) throw err;
  }
}
