/** What the service asks of itself, as Nova's API would ask it: the task state, the action users see, the cast. */
import { describeChain } from '../../process/fault.ts';
import { requestIdOf } from '../nova/context.ts';
import { saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext, RpcRequest } from '../rpc/envelope.ts';
import type { Json } from '../rpc/json.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { workOf, type Work } from './method.ts';

export interface OwnRequest {
  readonly method: string;
  /** In the list of the instance's actions. */
  readonly action: string;
  readonly taskState: string;
  /** Beside `instance`. */
  readonly args: Json;
  /** Task states it may come from; without it only none. */
  readonly from?: readonly (string | null)[];
}

export const STOP: OwnRequest = {
  method: 'stop_instance',
  action: 'stop',
  taskState: 'powering-off',
  args: { clean_shutdown: true },
};

export const UNRESCUE: OwnRequest = {
  method: 'unrescue_instance',
  action: 'unrescue',
  taskState: 'unrescuing',
  args: {},
};

export const DELETE: OwnRequest = {
  method: 'terminate_instance',
  action: 'delete',
  taskState: 'deleting',
  args: {},
};

/** In place of a soft one that hangs. */
export const HARD_REBOOT: OwnRequest = {
  method: 'reboot_instance',
  action: 'reboot',
  taskState: 'rebooting_hard',
  args: { block_device_info: null, reboot_type: 'HARD' },
  from: ['rebooting', 'reboot_pending', 'reboot_started'],
};

const VERSION = '6.0';

/**
 * NovaError UnexpectedTaskStateError when the instance has a task. The context
 * must be one of its own: the action is found by its request id.
 */
export async function askSelf(
  host: ComputeHost,
  context: RpcContext,
  instance: NovaObject,
  request: OwnRequest,
): Promise<void> {
  const uuid = instance.text('uuid');
  instance.set('task_state', request.taskState);
  instance.set('progress', 0);
  await saveInstance(host.conductor, context, instance, { taskState: request.from ?? [null] });
  try {
    await host.conductor.classCall(context, {
      object: 'InstanceAction',
      method: 'action_start',
      args: [uuid, request.action],
      kwargs: { want_result: false },
    });
    await host.client.cast(
      { topic: 'compute', server: host.name },
      { method: request.method, version: VERSION, args: { ...request.args, instance }, context },
    );
  } catch (err) {
    await takeBack(host, context, instance, request);
    throw err;
  }
}

/** Nobody will do it: the instance must not wait for it. */
async function takeBack(
  host: ComputeHost,
  context: RpcContext,
  instance: NovaObject,
  request: OwnRequest,
): Promise<void> {
  instance.set('task_state', null);
  try {
    await saveInstance(host.conductor, context, instance, { taskState: [request.taskState] });
  } catch (failure) {
    host.log.warn('a task state was not put back', {
      instance: instance.text('uuid'),
      error: describeChain(failure),
    });
  }
}

/** As if the message had come: for recovery and periodic tasks, which wait for the end. */
export async function callOwn(
  handler: RpcHandler,
  context: RpcContext,
  method: string,
  args: Json,
): Promise<void> {
  await handler(ownRequest(context, method, args));
}

/** Work on an instance that no message asked for. */
export function ownWork(host: ComputeHost, context: RpcContext, instance: NovaObject, method: string): Work {
  return workOf(host, ownRequest(context, method, { instance }));
}

function ownRequest(context: RpcContext, method: string, args: Json): RpcRequest {
  const requestId = requestIdOf(context);
  return { method, version: VERSION, namespace: null, args, context, requestId, reply: null };
}
