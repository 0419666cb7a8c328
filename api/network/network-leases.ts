/** `GET /1.0/networks/{name}/leases`: the bridge's own addresses, static ones of nics, and dnsmasq's leases. Pure. */
import type { NetworkLeaseWire } from '../wire/networks.ts';
import { formatAddress } from './addresses.ts';
import type { Lease } from './leases.ts';
import { bridgeSubnet, isOn } from './network-keys.ts';
import { slaacAddress } from './nic-rules.ts';
import type { Reservation } from './parts.ts';
import type { ManagedNetwork } from './types.ts';

/**
 * Leases the project may see: of its own instances, and in `default` also of
 * guests that are no instance's (nested ones, nics on the bridge by `parent`).
 */
export function renderLeases(
  network: ManagedNetwork,
  project: string,
  reservations: readonly Reservation[],
  leases: readonly Lease[],
): NetworkLeaseWire[] {
  const out: NetworkLeaseWire[] = [];
  for (const family of [4, 6] as const) {
    const subnet = bridgeSubnet(network.config, family);
    if (subnet === null) continue;
    const address = formatAddress(family, subnet.address);
    out.push({ hostname: `${network.name}.gw`, hwaddr: '', address, type: 'gateway', location: '' });
  }
  const mine = reservations.filter((one) => one.project === project);
  const owners = new Map(reservations.map((one) => [one.hwaddr, one.project]));
  const seen = new Set<string>();
  const add = (hostname: string, hwaddr: string, address: string, type: 'static' | 'dynamic'): void => {
    if (seen.has(address)) return;
    seen.add(address);
    out.push({ hostname, hwaddr, address, type, location: 'none' });
  };
  for (const one of mine) {
    for (const address of [one.ipv4, one.ipv6]) {
      if (address !== null) add(one.instance, one.hwaddr, address, 'static');
    }
  }
  for (const lease of leases) {
    if ((owners.get(lease.hwaddr) ?? 'default') !== project) continue;
    add(lease.hostname, lease.hwaddr, lease.address, 'dynamic');
  }
  // dnsmasq has no leases of addresses that guests make for themselves: LXD tells what they will be.
  const subnet6 = bridgeSubnet(network.config, 6);
  if (subnet6 !== null && !isOn(network.config['ipv6.dhcp.stateful'], false)) {
    for (const one of mine) {
      const address = one.ipv6 === null ? slaacAddress(subnet6, one.hwaddr) : null;
      if (address !== null) add(one.instance, one.hwaddr, address, 'dynamic');
    }
  }
  return out;
}
