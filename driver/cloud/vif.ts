/** Nova's network model: what InstanceInfoCache.network_info holds, and how it is made of Neutron's answers. Pure. */
import { numberOrNull, recordOf, recordsOf, textOf, textOrNull, textsOf, type Json } from './json.ts';

/** tap + the first 11 characters of the port: names of interfaces end at 14 characters in OpenStack. */
const NAME_LENGTH = 14;

export interface ModelAddress {
  readonly address: string;
  readonly type: string;
  readonly version: 4 | 6;
  readonly meta: Json;
}

export interface FixedAddress extends ModelAddress {
  readonly floating_ips: readonly ModelAddress[];
}

/** All null but the type on a subnet that has none. */
export interface ModelGateway {
  readonly address: string | null;
  readonly type: string;
  readonly version: 4 | 6 | null;
  readonly meta: Json;
}

export interface ModelSubnet {
  readonly cidr: string;
  readonly dns: readonly ModelAddress[];
  readonly gateway: ModelGateway;
  readonly ips: readonly FixedAddress[];
  readonly routes: readonly Json[];
  readonly version: 4 | 6;
  readonly meta: Json;
}

export interface ModelNetwork {
  readonly id: string;
  readonly bridge: string | null;
  readonly label: string;
  readonly subnets: readonly ModelSubnet[];
  readonly meta: Json;
}

/** One VIF, by the keys it has on the wire. */
export interface Vif {
  readonly id: string;
  readonly address: string;
  readonly network: ModelNetwork;
  readonly type: string;
  readonly details: Json;
  readonly devname: string;
  readonly ovs_interfaceid: string | null;
  readonly qbh_params: null;
  readonly qbg_params: null;
  readonly active: boolean;
  readonly vnic_type: string;
  readonly profile: Json;
  readonly preserve_on_delete: boolean;
  readonly delegate_create: boolean;
  readonly meta: Json;
}

export type NetworkInfo = readonly Vif[];

/** What Neutron said about one port. */
export interface PortFacts {
  readonly port: Json;
  readonly network: Json;
  readonly subnets: readonly Json[];
  /** Subnet id -> address of the DHCP port on it. */
  readonly dhcpServers: ReadonlyMap<string, string>;
  /** Floating addresses by the fixed one they lead to. */
  readonly floating: ReadonlyMap<string, readonly string[]>;
  readonly physicalNetwork: string | null;
  readonly isTunneled: boolean;
  /** It was there before the instance and stays after it. */
  readonly isPreserved: boolean;
}

const TUNNELS = ['gre', 'vxlan', 'geneve'];

/** `provider:network_type` of a network that goes through a tunnel. */
export function isTunnel(networkType: unknown): boolean {
  return TUNNELS.includes(textOf(networkType));
}

export function devName(port: string): string {
  return `tap${port}`.slice(0, NAME_LENGTH);
}

/** The VIF of a port. `ovsBridge` is `[neutron] ovs_bridge`. */
export function buildVif(facts: PortFacts, ovsBridge: string): Vif {
  const { port } = facts;
  const id = textOf(port['id']);
  const type = textOf(port['binding:vif_type']);
  const details = recordOf(port['binding:vif_details']);
  return {
    id,
    address: textOf(port['mac_address']),
    network: buildNetwork(facts, type, details, ovsBridge),
    type,
    details,
    devname: devName(id),
    ovs_interfaceid: type === 'ovs' ? id : null,
    qbh_params: null,
    qbg_params: null,
    active: port['status'] === 'ACTIVE' || port['admin_state_up'] === false,
    vnic_type: textOf(port['binding:vnic_type']) || 'normal',
    profile: recordOf(port['binding:profile']),
    preserve_on_delete: facts.isPreserved,
    delegate_create: true,
    meta: {},
  };
}

function buildNetwork(facts: PortFacts, type: string, details: Json, ovsBridge: string): ModelNetwork {
  const { network } = facts;
  const id = textOf(network['id']);
  const named = textOrNull(details['bridge_name']);
  const meta: Record<string, unknown> = {
    injected: false,
    tenant_id: textOf(network['tenant_id']) || textOf(network['project_id']),
    mtu: numberOrNull(network['mtu']),
    physical_network: facts.physicalNetwork,
    tunneled: facts.isTunneled,
  };
  let bridge: string | null = null;
  if (type === 'ovs') bridge = named ?? ovsBridge;
  if (type === 'bridge') {
    bridge = named ?? `brq${id}`;
    meta['should_create_bridge'] = true;
  }
  return {
    id,
    bridge: bridge?.slice(0, NAME_LENGTH) ?? null,
    label: textOf(network['name']),
    subnets: facts.subnets.map((subnet) => buildSubnet(facts, subnet)),
    meta,
  };
}

function buildSubnet(facts: PortFacts, subnet: Json): ModelSubnet {
  const id = textOf(subnet['id']);
  const gatewayIp = textOrNull(subnet['gateway_ip']);
  const meta: Record<string, unknown> = {};
  const dhcp = facts.dhcpServers.get(id);
  if (dhcp !== undefined) meta['dhcp_server'] = dhcp;
  // OVN answers DHCP without a port of its own.
  else if (subnet['enable_dhcp'] === true && gatewayIp !== null) meta['dhcp_server'] = gatewayIp;
  const mode = textOrNull(subnet['ipv6_address_mode']);
  if (mode !== null) meta['ipv6_address_mode'] = mode;
  const version = subnet['ip_version'] === 6 ? 6 : 4;
  return {
    cidr: textOf(subnet['cidr']),
    dns: textsOf(subnet['dns_nameservers']).map((one) => addressOf(one, 'dns')),
    gateway: gatewayOf(gatewayIp),
    ips: fixedAddresses(facts, id),
    routes: recordsOf(subnet['host_routes']).map((route) => ({
      cidr: textOf(route['destination']),
      gateway: addressOf(textOf(route['nexthop']), 'gateway'),
      interface: null,
      meta: {},
    })),
    version,
    meta,
  };
}

function fixedAddresses(facts: PortFacts, subnet: string): FixedAddress[] {
  return recordsOf(facts.port['fixed_ips'])
    .filter((one) => one['subnet_id'] === subnet)
    .map((one) => {
      const address = textOf(one['ip_address']);
      const floating = facts.floating.get(address) ?? [];
      return {
        ...addressOf(address, 'fixed'),
        floating_ips: floating.map((each) => addressOf(each, 'floating')),
      };
    });
}

function gatewayOf(address: string | null): ModelGateway {
  if (address === null) return { address, type: 'gateway', version: null, meta: {} };
  return addressOf(address, 'gateway');
}

export function addressOf(address: string, type: string): ModelAddress {
  return { address, type, version: address.includes(':') ? 6 : 4, meta: {} };
}

/** Reads `network_info` of an InstanceInfoCache; an empty list when it holds none. */
export function readNetworkInfo(text: string | null): NetworkInfo {
  if (text === null || text === '') return [];
  const value: unknown = JSON.parse(text);
  return recordsOf(value).map(vifOf);
}

function vifOf(raw: Json): Vif {
  const network = recordOf(raw['network']);
  return {
    id: textOf(raw['id']),
    address: textOf(raw['address']),
    network: {
      id: textOf(network['id']),
      bridge: textOrNull(network['bridge']),
      label: textOf(network['label']),
      subnets: recordsOf(network['subnets']).map(subnetOf),
      meta: recordOf(network['meta']),
    },
    type: textOf(raw['type']),
    details: recordOf(raw['details']),
    devname: textOf(raw['devname']) || devName(textOf(raw['id'])),
    ovs_interfaceid: textOrNull(raw['ovs_interfaceid']),
    qbh_params: null,
    qbg_params: null,
    active: raw['active'] === true,
    vnic_type: textOf(raw['vnic_type']) || 'normal',
    profile: recordOf(raw['profile']),
    preserve_on_delete: raw['preserve_on_delete'] === true,
    delegate_create: raw['delegate_create'] !== false,
    meta: recordOf(raw['meta']),
  };
}

function subnetOf(raw: Json): ModelSubnet {
  const version = raw['version'] === 6 ? 6 : 4;
  const gateway = recordOf(raw['gateway']);
  return {
    cidr: textOf(raw['cidr']),
    dns: recordsOf(raw['dns']).map(plainAddress),
    gateway: gatewayOf(textOrNull(gateway['address'])),
    ips: recordsOf(raw['ips']).map((one) => ({
      ...plainAddress(one),
      floating_ips: recordsOf(one['floating_ips']).map(plainAddress),
    })),
    routes: recordsOf(raw['routes']),
    version,
    meta: recordOf(raw['meta']),
  };
}

function plainAddress(raw: Json): ModelAddress {
  return {
    address: textOf(raw['address']),
    type: textOf(raw['type']),
    version: raw['version'] === 6 ? 6 : 4,
    meta: recordOf(raw['meta']),
  };
}
