/** What a guest is told when its configuration changes. */
import type { DeviceMap, StringMap } from '../db/rows.ts';
import type { Events } from '../events/events.ts';
import type { Expanded, InstanceStore } from '../instances/types.ts';
import { guestDevices, isGuestKey } from './guest-view.ts';

export interface GuestEvent {
  readonly type: 'config' | 'device';
  readonly timestamp: string;
  readonly metadata: unknown;
}

/** After one of these an instance's definition may be another. */
const ACTIONS = new Set(['instance-updated', 'instance-renamed', 'profile-updated', 'profile-renamed']);

/**
 * Calls `listener` for each change of the keys and devices that the guest
 * sees, from now until the returned function is called.
 */
export function watchGuest(
  parts: { readonly events: Events; readonly store: Pick<InstanceStore, 'byId' | 'expand'> },
  id: string,
  listener: (event: GuestEvent) => void,
): () => void {
  let seen = parts.store.expand(parts.store.byId(id));
  return parts.events.subscribe((event) => {
    if (event.type !== 'lifecycle' || !ACTIONS.has(actionOf(event.metadata))) return;
    const now = parts.store.expand(parts.store.byId(id));
    const changes = guestChanges(seen, now);
    seen = now;
    for (const change of changes) listener({ ...change, timestamp: new Date().toISOString() });
  });
}

function actionOf(metadata: unknown): string {
  const isNamed = typeof metadata === 'object' && metadata !== null && 'action' in metadata;
  return isNamed ? String(metadata.action) : '';
}

/** Pure: the events between two definitions, keys first. */
export function guestChanges(before: Expanded, after: Expanded): Omit<GuestEvent, 'timestamp'>[] {
  return [
    ...configChanges(before.config, after.config),
    ...deviceChanges(guestDevices(before), guestDevices(after)),
  ];
}

function configChanges(before: StringMap, after: StringMap): Omit<GuestEvent, 'timestamp'>[] {
  return keysOf(before, after)
    .filter((key) => isGuestKey(key) && before[key] !== after[key])
    .map((key) => ({
      type: 'config',
      metadata: { key, old_value: before[key] ?? '', value: after[key] ?? '' },
    }));
}

function deviceChanges(before: DeviceMap, after: DeviceMap): Omit<GuestEvent, 'timestamp'>[] {
  return keysOf(before, after).flatMap((name) => {
    const [old, now] = [before[name], after[name]];
    if (now === undefined) return [deviceEvent('removed', name, old ?? {})];
    if (old === undefined) return [deviceEvent('added', name, now)];
    const isSame = keysOf(old, now).every((key) => old[key] === now[key]);
    return isSame ? [] : [deviceEvent('updated', name, now)];
  });
}

function deviceEvent(action: string, name: string, config: StringMap): Omit<GuestEvent, 'timestamp'> {
  return { type: 'device', metadata: { action, name, config } };
}

function keysOf(before: object, after: object): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
}
