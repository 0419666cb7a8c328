/** The addresses a nic may have: the checks on what is asked for, and a choice where a filter needs one. Pure. */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import type { Family } from './addresses.ts';
import { contains, firstOf, formatAddress, lastOf, listOf, parseAddress, parseRange } from './addresses.ts';
import { bridgeSubnet, isOn } from './network-keys.ts';
import type { Reservation } from './parts.ts';
import type { ManagedNetwork, NicOwnerKey } from './types.ts';

/** The device's static address; 'none' for no address, null when nothing is said. */
export function staticAddress(config: StringMap, family: Family): string | null {
  const text = config[`ipv${String(family)}.address`] ?? '';
  return text === '' ? null : text;
}

function filterKey(family: Family): string {
  return `security.ipv${String(family)}_filtering`;
}

/** Fault `bad_request` for an address that this network cannot give, or that another nic has. */
export function validateAddresses(
  network: ManagedNetwork,
  nic: StringMap,
  others: () => readonly Reservation[],
  self: NicOwnerKey | null,
): void {
  for (const family of [4, 6] as const) {
    const text = staticAddress(nic, family);
    if (text === null || text === 'none') continue;
    const key = `ipv${String(family)}.address`;
    const address = parseAddress(text);
    if (address?.family !== family)
      throw new Fault('bad_request', `${key} "${text}" is not an IPv${String(family)} address`);
    if (network.type !== 'bridge') continue;
    validateOnBridge(network, nic, family, text);
    const holder = others().find((one) => isSameAddress(one, family, address.value) && !isSelf(one, self));
    if (holder !== undefined) {
      // Networks are shared by all projects: the names in another one are not told.
      const isOwn = self !== null && holder.project === self.project;
      const who = isOwn ? ` by device "${holder.device}" of instance "${holder.instance}"` : '';
      throw new Fault('bad_request', `${key} "${text}" is already used${who}`);
    }
  }
}

function validateOnBridge(network: ManagedNetwork, nic: StringMap, family: Family, text: string): void {
  const key = `ipv${String(family)}.address`;
  const subnet = bridgeSubnet(network.config, family);
  const address = parseAddress(text);
  if (subnet === null || address === null || !contains(subnet, address)) {
    throw new Fault('bad_request', `Device IP address "${text}" not within network "${network.name}" subnet`);
  }
  const isReserved =
    family === 4 && [firstOf(subnet), lastOf(subnet)].includes(address.value) && subnet.prefix < 31;
  if (isReserved || address.value === subnet.address) {
    throw new Fault('bad_request', `${key} "${text}" belongs to network "${network.name}" itself`);
  }
  const dhcp = isOn(network.config[`ipv${String(family)}.dhcp`], true);
  const isGiven = dhcp && (family === 4 || isOn(network.config['ipv6.dhcp.stateful'], false));
  if (!isGiven && !isOn(nic[filterKey(family)], false)) {
    const cure = family === 4 ? 'ipv4.dhcp=true' : 'ipv6.dhcp.stateful=true';
    throw new Fault(
      'bad_request',
      `${key} needs ${cure} on network "${network.name}", or ${filterKey(family)}=true`,
    );
  }
}

function isSameAddress(one: Reservation, family: Family, value: bigint): boolean {
  const text = family === 4 ? one.ipv4 : one.ipv6;
  return text !== null && parseAddress(text)?.value === value;
}

function isSelf(one: Reservation, self: NicOwnerKey | null): boolean {
  return (
    self !== null &&
    one.project === self.project &&
    one.instance === self.instance &&
    one.device === self.device
  );
}

/** Fault `bad_request` for a filter on a bridge whose addresses we do not give. */
export function validateFilters(nic: StringMap): void {
  for (const family of [4, 6] as const) {
    if (!isOn(nic[filterKey(family)], false) || staticAddress(nic, family) !== null) continue;
    throw new Fault(
      'bad_request',
      `${filterKey(family)} needs ipv${String(family)}.address when the bridge is not a managed network`,
    );
  }
}

/**
 * An IPv4 address for a nic whose filter needs one before it has a lease:
 * the first one behind a start that follows from the MAC, so that a nic tends
 * to keep its address. null when all are taken.
 */
export function chooseIpv4(
  network: ManagedNetwork,
  hwaddr: string,
  taken: ReadonlySet<string>,
): string | null {
  const subnet = bridgeSubnet(network.config, 4);
  if (subnet === null) return null;
  const ranges = listOf(network.config['ipv4.dhcp.ranges']).flatMap((text) => parseRange(text) ?? []);
  const first = firstOf(subnet) + 1n;
  const pools = ranges.length > 0 ? ranges : [{ family: 4 as const, first, last: lastOf(subnet) - 1n }];
  const seed = BigInt(`0x${hwaddr.replaceAll(':', '').slice(-6) || '0'}`);
  for (const pool of pools) {
    const size = pool.last - pool.first + 1n;
    for (let step = 0n; step < size; step += 1n) {
      const value = pool.first + ((seed + step) % size);
      const text = formatAddress(4, value);
      if (value !== subnet.address && !taken.has(text)) return text;
    }
  }
  return null;
}
