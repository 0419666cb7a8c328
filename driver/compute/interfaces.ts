/** Interfaces and addresses that come and go while an instance is there. */
import { describeChain } from '../../process/fault.ts';
import { recordsOf, textOf, textOrNull, textsOf, type Json } from '../cloud/json.ts';
import { readNetworkInfo, type NetworkInfo, type Vif } from '../cloud/vif.ts';
import { readInstance } from '../lxd/nova-instance.ts';
import { loadFields, saveInstance } from '../nova/instances.ts';
import { isNovaError, novaError, type NovaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { instanceMethod, onInstance, workOf, type MethodRules, type Work } from './method.ts';
import { networkError } from './network-errors.ts';
import { notifyInstance } from './notifications.ts';

type Action = (host: ComputeHost, work: Work) => Promise<unknown>;

/** attach_interface, detach_interface, add_fixed_ip_to_instance, remove_fixed_ip_from_instance. */
export function interfaceMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const inPortLane = (event: string, act: Action): RpcHandler => {
    const rules: MethodRules = { event, recordsFault: true };
    return (request) => {
      const work = workOf(host, request);
      // Not the lane of the instance: other ports of it may come and go at the same time.
      const port = textOrNull(work.args['port_id']) ?? 'None';
      const lane = `interface-${work.instance.text('uuid')}-${port}`;
      return host.lanes.run(lane, () => onInstance(host, rules, work, () => act(host, work)));
    };
  };
  const plain = (act: Action): RpcHandler =>
    instanceMethod(host, { recordsFault: true }, (work) => act(host, work));
  return new Map([
    ['attach_interface', inPortLane('compute_attach_interface', attach)],
    ['detach_interface', inPortLane('compute_detach_interface', detach)],
    ['add_fixed_ip_to_instance', plain(addAddress)],
    ['remove_fixed_ip_from_instance', plain(removeAddress)],
  ]);
}

/** Gives the VIF, which the caller shows to the user. */
async function attach(host: ComputeHost, work: Work): Promise<Vif> {
  const { context, instance, args, call } = work;
  const uuid = instance.text('uuid');
  const tag = textOrNull(args['tag']);
  if (tag !== null) throw novaError('NetworkInterfaceTaggedAttachNotSupported');
  await loadFields(host.conductor, context, instance, [
    'flavor',
    'info_cache',
    'metadata',
    'system_metadata',
  ]);
  notifyInstance(host, context, instance, 'interface_attach', 'start');
  const wanted = {
    networkId: textOrNull(args['network_id']),
    portId: textOrNull(args['port_id']),
    requestedIp: textOrNull(args['requested_ip']),
    tag,
  };
  try {
    const vif = await host.networks.attach(context, instance, wanted);
    await plug(host, work, vif);
    await saveInstance(host.conductor, context, instance);
    notifyInstance(host, context, instance, 'interface_attach', 'end');
    host.log.info('interface attached', { instance: uuid, port: vif.id, request: call.requestId });
    return vif;
  } catch (err) {
    const told = networkError(err);
    notifyInstance(host, context, instance, 'interface_attach', 'error', told);
    throw told;
  }
}

async function plug(host: ComputeHost, work: Work, vif: Vif): Promise<void> {
  const { context, instance, call } = work;
  const uuid = instance.text('uuid');
  try {
    await host.guests.attachInterface(call, readInstance(instance.toPrimitive()), vif);
  } catch (err) {
    host.log.warn('an interface was not attached; its port is released', {
      instance: uuid,
      port: vif.id,
      error: describeChain(err),
    });
    await host.networks.detach(context, instance, vif).catch((failure: unknown) => {
      host.log.warn('undo of a port failed', {
        instance: uuid,
        port: vif.id,
        error: describeChain(failure),
      });
    });
    throw withReason('InterfaceAttachFailed', uuid, err);
  }
}

async function detach(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance, args, call } = work;
  const uuid = instance.text('uuid');
  const port = textOf(args['port_id']);
  const vif = (await freshInfo(host, work)).find((one) => one.id === port);
  if (vif === undefined) {
    throw novaError('PortNotFound', { port_id: port }, { message: `Port ${port} is not attached` });
  }
  notifyInstance(host, context, instance, 'interface_detach', 'start');
  try {
    await unplug(host, work, vif);
    await host.networks.detach(context, instance, vif);
    await saveInstance(host.conductor, context, instance);
  } catch (err) {
    notifyInstance(host, context, instance, 'interface_detach', 'error', err);
    throw err;
  }
  notifyInstance(host, context, instance, 'interface_detach', 'end');
  host.log.info('interface detached', { instance: uuid, port, request: call.requestId });
}

async function unplug(host: ComputeHost, work: Work, vif: Vif): Promise<void> {
  const uuid = work.instance.text('uuid');
  try {
    await host.guests.detachInterface(work.call, uuid, vif);
  } catch (err) {
    const level = isNovaError(err, 'InstanceNotFound') ? 'debug' : 'warn';
    host.log[level]('an interface was not detached', {
      instance: uuid,
      port: vif.id,
      error: describeChain(err),
    });
    throw withReason('InterfaceDetachFailed', uuid, err);
  }
}

/** The owner reads why, in the fault of the server. */
function withReason(
  className: 'InterfaceAttachFailed' | 'InterfaceDetachFailed',
  uuid: string,
  err: unknown,
): NovaError {
  if (isNovaError(err, className)) return err;
  const kwargs = { instance_uuid: uuid };
  const message = describeChain(novaError(className, kwargs, { cause: err }));
  return novaError(className, kwargs, { message, cause: err });
}

/** What the database says now: whoever held the lane before has just changed it. */
async function freshInfo(host: ComputeHost, work: Work): Promise<NetworkInfo> {
  const { context, instance } = work;
  await loadFields(host.conductor, context, instance, ['info_cache']);
  const cache = instance.objectOrNull('info_cache');
  if (cache === null) return [];
  await host.conductor.objectCall(context, cache, { method: 'refresh' });
  return readNetworkInfo(cache.textOrNull('network_info'));
}

/** One more address of a network on a port the instance has there. */
async function addAddress(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance, args, call } = work;
  const { neutron } = host.cloud;
  const network = textOf(args['network_id']);
  notifyInstance(host, context, instance, 'create_ip', 'start');
  const [found] = await neutron.networks(call, [['id', network]]);
  const [port] = await neutron.ports(call, [...ownPorts(work), ['network_id', network]], 'user');
  const subnets = textsOf(found?.['subnets']);
  if (port === undefined || subnets.length === 0) {
    throw novaError('NetworkNotFoundForInstance', { instance_id: instance.text('uuid') });
  }
  await firstThatWorks(subnets, async (subnet) => {
    const fixed = [...recordsOf(port['fixed_ips']), { subnet_id: subnet }];
    await neutron.updatePort(call, textOf(port['id']), { fixed_ips: fixed }, 'user');
  });
  await addressesChanged(host, work, 'create_ip');
}

async function removeAddress(host: ComputeHost, work: Work): Promise<void> {
  const { context, instance, args, call } = work;
  const { neutron } = host.cloud;
  const address = textOf(args['address']);
  notifyInstance(host, context, instance, 'delete_ip', 'start');
  const filter = [...ownPorts(work), ['fixed_ips', `ip_address=${address}`]] as const;
  const [port] = await neutron.ports(call, filter, 'user');
  if (port === undefined) {
    throw novaError('FixedIpNotFoundForInstance', { instance_uuid: instance.text('uuid'), ip: address });
  }
  const left = recordsOf(port['fixed_ips']).filter((one: Json) => one['ip_address'] !== address);
  await neutron.updatePort(call, textOf(port['id']), { fixed_ips: left }, 'user');
  await addressesChanged(host, work, 'delete_ip');
}

function ownPorts(work: Work): readonly (readonly [string, string])[] {
  const zone = work.instance.textOrNull('availability_zone') ?? 'None';
  return [
    ['device_id', work.instance.text('uuid')],
    ['device_owner', `compute:${zone}`],
  ];
}

async function firstThatWorks<T>(
  choices: readonly T[],
  attempt: (choice: T) => Promise<void>,
): Promise<void> {
  let failure: unknown = null;
  for (const choice of choices) {
    try {
      await attempt(choice);
      return;
    } catch (err) {
      failure = err;
    }
  }
  throw failure;
}

async function addressesChanged(host: ComputeHost, work: Work, event: string): Promise<void> {
  const { context, instance } = work;
  await host.networks.refresh(context, instance);
  // As Nova: whoever looks for changed servers shall find it.
  instance.set('updated_at', new Date());
  await saveInstance(host.conductor, context, instance);
  notifyInstance(host, context, instance, event, 'end');
}
