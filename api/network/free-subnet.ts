/**
 * Chooses a subnet that nothing on this host uses. It asks the host's
 * addresses and routes and never sends a packet.
 */
import { randomInt, randomBytes } from 'node:crypto';
import { Fault } from '../../process/fault.ts';
import type { Family, Subnet } from './addresses.ts';
import { formatSubnet, overlaps, parseSubnet } from './addresses.ts';

const TRIES = 1000;

/**
 * `10.x.y.1/24` or `fd42:…::1/64`, free of every subnet in `used`. A used /0
 * (the default route) must be left out by the caller.
 */
export function freeSubnet(
  family: Family,
  used: readonly Subnet[],
  draw: () => Subnet = family === 4 ? drawV4 : drawV6,
): string {
  for (let i = 0; i < TRIES; i += 1) {
    const subnet = draw();
    if (!used.some((one) => overlaps(one, subnet))) return formatSubnet(subnet);
  }
  throw new Fault(
    'conflict',
    `no free IPv${String(family)} subnet was found; set ipv${String(family)}.address to one of yours`,
  );
}

function drawV4(): Subnet {
  const address = (10n << 24n) | (BigInt(randomInt(0, 256)) << 16n) | (BigInt(randomInt(0, 256)) << 8n) | 1n;
  return { family: 4, address, prefix: 24 };
}

/** fd42:xxxx:xxxx:xxxx::1: unique local (RFC 4193), beginning as LXD's do. */
function drawV6(): Subnet {
  const middle = BigInt(`0x${randomBytes(6).toString('hex')}`);
  return { family: 6, address: (0xfd42n << 112n) | (middle << 64n) | 1n, prefix: 64 };
}

/** Destinations in `ip -j route show table all`, without default routes and single broadcast entries. */
export function routedSubnets(json: string, family: Family): Subnet[] {
  const routes: unknown = json.trim() === '' ? [] : JSON.parse(json);
  if (!Array.isArray(routes)) return [];
  const out: Subnet[] = [];
  for (const route of routes) {
    const { dst, dev, type } = Object(route) as { dst?: unknown; dev?: unknown; type?: unknown }; // checked below
    if (typeof dst !== 'string' || dst === 'default' || dev === 'lo' || type === 'multicast') continue;
    const text = dst.includes('/') ? dst : `${dst}/${family === 4 ? '32' : '128'}`;
    const subnet = parseSubnet(text);
    if (subnet !== null && subnet.family === family && subnet.prefix > 0) out.push(subnet);
  }
  return out;
}
