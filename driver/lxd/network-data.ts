/** network_data.json of the config drive, made of VIFs. Pure. */
import { type ModelSubnet, type Vif } from '../cloud/vif.ts';

type Entry = Readonly<Record<string, unknown>>;

export interface NetworkData {
  readonly links: readonly Entry[];
  readonly networks: readonly Entry[];
  readonly services: readonly Entry[];
}

/** Types guests know; every other one is `phy`. */
const LINK_TYPES = ['bridge', 'dvs', 'hw_veb', 'hyperv', 'ovs', 'tap', 'vhostuser', 'vif'];

/** Only the first IPv4 and the first IPv6 subnet of each VIF count, as in Nova. */
export function networkData(vifs: readonly Vif[]): NetworkData {
  const links: Entry[] = [];
  const networks: Entry[] = [];
  const services = new Map<string, Entry>();
  for (const vif of vifs) {
    links.push(linkOf(vif));
    for (const version of [4, 6] as const) {
      const subnet = vif.network.subnets.find((one) => one.version === version);
      if (subnet === undefined) continue;
      networks.push({ id: `network${String(networks.length)}`, ...networkOf(vif, subnet) });
      for (const dns of subnet.dns) services.set(dns.address, { type: 'dns', address: dns.address });
    }
  }
  return { links, networks, services: [...services.values()] };
}

function linkOf(vif: Vif): Entry {
  const hasDhcp = vif.network.subnets.some((subnet) => typeof subnet.meta['dhcp_server'] === 'string');
  return {
    id: vif.devname,
    vif_id: vif.id,
    type: LINK_TYPES.includes(vif.type) ? vif.type : 'phy',
    // DHCP says it; without DHCP nobody else would.
    mtu: hasDhcp ? null : (vif.network.meta['mtu'] ?? null),
    ethernet_mac_address: vif.address,
  };
}

function networkOf(vif: Vif, subnet: ModelSubnet): Entry {
  const ends = { link: vif.devname, network_id: vif.network.id };
  const mode = subnet.meta['ipv6_address_mode'];
  if (typeof subnet.meta['dhcp_server'] === 'string') {
    if (subnet.version === 4) return { type: 'ipv4_dhcp', ...ends };
    return { type: typeof mode === 'string' ? `ipv6_${mode}` : 'ipv6_dhcp', ...ends };
  }
  if (subnet.version === 6 && typeof mode === 'string') return { type: `ipv6_${mode}`, ...ends };
  const [address] = subnet.ips;
  const routes = subnet.routes.map((route) => routeOf(String(route['cidr']), gatewayText(route['gateway'])));
  const { address: gateway } = subnet.gateway;
  if (gateway !== null) routes.unshift(routeOf(subnet.version === 4 ? '0.0.0.0/0' : '::/0', gateway));
  return {
    type: `ipv${String(subnet.version)}`,
    ...ends,
    ip_address: address?.address ?? '',
    netmask: netmask(prefixOf(subnet.cidr), subnet.version),
    routes,
    services: subnet.dns.map((dns) => ({ type: 'dns', address: dns.address })),
  };
}

function gatewayText(gateway: unknown): string {
  if (typeof gateway !== 'object' || gateway === null) return '';
  const address: unknown = Reflect.get(gateway, 'address');
  return typeof address === 'string' ? address : '';
}

function routeOf(cidr: string, gateway: string): Entry {
  const [network = ''] = cidr.split('/');
  return { network, netmask: netmask(prefixOf(cidr), cidr.includes(':') ? 6 : 4), gateway };
}

function prefixOf(cidr: string): number {
  return Number(cidr.split('/')[1] ?? (cidr.includes(':') ? 128 : 32));
}

/** A prefix length in the form of an address, for IPv6 too. */
export function netmask(prefix: number, version: 4 | 6): string {
  const bits = version === 4 ? 32 : 128;
  const step = version === 4 ? 8 : 16;
  const parts: number[] = [];
  for (let at = 0; at < bits; at += step) {
    const set = Math.min(step, Math.max(0, prefix - at));
    parts.push(2 ** step - 2 ** (step - set));
  }
  if (version === 4) return parts.join('.');
  const text = parts.map((part) => part.toString(16)).join(':');
  return text.replace(/(?:(?:^|:)0)+$/, '::');
}
