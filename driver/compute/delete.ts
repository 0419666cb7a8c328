/** terminate_instance: the instance goes, whatever is left of it. */
import { callContext } from '../cloud/call-context.ts';
import { elevated, requestIdOf } from '../nova/context.ts';
import { loadFields, saveInstance } from '../nova/instances.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import { deviceList } from './build-request.ts';
import { announceDelete } from './doomed.ts';
import type { ComputeHost } from './host.ts';
import { insist, isConductorAway } from './insist.ts';
import { LIFE_CYCLE, onInstance, setError, workOf, type Work } from './method.ts';
import { notifyInstance } from './notifications.ts';
import { shutDown } from './shutdown.ts';

const RULES = { ...LIFE_CYCLE, event: 'compute_terminate_instance', locks: true };

export function terminateInstance(host: ComputeHost): RpcHandler {
  return (request) => {
    const work = workOf(host, request);
    // Differs: Nova does this when it is the delete's turn; a build that waits for its image or its ports holds it up.
    const ended = announceDelete(host, work.instance.text('uuid'));
    return onInstance(host, RULES, work, () => deleteInstance(host, work, deviceListOf(work))).finally(ended);
  };
}

function deviceListOf(work: Work): ReturnType<typeof deviceList> {
  return deviceList(work.args['bdms']);
}

/**
 * Deletes an instance from this host and from Nova. Also for recovery and for
 * soft-deleted ones whose time is over. What is gone already is success.
 */
export async function deleteInstance(
  host: ComputeHost,
  work: Work,
  devices: ReturnType<typeof deviceList> = [],
): Promise<void> {
  const { instance } = work;
  const uuid = instance.text('uuid');
  try {
    host.events.cancel(uuid);
    const insisted = { instance: uuid, what: 'delete the instance', isWorth: isConductorAway };
    await insist(host, insisted, () => deleteOne(host, work, devices));
  } catch (err) {
    if (isNovaError(err, 'InstanceNotFound')) {
      host.log.info('an instance to delete is gone already', { instance: uuid });
      await host.guests.destroy({ requestId: work.call.requestId }, uuid);
      await host.tracker.drop(work.context, uuid);
      return;
    }
    await setError(host, work.context, instance, false);
    throw err;
  }
}

async function deleteOne(
  host: ComputeHost,
  work: Work,
  devices: ReturnType<typeof deviceList>,
): Promise<void> {
  const { context, instance } = work;
  const uuid = instance.text('uuid');
  await loadFields(host.conductor, context, instance, [
    'flavor',
    'info_cache',
    'system_metadata',
    'metadata',
  ]);
  notifyInstance(host, context, instance, 'delete', 'start');
  await shutDown(host, work, { devices, requests: null, keepsPorts: false });
  instance
    .set('vm_state', 'deleted')
    .set('task_state', null)
    .set('power_state', 0)
    .set('terminated_at', new Date());
  await saveInstance(host.conductor, context, instance);
  await host.tracker.drop(context, uuid);
  const call = { ...callContext(elevated(context)), signal: undefined };
  await Promise.all([
    host.cloud.placement.deleteAllocations(call, uuid),
    host.conductor.classCall(context, {
      object: 'ConsoleAuthToken',
      method: 'clean_console_auths_for_instance',
      args: [uuid],
    }),
  ]);
  await host.conductor.objectCall(context, instance, { method: 'destroy' });
  host.log.info('instance deleted', { instance: uuid, request: requestIdOf(context) });
  notifyInstance(host, context, instance, 'delete', 'end');
}
