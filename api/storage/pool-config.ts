/** The configuration keys of pools: which there are, what their values may be, which may change. Pure. */
import { isAbsolute, normalize } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { parseBool, parseBytes } from '../instances/values.ts';

export const DRIVERS = ['overlay', 'dir', 'btrfs'] as const;
export type DriverName = (typeof DRIVERS)[number];

type Check = (value: string) => void;

const isSize: Check = (value) => void parseBytes(value);
const isBool: Check = (value) => void parseBool(value);
const isAny: Check = () => undefined;

const isSource: Check = (value) => {
  if (!isAbsolute(value) || normalize(value) !== value) {
    throw new Fault('bad_request', `${JSON.stringify(value)} is not an absolute path`);
  }
  // These part the options of an overlay mount.
  if (/[:,\\\s]/.test(value)) {
    throw new Fault('bad_request', `${JSON.stringify(value)} has a colon, comma, backslash or blank`);
  }
};

const isMountOptions: Check = (value) => {
  if (!/^[\w=.:@,-]*$/.test(value))
    throw new Fault('bad_request', `${JSON.stringify(value)} are not mount options`);
};

const COMMON: Readonly<Record<string, Check>> = {
  source: isSource,
  'volatile.initial_source': isAny,
  'rsync.bwlimit': isAny,
  'rsync.compression': isBool,
  'volume.size': isSize,
  'volume.security.shifted': isBool,
  'volume.security.unmapped': isBool,
  'volume.snapshots.expiry': isAny,
  'volume.snapshots.pattern': isAny,
  'volume.snapshots.schedule': isAny,
};

const OF_DRIVER: Readonly<Record<DriverName, Readonly<Record<string, Check>>>> = {
  overlay: COMMON,
  dir: COMMON,
  btrfs: { ...COMMON, size: isSize, 'btrfs.mount_options': isMountOptions },
};

/** Keys that stay as they were made; `size` may grow. */
const FIXED = ['source', 'volatile.initial_source'];

export function driverName(text: string): DriverName {
  const found = DRIVERS.find((name) => name === text);
  if (found === undefined) {
    throw new Fault(
      'bad_request',
      `storage driver ${JSON.stringify(text)} is not known; use ${DRIVERS.join(', ')}`,
    );
  }
  return found;
}

/** Pool names become directories and mount options. */
export function checkPoolName(name: string): void {
  if (name === '') throw new Fault('bad_request', 'No name provided');
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/.test(name)) {
    throw new Fault(
      'bad_request',
      `pool name ${JSON.stringify(name.slice(0, 80))} is not valid; use letters, digits, "-", "_" and "."`,
    );
  }
}

/** Fault bad_request for an unknown key or a wrong value. */
export function checkPoolConfig(driver: DriverName, config: StringMap): void {
  const known = OF_DRIVER[driver];
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('user.')) continue;
    const check = Object.hasOwn(known, key) ? known[key] : undefined;
    if (check === undefined) {
      throw new Fault('bad_request', `Invalid option for storage pool with driver ${driver}: "${key}"`);
    }
    if (value === '') continue;
    try {
      check(value);
    } catch (err) {
      throw new Fault('bad_request', `storage pool key ${key}`, { cause: err });
    }
  }
}

/** Fault bad_request when a change touches what cannot change. */
export function checkPoolChange(driver: DriverName, before: StringMap, after: StringMap): void {
  checkPoolConfig(driver, after);
  for (const key of FIXED) {
    if ((before[key] ?? '') !== (after[key] ?? '')) {
      throw new Fault('bad_request', `storage pool key ${key} cannot be changed`);
    }
  }
  const [old, now] = [before['size'] ?? '', after['size'] ?? ''];
  if (old === now) return;
  if (old === '' || now === '' || parseBytes(now) < parseBytes(old)) {
    throw new Fault('bad_request', 'storage pool key size can only be made larger');
  }
}

/** Keys without a value are no keys. */
export function withoutEmpty(config: StringMap): StringMap {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ''));
}
