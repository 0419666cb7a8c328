/**
 * The configuration keys of managed networks: one table per type, a check per
 * key, and the rules between keys. Pure.
 *
 * Keys of LXD whose feature this server lacks are refused by name with 501:
 * a setting is never taken and ignored.
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import type { Family, Subnet } from './addresses.ts';
import { contains, firstOf, lastOf, listOf, parseAddress, parseRange, parseSubnet } from './addresses.ts';

/** What is wrong with a value; null when nothing is. */
type Check = (value: string) => string | null;

const anything: Check = () => null;
const bool: Check = (value) =>
  /^(true|false|1|0|yes|no|on|off)$/i.test(value) ? null : 'is not a boolean; write true or false';

function oneOf(...words: readonly string[]): Check {
  return (value) => (words.includes(value) ? null : `is none of ${words.join(', ')}`);
}

function integer(min: number, max: number): Check {
  return (value) =>
    /^\d{1,10}$/.test(value) && Number(value) >= min && Number(value) <= max
      ? null
      : `is not a number from ${String(min)} to ${String(max)}`;
}

const hwaddr: Check = (value) =>
  /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value) && (parseInt(value, 16) & 1) === 0
    ? null
    : 'is not a MAC address; write for example 00:16:3e:01:02:03';

/** Names the kernel and our rule files take; 15 characters is the kernel's limit. */
export function isInterfaceName(name: string): boolean {
  return /^[A-Za-z0-9_][-A-Za-z0-9_.]{0,14}$/.test(name);
}

const interfaces: Check = (value) => {
  const bad = listOf(value).find((name) => !isInterfaceName(name));
  return bad === undefined ? null : `has "${bad}", which is not an interface name`;
};

const domain: Check = (value) => {
  const label = /^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?$/i;
  return value.length <= 253 && value.split('.').every((part) => label.test(part))
    ? null
    : 'is not a domain name';
};

const domains: Check = (value) => {
  for (const name of listOf(value)) {
    const problem = domain(name);
    if (problem !== null) return `has "${name}", which ${problem}`;
  }
  return null;
};

const expiry: Check = (value) =>
  /^(infinite|\d{1,9}[smhdw]?)$/.test(value)
    ? null
    : 'is not a lease time; write for example 1h, 30m or infinite';

/** `auto`, `none` or the bridge's own address with its prefix. */
function gateway(family: Family): Check {
  return (value) => {
    if (value === 'auto' || value === 'none') return null;
    const subnet = parseSubnet(value);
    if (subnet?.family !== family)
      return `is not an IPv${String(family)} address with its prefix, none or auto`;
    if (subnet.prefix === 0) return 'has no network part';
    return isHostAddress(subnet) ? null : 'is not an address that a host can have';
  };
}

/** Where no host can be: `this network`, loopback, multicast and what follows it. */
const NOT_FOR_HOSTS = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', '::/127', 'ff00::/8'].flatMap(
  (text) => parseSubnet(text) ?? [],
);

/** Neither the network's own address nor the one for broadcasts, where there are such. */
function isHostAddress(subnet: Subnet): boolean {
  const { family, address, prefix } = subnet;
  const host = { family, value: address };
  if (NOT_FOR_HOSTS.some((range) => range.family === family && contains(range, host))) return false;
  const bits = family === 4 ? 32 : 128;
  if (prefix >= bits - 1) return true;
  return address !== firstOf(subnet) && (family === 6 || address !== lastOf(subnet));
}

function address(family: Family): Check {
  return (value) =>
    parseAddress(value)?.family === family ? null : `is not an IPv${String(family)} address`;
}

function ranges(family: Family): Check {
  return (value) => {
    const bad = listOf(value).find((text) => parseRange(text)?.family !== family);
    return bad === undefined ? null : `has "${bad}", which is not a range; write FIRST-LAST`;
  };
}

function subnets(family: Family): Check {
  return (value) => {
    const bad = listOf(value).find((text) => {
      const subnet = parseSubnet(text);
      return subnet?.family !== family || subnet.address !== firstOf(subnet);
    });
    return bad === undefined ? null : `has "${bad}", which is not an IPv${String(family)} subnet`;
  };
}

type KeyTable = Readonly<Record<string, Check>>;

const BRIDGE: KeyTable = {
  'bridge.driver': oneOf('native', 'openvswitch'),
  'bridge.external_interfaces': interfaces,
  'bridge.hwaddr': hwaddr,
  'bridge.mode': oneOf('standard', 'fan'),
  'bridge.mtu': integer(68, 65_535),
  'dns.domain': domain,
  'dns.mode': oneOf('managed', 'dynamic', 'none'),
  'dns.search': domains,
  'ipv4.address': gateway(4),
  'ipv4.dhcp': bool,
  'ipv4.dhcp.expiry': expiry,
  'ipv4.dhcp.gateway': address(4),
  'ipv4.dhcp.ranges': ranges(4),
  'ipv4.firewall': bool,
  'ipv4.nat': bool,
  'ipv4.nat.address': address(4),
  'ipv4.nat.order': oneOf('before', 'after'),
  // Read by OVN networks that use this one as their uplink; this server has none.
  'ipv4.ovn.ranges': ranges(4),
  'ipv4.routes': subnets(4),
  'ipv4.routing': bool,
  'ipv6.address': gateway(6),
  'ipv6.dhcp': bool,
  'ipv6.dhcp.expiry': expiry,
  'ipv6.dhcp.ranges': ranges(6),
  'ipv6.dhcp.stateful': bool,
  'ipv6.firewall': bool,
  'ipv6.nat': bool,
  'ipv6.nat.address': address(6),
  'ipv6.nat.order': oneOf('before', 'after'),
  'ipv6.ovn.ranges': ranges(6),
  'ipv6.routes': subnets(6),
  'ipv6.routing': bool,
  'raw.dnsmasq': anything,
  'volatile.bridge.hwaddr': hwaddr,
};

const PARENT: KeyTable = { parent: interfaces, mtu: integer(68, 65_535) };

const TABLES: Readonly<Record<string, KeyTable>> = { bridge: BRIDGE, macvlan: PARENT, physical: PARENT };

/** Keys that LXD has and this server has not. */
const MISSING = [
  /^bgp\.(peers\..+\.(address|asn|password|holdtime)|ipv[46]\.nexthop)$/,
  /^dns\.zone\.(forward|reverse\.ipv[46])$/,
  /^dns\.nameservers$/,
  /^fan\.(overlay_subnet|type|underlay_subnet)$/,
  /^gvrp$|^vlan$/,
  /^ipv[46]\.(gateway|routes\.anycast)$/,
  /^maas\.subnet\.ipv[46]$/,
  /^ovn\.ingress_mode$/,
  /^security\.acls(\.default\.(in|e)gress\.(action|logged))?$/,
  /^tunnel\..+\.(group|id|interface|local|port|protocol|remote|ttl)$/,
];

const OTHER_TYPES = ['ovn', 'sriov'];

/** Fault `bad_request` for a name that cannot be that of an interface. */
export function validateNetworkName(name: string): void {
  if (isInterfaceName(name) && !name.startsWith('.') && name !== 'all' && name !== 'default') return;
  throw new Fault(
    'bad_request',
    `network name "${name.slice(0, 40)}" is not valid; use at most 15 letters, digits, "-", "_" and "."`,
  );
}

/** Fault `bad_request` for an unknown key or a bad value, `not_implemented` for what this server lacks. */
export function validateNetworkConfig(type: string, config: StringMap): void {
  const table = Object.hasOwn(TABLES, type) ? TABLES[type] : undefined;
  if (table === undefined) {
    if (OTHER_TYPES.includes(type)) {
      throw new Fault(
        'not_implemented',
        `network type "${type}" is not supported; use bridge, macvlan or physical`,
      );
    }
    throw new Fault('bad_request', `network type "${type}" is unknown; use bridge, macvlan or physical`);
  }
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('user.')) continue;
    const check = Object.hasOwn(table, key) ? table[key] : undefined;
    if (check === undefined) throw unknownKey(type, key);
    const problem = value === '' ? null : check(value);
    if (problem !== null) throw new Fault('bad_request', `${key} "${value.slice(0, 80)}" ${problem}`);
  }
  if (type === 'bridge') validateTogether(config);
  else if ((config['parent'] ?? '') === '' || listOf(config['parent']).length !== 1) {
    throw new Fault(
      'bad_request',
      `a network of type ${type} needs the key parent, the name of one interface`,
    );
  }
}

function unknownKey(type: string, key: string): Fault {
  if (MISSING.some((pattern) => pattern.test(key))) {
    return new Fault('not_implemented', `network key "${key}" is not supported by this server`);
  }
  return new Fault(
    'bad_request',
    `network key "${key.slice(0, 80)}" is unknown for a network of type ${type}`,
  );
}

/** The rules that need more than one key. */
function validateTogether(config: StringMap): void {
  if (config['bridge.driver'] === 'openvswitch') {
    throw new Fault(
      'not_implemented',
      'bridge.driver "openvswitch" is not supported; leave it out or write native',
    );
  }
  if (config['bridge.mode'] === 'fan') {
    throw new Fault('not_implemented', 'bridge.mode "fan" is not supported; leave it out or write standard');
  }
  for (const family of [4, 6] as const) {
    const key = `ipv${String(family)}`;
    const subnet = bridgeSubnet(config, family);
    validateInside(config, `${key}.dhcp.ranges`, subnet);
    if (subnet === null) continue;
    const dhcp = isOn(config[`${key}.dhcp`], true);
    if (family === 4 && subnet.prefix > 30 && dhcp) {
      throw new Fault(
        'bad_request',
        `ipv4.address "${config['ipv4.address'] ?? ''}" leaves no address to hand out; use /30 or larger, or ipv4.dhcp=false`,
      );
    }
    const isStateless = dhcp && !isOn(config['ipv6.dhcp.stateful'], false);
    if (family === 6 && subnet.prefix > 64 && isStateless) {
      throw new Fault(
        'bad_request',
        'guests choose their own address only in a /64 or larger; set ipv6.dhcp.stateful=true or widen ipv6.address',
      );
    }
  }
  const gatewayText = config['ipv4.dhcp.gateway'] ?? '';
  const v4 = bridgeSubnet(config, 4);
  const router = parseAddress(gatewayText);
  if (router !== null && v4 !== null && !contains(v4, router)) {
    throw new Fault(
      'bad_request',
      `ipv4.dhcp.gateway "${gatewayText}" is outside the network ${config['ipv4.address'] ?? ''}`,
    );
  }
}

function validateInside(config: StringMap, key: string, subnet: Subnet | null): void {
  for (const text of listOf(config[key])) {
    const range = parseRange(text);
    if (range === null || subnet === null) continue;
    const ends = [range.first, range.last].map((value) => ({ family: range.family, value }));
    if (!ends.every((end) => contains(subnet, end))) {
      throw new Fault('bad_request', `${key} "${text}" is outside the network`);
    }
  }
}

/** LXD's booleans; an empty or absent value is the default. */
export function isOn(value: string | undefined, byDefault: boolean): boolean {
  if (value === undefined || value === '') return byDefault;
  return /^(true|1|yes|on)$/i.test(value);
}

/** The bridge's own address; null for none, absent and (before creation) auto. */
export function bridgeSubnet(config: StringMap, family: Family): Subnet | null {
  return parseSubnet(config[family === 4 ? 'ipv4.address' : 'ipv6.address'] ?? '');
}
