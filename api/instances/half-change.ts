/**
 * Changes of a running container that a crash cut in two: the container has
 * some of it, the row nothing. A note in the row says what was under way, and
 * a start of the daemon brings the container back to what its row says.
 */
import { readFile } from 'node:fs/promises';
import { describeChain } from '../../process/fault.ts';
import type { DeviceMap, StringMap } from '../db/rows.ts';
import { deviceChanges, plugDevice, unplugDevice, writeSettings } from './apply.ts';
import { hotPlugNic } from './hot-nic.ts';
import { cgroupSettings, limitChanges } from './limits.ts';
import type { Running } from './power.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import type { Expanded } from './types.ts';
import { CHANGING } from './volatile-keys.ts';

interface Note {
  readonly config: StringMap;
  readonly devices: DeviceMap;
}

/** The note for a change, null when nothing changes that could be left half done. */
export function changeNote(before: Expanded, after: Expanded): string | null {
  const note = noteOf(after);
  const text = JSON.stringify(note);
  return text === JSON.stringify(noteOf(before)) ? null : text;
}

function noteOf({ config, devices }: Expanded): Note {
  const limits = Object.entries(config).filter(([key]) => key.startsWith('limits.'));
  return { config: Object.fromEntries(limits.sort(([a], [b]) => (a < b ? -1 : 1))), devices };
}

/** Makes a running container what its row says. What cannot be put back is logged; the instance is used on. */
export async function undoHalfChange(parts: RuntimeParts, id: string, running: Running): Promise<void> {
  const now = parts.store.expand(parts.store.byId(id));
  const text = now.row.config[CHANGING];
  if (text === undefined) return;
  const note = JSON.parse(text) as Note; // written by changeNote() alone
  const half: Expanded = { row: now.row, config: note.config, devices: note.devices };
  const changes = deviceChanges(half.devices, now.devices);
  const attempt = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    try {
      await act();
    } catch (err) {
      parts.log.warn('half a change was not undone', {
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
  const volatile: Record<string, string | null> = { [CHANGING]: null };
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
  await parts.store.setConfig(id, volatile);
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
      const link = expanded.row.config[`volatile.${name}.host_name`] ?? '';
      const [host] = await parts.native.interfaces([0]);
      return link === '' || (host ?? []).some((one) => one.name === link);
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
