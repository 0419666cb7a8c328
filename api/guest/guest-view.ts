/** What a guest may see of its own definition, in the shapes that cloud-init reads. Pure. */
import type { DeviceMap } from '../db/rows.ts';
import { hostnameOf } from '../instances/names.ts';
import type { Expanded } from '../instances/types.ts';

/** The keys that are the guest's business. */
export function isGuestKey(key: string): boolean {
  return key.startsWith('user.') || key.startsWith('cloud-init.');
}

export function configUrls(expanded: Expanded): string[] {
  return Object.keys(expanded.config)
    .filter(isGuestKey)
    .sort()
    .map((key) => `/1.0/config/${key}`);
}

/** The beginning of cloud-init's meta-data; `user.meta-data` goes on where it ends. */
export function metaData(expanded: Expanded): string {
  const { row, config } = expanded;
  const instanceId = row.config['volatile.cloud-init.instance-id'] ?? row.name;
  const more = config['user.meta-data'] ?? '';
  return `#cloud-config\ninstance-id: ${instanceId}\nlocal-hostname: ${hostnameOf(expanded)}\n${more}`;
}

/** Expanded devices; a nic that has no address of its own gets the one it was given. */
export function guestDevices(expanded: Expanded): DeviceMap {
  const entries = Object.entries(expanded.devices).map(([name, device]) => {
    const given = expanded.row.config[`volatile.${name}.hwaddr`];
    const isOpen = device['type'] === 'nic' && (device['hwaddr'] ?? '') === '' && given !== undefined;
    return [name, isOpen ? { ...device, hwaddr: given } : device] as const;
  });
  return Object.fromEntries(entries);
}
