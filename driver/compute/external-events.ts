/** external_instance_event: what Neutron and Cinder tell of an instance, through nova-api. */
import { describeChain } from '../../process/fault.ts';
import { callContext } from '../cloud/call-context.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isRecord } from '../rpc/json.ts';
import type { ComputeHost } from './host.ts';

interface Told {
  readonly context: RpcContext;
  readonly instance: NovaObject;
  readonly name: string;
  /** Id of the port, the volume, … */
  readonly tag: string;
  readonly status: string;
}

export function externalInstanceEvent(host: ComputeHost): RpcHandler {
  return async ({ context, args }) => {
    const instances = objectsOf(args['instances']);
    const events = objectsOf(args['events']).map(async (event) => {
      const uuid = event.text('instance_uuid');
      const instance = instances.find((one) => one.text('uuid') === uuid);
      if (instance === undefined) return;
      const told = {
        context,
        instance,
        name: event.text('name'),
        tag: event.textOrNull('tag') ?? '',
        status: event.textOrNull('status') ?? 'completed',
      };
      await handle(host, told).catch((err: unknown) => {
        tellFailure(host, told, err);
      });
    });
    await Promise.all(events);
  };
}

async function handle(host: ComputeHost, told: Told): Promise<void> {
  const { context, instance, name, tag } = told;
  host.log.debug('external event', {
    instance: instance.text('uuid'),
    event: name,
    tag,
    status: told.status,
  });
  switch (name) {
    case 'network-changed':
      await host.networks.refresh(context, instance, tag === '' ? undefined : tag);
      return;
    case 'network-vif-deleted':
      await dropVif(host, told);
      return;
    case 'volume-extended':
      // Volumes cannot be attached here, so none of them can have grown.
      return;
    default:
      wake(host, told);
  }
}

/** network-vif-plugged, network-vif-unplugged, and whatever else somebody may wait for. */
function wake(host: ComputeHost, told: Told): void {
  const uuid = told.instance.text('uuid');
  const { name, tag, status } = told;
  if (host.events.deliver(uuid, { name, tag, status })) return;
  // Ports come and go with every stop and start; that is not worth a line each time.
  const level = name.startsWith('network-vif-') ? 'debug' : 'info';
  host.log[level]('an event came that nobody waits for', {
    instance: uuid,
    event: name,
    tag,
    vm_state: told.instance.textOrNull('vm_state') ?? '',
    task_state: told.instance.textOrNull('task_state') ?? '',
  });
}

async function dropVif(host: ComputeHost, told: Told): Promise<void> {
  const { context, instance, tag } = told;
  const vifs = await host.networks.cached(context, instance);
  const vif = vifs.find((one) => one.id === tag);
  if (vif === undefined) return;
  await host.networks.forget(context, instance, tag);
  await host.guests.detachInterface(callContext(context, host.signal), instance.text('uuid'), vif);
}

function tellFailure(host: ComputeHost, told: Told, err: unknown): void {
  // It may be deleted while its events are on their way.
  const isGone = isNovaError(err, 'InstanceNotFound', 'InstanceInfoCacheNotFound');
  host.log[isGone ? 'debug' : 'warn']('an event was not dealt with', {
    instance: told.instance.text('uuid'),
    event: told.name,
    tag: told.tag,
    error: describeChain(err),
  });
}

function objectsOf(value: unknown): readonly NovaObject[] {
  return (Array.isArray(value) ? value : []).filter(isRecord).map((one) => NovaObject.of(one));
}
