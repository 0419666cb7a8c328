/** Instances in Nova's database, and what is written there about the work on them. */
import { describeChain } from '../../process/fault.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { asNovaError } from '../rpc/failures.ts';
import { codeOfNovaError, isNovaError } from '../rpc/nova-error.ts';
import type { Json } from '../rpc/json.ts';
import type { Conductor } from './conductor.ts';
import { withDeleted } from './context.ts';
import { NovaObject } from './versioned-object.ts';

export interface SaveExpectations {
  /** Any of these must be the present state; null stands for "none". Absent: no check. */
  readonly taskState?: readonly (string | null)[];
  readonly vmState?: readonly string[];
}

/**
 * Writes the changed fields of an instance. NovaError UnexpectedTaskStateError
 * or UnexpectedDeletingTaskStateError when somebody else has taken over,
 * InstanceNotFound when it is gone.
 */
export async function saveInstance(
  conductor: Conductor,
  context: RpcContext,
  instance: NovaObject,
  expected: SaveExpectations = {},
): Promise<void> {
  const kwargs: Json = {
    ...(expected.taskState === undefined ? {} : { expected_task_state: expected.taskState }),
    ...(expected.vmState === undefined ? {} : { expected_vm_state: expected.vmState }),
  };
  await conductor.objectCall(context, instance, { method: 'save', kwargs });
}

/** True for the errors of a save that say: the instance is somebody else's now. */
export function isTakenOver(err: unknown): boolean {
  return isNovaError(err, 'UnexpectedTaskStateError', 'UnexpectedDeletingTaskStateError');
}

/** An instance with these further fields; NovaError InstanceNotFound. */
export function getInstance(
  conductor: Conductor,
  context: RpcContext,
  uuid: string,
  expectedAttrs: readonly string[] = [],
): Promise<NovaObject> {
  return conductor.classObject(context, {
    object: 'Instance',
    method: 'get_by_uuid',
    kwargs: { uuid, expected_attrs: expectedAttrs },
  });
}

/** Fields that came without the instance are read once and put into it, unchanged. */
export async function loadFields(
  conductor: Conductor,
  context: RpcContext,
  instance: NovaObject,
  fields: readonly string[],
): Promise<void> {
  const missing = fields.filter((field) => !instance.has(field));
  if (missing.length === 0) return;
  // As Nova's lazy loading: also for an instance that was deleted meanwhile.
  const full = await getInstance(conductor, withDeleted(context), instance.text('uuid'), missing);
  instance.fill(full, missing);
}

export function instancesOfHost(
  conductor: Conductor,
  context: RpcContext,
  host: string,
  expectedAttrs: readonly string[],
): Promise<readonly NovaObject[]> {
  return conductor.classList(context, {
    object: 'InstanceList',
    method: 'get_by_host',
    args: [host],
    kwargs: { expected_attrs: expectedAttrs },
  });
}

export function instancesOfNode(
  conductor: Conductor,
  context: RpcContext,
  place: { readonly host: string; readonly node: string },
  expectedAttrs: readonly string[],
): Promise<readonly NovaObject[]> {
  return conductor.classList(context, {
    object: 'InstanceList',
    method: 'get_by_host_and_node',
    args: [place.host, place.node],
    kwargs: { expected_attrs: expectedAttrs },
  });
}

export interface ActionEvent {
  readonly instanceUuid: string;
  /** `compute_<method>`; `compute__do_build_and_run_instance` for builds. */
  readonly event: string;
  readonly host: string;
  /** Told what could not be written down. */
  readonly onLost: (err: unknown) => void;
}

/**
 * Runs work between the start and the end of an action event, which users see
 * in the instance's action list.
 *
 * Differs: in Nova work that was done fails when its end cannot be written
 * down, and does not begin when a database that crashed has lost the action.
 */
export async function withActionEvent<T>(
  conductor: Conductor,
  context: RpcContext,
  event: ActionEvent,
  work: () => Promise<T>,
): Promise<T> {
  if (!(await startEvent(conductor, context, event))) return work();
  const finish = (failure: unknown) =>
    finishEvent(conductor, context, event, failure).catch((err: unknown) => {
      event.onLost(err);
    });
  try {
    const result = await work();
    await finish(null);
    return result;
  } catch (err) {
    await finish(err);
    throw err;
  }
}

/** False: there is no action that it could be an event of. */
async function startEvent(conductor: Conductor, context: RpcContext, event: ActionEvent): Promise<boolean> {
  try {
    await conductor.classCall(context, {
      object: 'InstanceActionEvent',
      method: 'event_start',
      args: [event.instanceUuid, event.event],
      kwargs: { want_result: false, host: event.host },
    });
    return true;
  } catch (err) {
    if (!isNovaError(err, 'InstanceActionNotFound')) throw err;
    event.onLost(err);
    return false;
  }
}

async function finishEvent(
  conductor: Conductor,
  context: RpcContext,
  event: ActionEvent,
  err: unknown,
): Promise<void> {
  await conductor.classCall(context, {
    object: 'InstanceActionEvent',
    method: 'event_finish_with_failure',
    args: [event.instanceUuid, event.event],
    kwargs: {
      exc_val: err === null ? null : asNovaError(err).message,
      // The result is "Success" when there is no traceback, whatever exc_val is.
      exc_tb: err === null ? null : traceOf(err),
      want_result: false,
    },
  });
}

const LONGEST_MESSAGE = 255;

/** Writes down why an instance failed; its owner sees the message. */
export async function recordFault(
  conductor: Conductor,
  context: RpcContext,
  at: { readonly instanceUuid: string; readonly host: string },
  err: unknown,
): Promise<void> {
  const failure = asNovaError(err);
  const code = codeOfNovaError(failure);
  const fault = NovaObject.create('InstanceFault', {
    instance_uuid: at.instanceUuid,
    code,
    message: cut(failure.message === '' ? failure.className : failure.message),
    // As Nova: details are for operators, and only of errors nobody foresaw.
    details: code === 500 ? traceOf(err) : '',
    host: at.host,
  });
  await conductor.objectCall(context, fault, { method: 'create' });
}

/** The column is 255 bytes long, not characters. */
function cut(text: string): string {
  // Whole characters, never half of a pair.
  const characters = [...text.slice(0, LONGEST_MESSAGE)];
  while (Buffer.byteLength(characters.join('')) > LONGEST_MESSAGE) characters.pop();
  return characters.join('');
}

function traceOf(err: unknown): string {
  const failure = asNovaError(err);
  if (failure.trace.length > 0) return failure.trace.join('');
  const stack = err instanceof Error ? err.stack : undefined;
  return stack ?? describeChain(err);
}
