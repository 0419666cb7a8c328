/** Whether this service worked on what an instance is asked for, or its message still waits in the queue. */
import { describeChain } from '../../process/fault.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';

/**
 * True when the newest action of the instance, or one of so many, has an event
 * of this host that never ended. True also when nobody can tell.
 */
export async function wasBegun(
  host: ComputeHost,
  context: RpcContext,
  uuid: string,
  actions = 1,
): Promise<boolean> {
  const { conductor } = host;
  try {
    const newest = await conductor.classList(context, {
      object: 'InstanceActionList',
      method: 'get_by_instance_uuid',
      args: [uuid],
      kwargs: { limit: actions },
    });
    for (const action of newest) {
      const events = await conductor.classList(context, {
        object: 'InstanceActionEventList',
        method: 'get_by_action',
        args: [action.number('id')],
      });
      if (events.some((event) => isUnderWay(event, host.name))) return true;
    }
    return newest.length === 0;
  } catch (err) {
    if (isNovaError(err, 'InstanceNotFound')) throw err;
    host.log.warn('the actions of an instance were not read', { instance: uuid, error: describeChain(err) });
    return true;
  }
}

function isUnderWay(event: NovaObject, host: string): boolean {
  return event.textOrNull('host') === host && event.textOrNull('finish_time') === null;
}
