/** Whether this service worked on what an instance is asked for, or its message still waits in the queue. */
import { describeChain } from '../../process/fault.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';

/**
 * True when the newest action of the instance has an event of this host that
 * never ended. True also when nobody can tell.
 */
export async function wasBegun(host: ComputeHost, context: RpcContext, uuid: string): Promise<boolean> {
  const { conductor } = host;
  try {
    const [action] = await conductor.classList(context, {
      object: 'InstanceActionList',
      method: 'get_by_instance_uuid',
      args: [uuid],
      kwargs: { limit: 1 },
    });
    if (action === undefined) return true;
    const events = await conductor.classList(context, {
      object: 'InstanceActionEventList',
      method: 'get_by_action',
      args: [action.number('id')],
    });
    return events.some(
      (event) => event.textOrNull('host') === host.name && event.textOrNull('finish_time') === null,
    );
  } catch (err) {
    if (isNovaError(err, 'InstanceNotFound')) throw err;
    host.log.warn('the actions of an instance were not read', { instance: uuid, error: describeChain(err) });
    return true;
  }
}
