/** Names of the disks of an instance, given as Nova gives them where a driver has no opinion. Pure. */
import type { NovaObject } from '../nova/versioned-object.ts';

/** Nova's DEFAULT_ROOT_DEV_NAME is /dev/sda1. */
const DEFAULT_PREFIX = '/dev/sd';
const PATH = /^(?:\/dev\/)?(x?[a-z]?d?)([a-z]+)\d*$/;

export function isVolume(device: NovaObject): boolean {
  return device.textOrNull('destination_type') === 'volume';
}

/** The device the instance boots from. */
export function rootDevice(devices: readonly NovaObject[]): NovaObject | null {
  return devices.find((device) => device.numberOrNull('boot_index') === 0) ?? null;
}

/**
 * Names the root device of the instance and all devices without a name. Gives
 * those that were named, in order: each must be saved.
 */
export function nameDevices(instance: NovaObject, devices: readonly NovaObject[]): readonly NovaObject[] {
  const root = rootDevice(devices);
  if (root === null) return [];
  const named: NovaObject[] = [];
  const rootName = root.textOrNull('device_name');
  if (rootName === null) {
    const name = instance.textOrNull('root_device_name') ?? `${DEFAULT_PREFIX}a`;
    named.push(root.set('device_name', name));
    instance.set('root_device_name', name);
  } else {
    instance.set('root_device_name', rootName);
  }
  const first = instance.text('root_device_name');
  const ordered = [...devices].sort((a, b) => rankOf(a) - rankOf(b));
  const taken = [first, ...ordered.flatMap((device) => device.textOrNull('device_name') ?? [])];
  for (const device of ordered) {
    if (device.textOrNull('device_name') !== null) continue;
    const name = nextName(first, taken);
    named.push(device.set('device_name', name));
    taken.push(name);
  }
  return named;
}

/** Nova names images first, then ephemeral disks, swap, volumes. */
function rankOf(device: NovaObject): number {
  if (isVolume(device)) return 3;
  if (device.textOrNull('source_type') !== 'blank') return 0;
  return device.textOrNull('guest_format') === 'swap' ? 2 : 1;
}

function nextName(root: string, taken: readonly string[]): string {
  const kind = PATH.exec(root)?.[1];
  const prefix = kind === undefined ? DEFAULT_PREFIX : `/dev/${kind}`;
  const used = new Set(taken.map(letterOf));
  for (let index = 0; ; index += 1) {
    const letter = letters(index);
    if (!used.has(letter)) return `${prefix}${letter}`;
  }
}

function letterOf(path: string): string {
  return PATH.exec(path)?.[2] ?? '';
}

/** a … z, aa, ab, … */
function letters(index: number): string {
  const last = String.fromCharCode(97 + (index % 26));
  return index < 26 ? last : `${letters(Math.floor(index / 26) - 1)}${last}`;
}
