/** Nova's instance and its VIFs -> the body of POST /1.0/instances, and one nic for hot plug. Pure. */
import { Fault } from '../../process/fault.ts';
import { type Vif } from '../cloud/vif.ts';
import { flavorLimits } from './flavor-limits.ts';
import { type NovaInstance } from './nova-instance.ts';

export interface SpecOptions {
  /** Name on the host. */
  readonly name: string;
  /** Fingerprint of the image in the REST daemon. */
  readonly fingerprint: string;
  readonly pool: string;
  /** Create and start in one operation. */
  readonly start: boolean;
}

export type DeviceConfig = Readonly<Record<string, string>>;

export interface InstanceBody {
  readonly name: string;
  readonly type: 'container';
  readonly description: string;
  readonly profiles: readonly string[];
  readonly config: Readonly<Record<string, string>>;
  readonly devices: Readonly<Record<string, DeviceConfig>>;
  readonly source: { readonly type: 'image'; readonly fingerprint: string };
  readonly start: boolean;
}

/** The body that makes the instance. Fault bad_request for what a container cannot be. */
export function instanceBody(
  instance: NovaInstance,
  vifs: readonly Vif[],
  options: SpecOptions,
): InstanceBody {
  const limits = flavorLimits(instance.flavor);
  const devices: Record<string, DeviceConfig> = {
    root: { type: 'disk', path: '/', pool: options.pool, ...limits.root },
  };
  for (const [index, vif] of vifs.entries())
    devices[nicDevice(vif)] = nicConfig(vif, instance.uuid, `eth${String(index)}`, limits.nic);
  return {
    name: options.name,
    type: 'container',
    description: instance.displayName,
    // What Nova asked for is the whole truth: an operator's default profile adds nothing to it.
    profiles: [],
    config: { ...limits.config, ...markers(instance), 'boot.autostart': 'false' },
    devices,
    source: { type: 'image', fingerprint: options.fingerprint },
    start: options.start,
  };
}

/** By these keys the compute service knows its instances again. */
export function markers(instance: NovaInstance): Record<string, string> {
  return {
    'user.nova.uuid': instance.uuid,
    'user.nova.name': instance.displayName,
    'user.nova.project_id': instance.projectId,
    'user.nova.user_id': instance.userId,
    'user.nova.flavor': instance.flavor.name,
    'user.nova.image': instance.imageRef,
  };
}

/** Name of a VIF's device: that of its interface on the host, which is unique and does not change. */
export function nicDevice(vif: Vif): string {
  return vif.devname;
}

/** The first `ethN` that is free, for an interface that comes later. */
export function freeNicName(taken: readonly string[]): string {
  for (let index = 0; ; index += 1) {
    const name = `eth${String(index)}`;
    if (!taken.includes(name)) return name;
  }
}

/**
 * The nic device of a VIF; `instance` is the server's uuid. Fault conflict for
 * ports that are bound to nothing or in a way containers cannot use.
 */
export function nicConfig(
  vif: Vif,
  instance: string,
  guestName: string,
  limits: DeviceConfig = {},
): DeviceConfig {
  const { mtu } = vif.network.meta;
  const common = {
    type: 'nic',
    name: guestName,
    hwaddr: vif.address,
    host_name: vif.devname,
    ...(typeof mtu === 'number' && mtu > 0 ? { mtu: String(mtu) } : {}),
    ...limits,
  };
  if (vif.vnic_type !== 'normal') {
    throw new Fault(
      'conflict',
      `plug port ${vif.id}: vnic_type ${vif.vnic_type} is not for containers; use normal`,
    );
  }
  switch (vif.type) {
    case 'ovs':
      if (vif.details['ovs_hybrid_plug'] === true) {
        throw new Fault(
          'conflict',
          `plug port ${vif.id}: the iptables_hybrid firewall is not supported; set firewall_driver = openvswitch`,
        );
      }
      return {
        ...common,
        nictype: 'ovs',
        parent: vif.network.bridge ?? 'br-int',
        ...prefixed('ovs.external_ids.', ovsExternalIds(vif, instance)),
      };
    case 'tap':
      return { ...common, nictype: 'p2p' };
    case 'bridge':
      return {
        ...common,
        nictype: 'bridged',
        parent: vif.network.bridge ?? `brq${vif.network.id}`.slice(0, 14),
        // Neutron's agent makes it only when it sees the port.
        'parent.create': 'true',
      };
    case 'unbound':
    case 'binding_failed':
      throw new Fault(
        'conflict',
        `plug port ${vif.id}: Neutron did not bind it (${vif.type}); see its log on the controller`,
      );
    default:
      throw new Fault('conflict', `plug port ${vif.id}: vif type "${vif.type}" is not for containers`);
  }
}

/** What is set on the port of the OVS bridge, so that the agent or ovn-controller finds it. */
export function ovsExternalIds(vif: Vif, instance: string): Record<string, string> {
  return {
    'iface-id': vif.ovs_interfaceid ?? vif.id,
    'iface-status': 'active',
    'attached-mac': vif.address,
    'vm-uuid': instance,
  };
}

function prefixed(prefix: string, values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}${key}`, value]));
}
