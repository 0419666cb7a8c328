/** What a profile may be called and how a change is put together. Pure. */
import { Fault } from '../../process/fault.ts';
import type { DeviceMap, ProfileRow, StringMap } from '../db/rows.ts';

/** The part of a profile that can be written. */
export interface ProfileDefinition {
  readonly description: string;
  readonly config: StringMap;
  readonly devices: DeviceMap;
}

/** As it comes in a request: what is absent or null was not given. */
export interface GivenDefinition {
  readonly description?: string | null | undefined;
  readonly config?: StringMap | null | undefined;
  readonly devices?: DeviceMap | null | undefined;
}

const MAX_NAME = 255;

/** Fault bad_request, in LXD's words where it has them. */
export function checkProfileName(name: string): void {
  if (name === '') throw new Fault('bad_request', 'No name provided');
  if (name.includes('/')) throw new Fault('bad_request', 'Profile names may not contain slashes');
  const isOdd = name === '.' || name === '..' || name.length > MAX_NAME || /[\p{Cc}]/u.test(name);
  if (isOdd)
    throw new Fault('bad_request', `Invalid profile name ${JSON.stringify(name.slice(0, MAX_NAME))}`);
}

/** PUT: what is not given is empty. */
export function replaced(given: GivenDefinition): ProfileDefinition {
  return {
    description: given.description ?? '',
    config: withoutEmpty(given.config ?? {}),
    devices: cleanDevices(given.devices ?? {}),
  };
}

/** PATCH: keys one by one ('' removes one), devices as a whole, what is not given stays. */
export function merged(row: ProfileRow, given: GivenDefinition): ProfileDefinition {
  return {
    description: given.description ?? row.description,
    config: withoutEmpty({ ...row.config, ...given.config }),
    devices: cleanDevices({ ...row.devices, ...given.devices }),
  };
}

/** What the entity tag is made of. */
export function taggedPart(row: ProfileRow): readonly unknown[] {
  return [row.config, row.description, row.devices];
}

/** As LXD: a key with an empty value is not kept. */
function withoutEmpty(map: StringMap): StringMap {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => value !== ''));
}

function cleanDevices(devices: DeviceMap): DeviceMap {
  return Object.fromEntries(Object.entries(devices).map(([name, device]) => [name, withoutEmpty(device)]));
}
