/**
 * Which `volatile.*` keys a client may change, and which follow from a change.
 *
 * Pure but for random ids. Differs: LXD drops most volatile keys that a PUT
 * leaves out and fails for some; here what the daemon needs is kept.
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import type { Networks } from '../network/types.ts';
import { isVolatileOf } from './config-keys.ts';
import { freshHwaddrs, needsNewInstanceId, newInstanceId } from './definition.ts';
import type { Expanded } from './types.ts';

/** Of an instance that is frozen for no longer than its copying takes. */
export const HELD = 'volatile.held';

/** What a change of a running container is about to bring; see half-change.ts. */
export const CHANGING = 'volatile.changing';

/** What the instance was before a profile of it changed, until it has followed; see half-change.ts. */
export const FOLLOWING = 'volatile.following';

/** Say what the instance is; another value is refused. */
const FIXED = new Set(['volatile.uuid', 'volatile.base_image']);

/** The daemon's own notes: whatever a client sends, they stay as they are. */
const OWNED = new Set([
  CHANGING,
  FOLLOWING,
  HELD,
  'volatile.idmap.base',
  'volatile.idmap.current',
  'volatile.idmap.next',
  'volatile.last_state.idmap',
  'volatile.last_state.power',
  'volatile.rename.from',
]);
const OWNED_OF_DEVICE = /^volatile\..+\.(apply_quota|host_name|name|last_state\.[a-z.]+)$/;

/** Stay when they are left out, but may be set. */
const STICKY = new Set(['volatile.apply_template', 'volatile.cloud-init.instance-id']);

/** The config to save for one a client sent. Fault bad_request when it changes what cannot be changed. */
export function keepOwnKeys(saved: StringMap, sent: StringMap): StringMap {
  const next = new Map(Object.entries(sent));
  for (const key of new Set([...Object.keys(saved), ...Object.keys(sent)])) {
    if (!key.startsWith('volatile.')) continue;
    const value = saved[key];
    if (FIXED.has(key) && sent[key] !== undefined && sent[key] !== value) {
      throw new Fault('bad_request', `${key} cannot be changed`);
    }
    if (isOwned(key) || FIXED.has(key)) {
      if (value === undefined) next.delete(key);
      else next.set(key, value);
    } else if (STICKY.has(key) && value !== undefined && !next.has(key)) {
      next.set(key, value);
    }
  }
  return Object.fromEntries(next);
}

/** Keys of a request's config that mean something on a new instance; the rest belonged to another one. */
export function keepForNew(sent: StringMap): StringMap {
  const mayStay = ([key]: [string, string]): boolean =>
    !key.startsWith('volatile.') || (key.endsWith('.hwaddr') && !key.includes('.last_state.'));
  return Object.fromEntries(Object.entries(sent).filter(mayStay));
}

function isOwned(key: string): boolean {
  return OWNED.has(key) || OWNED_OF_DEVICE.test(key);
}

export type ConfigChanges = Readonly<Record<string, string | null>>;

/** Volatile keys that follow from going from one definition to the next: gone devices, new nics, cloud-init. */
export function volatileChanges(
  before: Expanded,
  next: Expanded,
  networks: Pick<Networks, 'managed'>,
  isTaken: (mac: string) => boolean,
): ConfigChanges {
  const changes: Record<string, string | null> = {};
  for (const device of Object.keys(before.devices)) {
    if (Object.hasOwn(next.devices, device)) continue;
    for (const key of Object.keys(next.row.config)) if (isVolatileOf(key, device)) changes[key] = null;
  }
  Object.assign(changes, freshHwaddrs(next, networks, isTaken));
  if (needsNewInstanceId(before, next)) changes['volatile.cloud-init.instance-id'] = newInstanceId();
  return changes;
}

/** A config with some keys set, or with null removed. */
export function withChanges(config: StringMap, changes: ConfigChanges): StringMap {
  const merged = new Map(Object.entries(config));
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) merged.delete(key);
    else merged.set(key, value);
  }
  return Object.fromEntries(merged);
}

/** A definition with volatile keys changed; volatile keys are never in profiles. */
export function expandedWith(expanded: Expanded, changes: ConfigChanges): Expanded {
  return {
    row: { ...expanded.row, config: withChanges(expanded.row.config, changes) },
    config: withChanges(expanded.config, changes),
    devices: expanded.devices,
  };
}
