/**
 * Whether a whole definition (profiles merged in) can be an instance's.
 *
 * No side effects. Networks and pools are asked only about what changed, so
 * that a network that vanished does not stop every other change.
 */
import { Fault } from '../../process/fault.ts';
import type { DeviceMap, StringMap } from '../db/rows.ts';
import type { Networks } from '../network/types.ts';
import { checkConfig } from './config-keys.ts';
import { checkDevice, innerPathOf, isRootDisk } from './device-keys.ts';
import type { InstanceParts } from './parts.ts';
import { rootOf } from './private-disks.ts';
import type { Expanded } from './types.ts';
import { parseBytes } from './values.ts';

export type DefinitionParts = Pick<InstanceParts, 'networks' | 'pools' | 'runtime'>;

const NICTYPE_OF_NETWORK: Readonly<Record<string, string>> = { bridge: 'bridged' };

/** Kind of a nic: that of its managed network, or its `nictype`; '' for other devices. */
function nictypeOf(name: string, device: StringMap, networks: Pick<Networks, 'managed'>): string {
  if (device['type'] !== 'nic') return '';
  const network = device['network'] ?? '';
  if (network === '') return device['nictype'] ?? '';
  const found = networks.managed(network);
  if (found === null) {
    throw new Fault(
      'bad_request',
      `Device validation failed for ${JSON.stringify(name)}: Network ${JSON.stringify(network)} not found; create it or choose a managed network`,
    );
  }
  return NICTYPE_OF_NETWORK[found.type] ?? found.type;
}

/** Throws bad_request for what no instance could take from a profile. */
export function checkProfile(
  networks: Pick<Networks, 'managed'>,
  config: StringMap,
  devices: DeviceMap,
): void {
  checkConfig(config, 'profile');
  for (const [name, device] of Object.entries(devices)) {
    checkDevice(name, device, nictypeOf(name, device, networks));
    if (rootOf(device) !== null) {
      throw new Fault(
        'bad_request',
        `device "${name}": the root of an instance is lent to one instance, not to a profile`,
      );
    }
  }
  rootDiskOf(devices);
}

/**
 * Throws bad_request for the first thing an instance could not live with.
 *
 * @param before the saved definition; null for an instance that is being made
 */
export function checkDefinition(parts: DefinitionParts, next: Expanded, before: Expanded | null): void {
  checkConfig(next.config, 'instance');
  for (const [name, device] of Object.entries(next.devices)) {
    const nictype = nictypeOf(name, device, parts.networks);
    checkDevice(name, device, nictype);
    if (nictype === 'bridged' && !isSameDevice(device, before?.devices[name]))
      checkNetwork(parts.networks, next, name, device);
  }
  checkRoot(next);
  checkUnique(next.devices);
  parts.runtime.validate(next);
}

/** The disk of the root file system; null when there is none. Fault bad_request when there are several. */
export function rootDiskOf(devices: DeviceMap): { readonly name: string; readonly device: StringMap } | null {
  const roots = Object.entries(devices).filter(([, device]) => isRootDisk(device));
  const [first, second] = roots;
  if (first === undefined) return null;
  if (second !== undefined) {
    throw new Fault(
      'bad_request',
      `both "${first[0]}" and "${second[0]}" are disks with path=/; keep one root disk`,
    );
  }
  return { name: first[0], device: first[1] };
}

/** Size of a root disk in bytes; null for none. */
export function rootSizeOf(device: StringMap): number | null {
  const text = device['size'] ?? '';
  const bytes = text === '' ? 0 : parseBytes(text);
  return bytes === 0 ? null : bytes;
}

/** True when both are the same device, key by key. */
export function isSameDevice(a: StringMap, b: StringMap | undefined): boolean {
  if (b === undefined) return false;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => (a[key] ?? '') === (b[key] ?? ''));
}

function checkNetwork(networks: Networks, owner: Expanded, name: string, device: StringMap): void {
  const { project, name: instance } = owner.row;
  try {
    networks.validateNic(device, { project, instance, device: name });
  } catch (err) {
    if (!(err instanceof Fault)) throw err;
    throw new Fault('bad_request', `Device validation failed for ${JSON.stringify(name)}: ${err.message}`);
  }
}

/** Devices that would take each other's place. */
function checkUnique(devices: DeviceMap): void {
  const seen = new Map<string, string>();
  const take = (what: string, value: string, device: string): void => {
    if (value === '') return;
    const other = seen.get(`${what} ${value}`);
    if (other !== undefined) {
      throw new Fault(
        'bad_request',
        `devices "${other}" and "${device}" have the same ${what} ${JSON.stringify(value)}`,
      );
    }
    seen.set(`${what} ${value}`, device);
  };
  for (const [name, device] of Object.entries(devices)) {
    if (device['type'] === 'nic') {
      take('interface name', device['name'] ?? '', name);
      take('host interface name', device['host_name'] ?? '', name);
    } else if (device['type'] === 'disk' || device['type']?.startsWith('unix-') === true) {
      const path = device['path'] ?? device['source'] ?? '';
      if (path !== '') take('path', innerPathOf(path), name);
    }
  }
}

function checkRoot(next: Expanded): void {
  const root = rootDiskOf(next.devices);
  if (root === null) {
    throw new Fault(
      'bad_request',
      'Failed detecting root disk device: No root device could be found; add a disk with path=/ and a pool',
    );
  }
  const pool = root.device['pool'] ?? '';
  if (next.row.pool !== '' && pool !== next.row.pool) {
    throw new Fault(
      'bad_request',
      `the root disk is in storage pool "${next.row.pool}" and cannot be changed to "${pool}"; copy the instance instead`,
    );
  }
}
