/** Arithmetic on IP addresses and subnets. Pure. Texts that are no address give null, never a guess. */
import { isIPv4, isIPv6 } from 'node:net';

export type Family = 4 | 6;

export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** An address with the length of its network, as in `10.0.0.1/24`. */
export interface Subnet {
  readonly family: Family;
  /** The address as written; the gateway of a bridge. */
  readonly address: bigint;
  readonly prefix: number;
}

const BITS: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

export function parseAddress(text: string): Address | null {
  if (isIPv4(text)) return { family: 4, value: parseV4(text) };
  // A zone (`fe80::1%eth0`) means something on one host only.
  if (!isIPv6(text) || text.includes('%')) return null;
  return { family: 6, value: parseV6(text) };
}

export function parseSubnet(text: string): Subnet | null {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = parseAddress(match?.[1] ?? '');
  const prefix = Number(match?.[2]);
  if (address === null || prefix > BITS[address.family]) return null;
  return { family: address.family, address: address.value, prefix };
}

function parseV4(text: string): bigint {
  return text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

function parseV6(text: string): bigint {
  const [head = '', tail] = text.split('::');
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const middle = Array<bigint>(Math.max(0, 8 - left.length - right.length)).fill(0n);
  return [...left, ...middle, ...right].reduce((sum, group) => (sum << 16n) | group, 0n);
}

function groups(text: string): bigint[] {
  if (text === '') return [];
  return text.split(':').flatMap((part) => {
    if (!part.includes('.')) return [BigInt(`0x${part}`)];
    const v4 = parseV4(part);
    return [v4 >> 16n, v4 & 0xffffn];
  });
}

export function formatAddress(family: Family, value: bigint): string {
  if (family === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join('.');
  }
  return formatV6(value);
}

/** RFC 5952: lower case, the longest run of zero groups (two or more) as `::`. */
function formatV6(value: bigint): string {
  const parts = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at += 1) {
    let length = 0;
    while (parts[at + length] === '0') length += 1;
    if (length > best.length) best = { at, length };
  }
  if (best.at < 0) return parts.join(':');
  return `${parts.slice(0, best.at).join(':')}::${parts.slice(best.at + best.length).join(':')}`;
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet.family, subnet.address)}/${String(subnet.prefix)}`;
}

/** First address of the network (the network's own in IPv4). */
export function firstOf(subnet: Subnet): bigint {
  const host = BigInt(BITS[subnet.family] - subnet.prefix);
  return (subnet.address >> host) << host;
}

/** Last address of the network (broadcast in IPv4). */
export function lastOf(subnet: Subnet): bigint {
  return firstOf(subnet) + (1n << BigInt(BITS[subnet.family] - subnet.prefix)) - 1n;
}

/** `10.0.0.1/24` -> `10.0.0.0/24`. */
export function networkOf(subnet: Subnet): string {
  return formatSubnet({ ...subnet, address: firstOf(subnet) });
}

export function contains(subnet: Subnet, address: Address): boolean {
  return (
    subnet.family === address.family && address.value >= firstOf(subnet) && address.value <= lastOf(subnet)
  );
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.family === b.family && firstOf(a) <= lastOf(b) && firstOf(b) <= lastOf(a);
}

/** Inclusive at both ends. */
export interface Range {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

/** `10.0.0.10-10.0.0.20`; null when it is none or runs backwards. */
export function parseRange(text: string): Range | null {
  const [from = '', to = '', more] = text.split('-').map((part) => part.trim());
  const first = parseAddress(from);
  const last = parseAddress(to);
  if (first === null || last === null || more !== undefined) return null;
  if (first.family !== last.family || first.value > last.value) return null;
  return { family: first.family, first: first.value, last: last.value };
}

/** The comma separated parts of a list, trimmed, empty ones left out. */
export function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** The address a guest makes for itself (SLAAC, EUI-64) in a /64; null for other sizes and bad MACs. */
export function eui64(subnet: Subnet, hwaddr: string): bigint | null {
  const bytes = hwaddr.split(':').map((byte) => parseInt(byte, 16));
  if (subnet.family !== 6 || subnet.prefix !== 64 || bytes.length !== 6) return null;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const id = [a ^ 2, b, c, 0xff, 0xfe, d, e, f].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return firstOf(subnet) | id;
}

export const LINK_LOCAL: Subnet = { family: 6, address: 0xfe80n << 112n, prefix: 64 };
