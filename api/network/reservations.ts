/** Which instances and profiles use a network, and by which nics. Pure; the composition root calls it. */
import type { DeviceMap, StringMap } from '../db/rows.ts';
import type { Reservation } from './parts.ts';

export interface NicOwner {
  readonly project: string;
  readonly name: string;
  /** Local configuration: `volatile.<device>.hwaddr` is read. */
  readonly config: StringMap;
  /** Expanded devices. */
  readonly devices: DeviceMap;
}

/** The nics on one managed network. */
export function nicReservations(network: string, owners: Iterable<NicOwner>): Reservation[] {
  const out: Reservation[] = [];
  for (const owner of owners) {
    for (const [device, nic] of Object.entries(owner.devices)) {
      if (nic['type'] !== 'nic' || nic['network'] !== network) continue;
      out.push({
        project: owner.project,
        instance: owner.name,
        device,
        hwaddr: (nic['hwaddr'] ?? owner.config[`volatile.${device}.hwaddr`] ?? '').toLowerCase(),
        ipv4: address(nic['ipv4.address']),
        ipv6: address(nic['ipv6.address']),
      });
    }
  }
  return out;
}

function address(value: string | undefined): string | null {
  return value === undefined || value === '' || value === 'none' ? null : value;
}

/** True when a nic of these devices is on the network, or on the interface of that name. */
export function usesNetwork(network: string, devices: DeviceMap): boolean {
  return Object.values(devices).some(
    (device) => device['type'] === 'nic' && (device['network'] === network || device['parent'] === network),
  );
}
