/**
 * Changes of a running container that a crash cut in two. A note in the row
 * says what the container may be besides what the row says, and a start of the
 * daemon makes it what the row says:
 *
 *   CHANGING   a change of the instance was under way, of which the row knows
 *              nothing yet: it is undone;
 *   FOLLOWING  a profile was changed and is saved: what the instance was before
 *              is noted, and the change is finished.
 */
import { readFile } from 'node:fs/promises';
import { describeChain } from '../../process/fault.ts';
import type { DeviceMap, StringMap } from '../db/rows.ts';
import { deviceChanges, plugDevice, unplugDevice, writeSettings } from './apply.ts';
import { rootDiskOf, rootSizeOf } from './check-definition.ts';
import { hwaddrsOf } from './definition.ts';
import { hotPlugNic } from './hot-nic.ts';
import { cgroupSettings, limitChanges } from './limits.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import type { Expanded } from './types.ts';
import { CHANGING, FOLLOWING, volatileChanges } from './volatile-keys.ts';

interface Note {
  readonly config: StringMap;
  readonly devices: DeviceMap;
}

/** The note of `other`, null when it differs from `known` in nothing that could be left half done. */
export function changeNote(known: Expanded, other: Expanded): string | null {
  const text = JSON.stringify(noteOf(other));
  return text === JSON.stringify(noteOf(known)) ? null : text;
}

function noteOf({ config, devices }: Expanded): Note {
  const limits = Object.entries(config).filter(([key]) => key.startsWith('limits.'));
  return { config: Object.fromEntries(limits.sort(([a], [b]) => (a < b ? -1 : 1))), devices };
}

/** Makes a running container what its row says. What cannot be done is logged; the instance is used on. */
export async function settleHalfChanges(parts: RuntimeParts, id: string, running: Running): Promise<void> {
  for (const key of [FOLLOWING, CHANGING]) {
    const half = noted(parts, id, key);
    if (half === null) continue;
    if (key === FOLLOWING) await keepBooks(parts, half);
    await settle(parts, running, half, { now: parts.store.expand(parts.store.byId(id)), key });
  }
}

/** A stopped instance has nothing to catch up with but the size of its root disk. */
export async function settleStopped(parts: RuntimeParts, id: string): Promise<void> {
  const before = noted(parts, id, FOLLOWING);
  if (before !== null) await keepBooks(parts, before);
  await parts.store.setConfig(id, { [FOLLOWING]: null });
}

/** What following a profile brings to the row. The next start gives the root disk its new size. */
async function keepBooks(parts: RuntimeParts, before: Expanded): Promise<void> {
  const now = parts.store.expand(before.row);
  const taken = hwaddrsOf(() => parts.store.list());
  const changes = { ...volatileChanges(before, now, parts.networks, taken) };
  const [old, wanted] = [rootDiskOf(before.devices), rootDiskOf(now.devices)];
  if (old !== null && wanted !== null && rootSizeOf(old.device) !== rootSizeOf(wanted.device)) {
    changes[`volatile.${wanted.name}.apply_quota`] = String(rootSizeOf(wanted.device) ?? 0);
  }
  await parts.store.setConfig(now.row.id, changes);
}

/** The instance as a note has it. */
function noted(parts: RuntimeParts, id: string, key: string): Expanded | null {
  const row = parts.store.byId(id);
  const text = row.config[key];
  if (text === undefined) return null;
  const note = JSON.parse(text) as Note; // written by changeNote() alone
  return { row, config: note.config, devices: note.devices };
}

async function settle(
  parts: RuntimeParts,
  running: Running,
  half: Expanded,
  { now, key }: { readonly now: Expanded; readonly key: string },
): Promise<void> {
  const changes = deviceChanges(half.devices, now.devices);
  const attempt = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    try {
      await act();
    } catch (err) {
      parts.log.warn('half a change was not put right', {
        instance: now.row.name,
        what,
        error: describeChain(err),
      });
    }
  };
  const fresh = cgroupSettings(now.config, parts.host);
  const settings = limitChanges(cgroupSettings(half.config, parts.host), fresh);
  await attempt('limits', () => writeSettings(parts, running, settings));
  for (const [name, config] of changes.removed) {
    await attempt(name, async () => {
      if (await isPlugged(parts, running, half, name, config))
        await unplugDevice(parts, running, half, name, config);
    });
  }
  const volatile: Record<string, string | null> = { [key]: null };
  for (const [name] of changes.removed) volatile[`volatile.${name}.host_name`] = null;
  for (const [name, config] of changes.added) {
    await attempt(name, async () => {
      if (await isPlugged(parts, running, now, name, config)) return;
      Object.assign(volatile, await plugDevice(parts, running, now, name, config));
    });
  }
  for (const [name, , config] of changes.updated) {
    if (config['type'] === 'nic') await attempt(name, () => hotPlugNic.replug(parts, now, name, config));
  }
  await parts.store.setConfig(now.row.id, volatile);
}

/** Whether the running container has the device. */
async function isPlugged(
  parts: RuntimeParts,
  running: Running,
  expanded: Expanded,
  name: string,
  config: StringMap,
): Promise<boolean> {
  switch (config['type']) {
    case 'nic': {
      const saved = expanded.row.config;
      const link = saved[`volatile.${name}.host_name`] ?? '';
      const inside = config['name'] ?? saved[`volatile.${name}.name`] ?? name;
      // Not every kind has an end on the host, and one that was never plugged has none yet.
      const [there] = await parts.native.interfaces([link === '' ? running.initPid : 0]);
      return (there ?? []).some((one) => one.name === (link === '' ? inside : link));
    }
    case 'disk':
    case 'unix-char':
    case 'unix-block': {
      const target = config['path'] ?? config['source'] ?? '';
      const mounts = await readFile(`/proc/${String(running.initPid)}/mountinfo`, 'utf8');
      const wanted = `/${target
        .split('/')
        .filter((part) => part !== '')
        .join('/')}`;
      return mounts.split('\n').some((line) => line.split(' ')[4] === wanted);
    }
    default:
      return false;
  }
}
