/** An instance's definition with its profiles merged in. Pure. */
import type { DeviceMap, InstanceRow, ProfileRow, StringMap } from '../db/rows.ts';
import type { Expanded } from '../instances/types.ts';

/**
 * Profile by profile, then the instance's own, the later wins: configuration
 * key by key, a device as a whole (`type: none` masks one of a profile).
 */
export function expandRow(row: InstanceRow, profiles: readonly ProfileRow[]): Expanded {
  let config: StringMap = {};
  let devices: DeviceMap = {};
  for (const layer of [...profiles, row]) {
    config = { ...config, ...layer.config };
    devices = { ...devices, ...layer.devices };
  }
  return Object.freeze({ row, config: Object.freeze(config), devices: Object.freeze(devices) });
}
