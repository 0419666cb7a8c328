/**
 * What must hold for the frames of one nic: spoof filters and the limit of
 * what the guest sends, as text for `nft -f -`. Pure.
 *
 * The table `bridge slipway` has one base chain, which sends a frame to the
 * chain of its nic by one look-up of the link's name:
 *
 *   nics (prerouting) --map @nics--> nic.<host name>: filters, limit
 *
 * Rules name the link by its name, so that they stand before it exists.
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { parseBitRate } from '../instances/values.ts';
import type { Subnet } from './addresses.ts';
import { LINK_LOCAL, eui64, formatAddress } from './addresses.ts';
import { TABLE, removeChain } from './bridge-rules.ts';
import { isInterfaceName, isOn } from './network-keys.ts';

export interface NicFilter {
  readonly hostName: string;
  readonly hwaddr: string;
  /** Only frames from the nic's MAC. */
  readonly mac: boolean;
  /** undefined: no filter; null: no traffic of this family at all. */
  readonly ipv4?: string | null;
  readonly ipv6?: string | null;
  /** Bits per second the guest may send; 0 for no limit. */
  readonly egressBits: number;
}

const BURST = 'burst 1024 kbytes';

/** True when the nic's configuration asks for rules at all. */
export function wantsFilter(config: StringMap): boolean {
  return (
    ['security.mac_filtering', 'security.ipv4_filtering', 'security.ipv6_filtering'].some((key) =>
      isOn(config[key], false),
    ) || rateOf(config, 'limits.egress') > 0
  );
}

/** Bits per second of `limits.ingress` or `limits.egress`; `limits.max` stands for both. 0: no limit. */
export function rateOf(config: StringMap, key: 'limits.ingress' | 'limits.egress'): number {
  const text = config['limits.max'] ?? config[key] ?? '';
  return text === '' ? 0 : parseBitRate(text);
}

/** One transaction that puts the rules of the nic in place of older ones. */
export function nicRules(filter: NicFilter): string {
  check(filter.hostName);
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(filter.hwaddr)) {
    throw new Fault('bad_request', `"${filter.hwaddr.slice(0, 40)}" is not a MAC address`);
  }
  const chain = `bridge ${TABLE} nic.${filter.hostName}`;
  const rules = filterRules(filter);
  const lines = rules.map((rule) => `add rule ${chain} ${rule}\n`).join('');
  return `${base()}add chain ${chain}\nflush chain ${chain}\n${lines}${element('add', filter.hostName)}`;
}

/** Removes them; no error when there are none. */
export function nicRemoval(hostName: string): string {
  check(hostName);
  const chain = `bridge ${TABLE} nic.${hostName}`;
  return (
    `${base()}add chain ${chain}\n${element('add', hostName)}${element('delete', hostName)}` +
    removeChain('bridge', `nic.${hostName}`)
  );
}

/**
 * The limit of what the guest sends over a link that is in no bridge, where the
 * table above sees nothing. The link must be there.
 */
export function aloneRules(hostName: string, egressBits: number): string {
  check(hostName);
  const chain = `netdev ${TABLE} nic.${hostName}`;
  return (
    `add table netdev ${TABLE}\n` +
    `add chain ${chain} { type filter hook ingress device "${hostName}" priority 0; policy accept; }\n` +
    `flush chain ${chain}\nadd rule ${chain} ${limitRule(egressBits)}\n`
  );
}

/** Fails when there is none: some kernels take the chain away with its link. */
export function aloneRemoval(hostName: string): string {
  check(hostName);
  return `delete chain netdev ${TABLE} nic.${hostName}\n`;
}

function limitRule(bits: number): string {
  const bytes = Math.max(1, Math.floor(bits / 8));
  return `limit rate over ${String(bytes)} bytes/second ${BURST} drop`;
}

/** The text goes into a script: names and MACs must be what they are called. */
function check(hostName: string): void {
  if (!isInterfaceName(hostName)) {
    throw new Fault('bad_request', `"${hostName.slice(0, 40)}" is not a name of an interface`);
  }
}

function base(): string {
  return (
    `add table bridge ${TABLE}\n` +
    `add map bridge ${TABLE} nics { type ifname : verdict; }\n` +
    `add chain bridge ${TABLE} nics { type filter hook prerouting priority -300; policy accept; }\n` +
    `flush chain bridge ${TABLE} nics\n` +
    `add rule bridge ${TABLE} nics iifname vmap @nics\n`
  );
}

function element(verb: 'add' | 'delete', hostName: string): string {
  const value = verb === 'add' ? `"${hostName}" : jump nic.${hostName}` : `"${hostName}"`;
  return `${verb} element bridge ${TABLE} nics { ${value} }\n`;
}

function filterRules(filter: NicFilter): string[] {
  const rules: string[] = [];
  if (filter.egressBits > 0) rules.push(limitRule(filter.egressBits));
  if (filter.mac) rules.push(...macRules(filter.hwaddr));
  if (filter.ipv4 !== undefined) rules.push(...ipv4Rules(filter.ipv4));
  if (filter.ipv6 !== undefined) rules.push(...ipv6Rules(filter.ipv6, filter.hwaddr));
  // With both families guarded nothing else may carry a forged address (LXD does the same).
  if (filter.ipv4 !== undefined && filter.ipv6 !== undefined) {
    rules.push('ether type != { arp, ip, ip6 } drop');
  }
  return rules;
}

function macRules(hwaddr: string): string[] {
  return [
    `ether saddr != ${hwaddr} drop`,
    `ether type arp arp saddr ether != ${hwaddr} drop`,
    // Link-layer address option of a neighbour advertisement.
    `icmpv6 type nd-neighbor-advert @nh,528,48 != 0x${hwaddr.replaceAll(':', '')} drop`,
  ];
}

function ipv4Rules(address: string | null): string[] {
  if (address === null) return ['ether type arp drop', 'ether type ip drop'];
  return [
    'ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept',
    `ether type arp arp saddr ip != { 0.0.0.0, ${address} } drop`,
    `ip saddr != ${address} drop`,
  ];
}

function ipv6Rules(address: string | null, hwaddr: string): string[] {
  if (address === null) return ['ether type ip6 drop'];
  const link = eui64(LINK_LOCAL, hwaddr);
  const own = [address, ...(link === null ? [] : [formatAddress(6, link)])];
  const targets = own.map((text) => `0x${hexOf(text)}`).join(', ');
  return [
    'icmpv6 type nd-router-advert drop',
    `icmpv6 type nd-neighbor-advert @nh,384,128 != { ${targets} } drop`,
    // Duplicate address detection and group membership before there is an address.
    'ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld2-listener-report } accept',
    `ip6 saddr != { ${own.join(', ')} } drop`,
  ];
}

function hexOf(text: string): string {
  const [head = '', tail] = text.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return [...left, ...zeros, ...right].map((group) => group.padStart(4, '0')).join('');
}

/** The address SLAAC gives the nic, which a filter may expect. */
export function slaacAddress(subnet: Subnet, hwaddr: string): string | null {
  const value = eui64(subnet, hwaddr);
  return value === null ? null : formatAddress(6, value);
}
