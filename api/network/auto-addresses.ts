/** Replaces `auto` in a bridge's configuration by what is free on this host; chooses its MAC. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { StringMap } from '../db/rows.ts';
import type { Family, Subnet } from './addresses.ts';
import { parseSubnet } from './addresses.ts';
import { freeSubnet, routedSubnets } from './free-subnet.ts';
import { bridgeSubnet } from './network-keys.ts';
import type { NetworkParts } from './parts.ts';

type Parts = Pick<NetworkParts, 'native' | 'runTool'>;

/** LXD's defaults for a new bridge: both families, each with NAT when its subnet is chosen here. */
export function withDefaults(config: StringMap): StringMap {
  const out: Record<string, string> = { ...config };
  for (const family of [4, 6] as const) {
    const key = `ipv${String(family)}`;
    const isUsable = family === 4 || existsSync('/proc/sys/net/ipv6');
    out[`${key}.address`] ??= isUsable ? 'auto' : 'none';
    if (out[`${key}.address`] === 'auto') out[`${key}.nat`] ??= 'true';
  }
  return out;
}

/** `others` are the configurations of all other networks, up or not. */
export async function withRealAddresses(
  parts: Parts,
  config: StringMap,
  others: readonly StringMap[],
): Promise<StringMap> {
  const out: Record<string, string> = { ...config };
  for (const family of [4, 6] as const) {
    const key = `ipv${String(family)}.address`;
    if (out[key] !== 'auto') continue;
    const known = others.flatMap((other) => bridgeSubnet(other, family) ?? []);
    out[key] = freeSubnet(family, [...known, ...(await hostSubnets(parts, family))]);
  }
  return out;
}

async function hostSubnets(parts: Parts, family: Family): Promise<Subnet[]> {
  const [interfaces] = await parts.native.interfaces([0]);
  const own = (interfaces ?? []).flatMap((one) =>
    one.addresses.flatMap((address) => parseSubnet(`${address.address}/${String(address.prefix)}`) ?? []),
  );
  const { stdout } = await parts.runTool('ip', ['-j', `-${String(family)}`, 'route', 'show', 'table', 'all']);
  return [...own, ...routedSubnets(stdout, family)];
}

/** In LXD's range of locally used addresses. */
export function newHwaddr(): string {
  return ['00', '16', '3e', ...[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0'))].join(
    ':',
  );
}
