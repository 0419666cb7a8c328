/** What the profiles ask of instances when one of them is made or changed. */
import { isFault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { ProfileHooks } from '../profiles/types.ts';
import { checkDefinition, checkProfile } from './check-definition.ts';
import { changeNote } from './half-change.ts';
import { followProfile } from './update.ts';
import type { UpdateParts } from './update.ts';
import { FOLLOWING } from './volatile-keys.ts';

export function profileHooks(parts: UpdateParts): ProfileHooks {
  return {
    validateProfile: (config, devices) => {
      checkProfile(parts.networks, config, devices);
    },
    validateUser: (next) => {
      // A user may be on its way into the store: then nothing of it is known yet.
      const before = find(parts, next.row.id);
      checkDefinition(parts, next, before === null ? null : parts.store.expand(before));
    },
    noteUsers: async (users) => {
      const ids: string[] = [];
      for (const { before, after } of users) {
        const note = changeNote(after, before);
        if (note === null || find(parts, before.row.id) === null) continue;
        await parts.store.setConfig(before.row.id, { [FOLLOWING]: note });
        ids.push(before.row.id);
      }
      return async () => {
        for (const id of ids) await forgetNote(parts, id);
      };
    },
    applyToUser: (id, views) =>
      parts.lanes.run(id, async () => {
        const row = find(parts, id);
        if (row === null || row.phase === 'deleting') return;
        const { before, after } = views();
        try {
          await followProfile(parts, before, after);
        } finally {
          await forgetNote(parts, id);
        }
      }),
  };
}

async function forgetNote(parts: UpdateParts, id: string): Promise<void> {
  if (find(parts, id) !== null) await parts.store.setConfig(id, { [FOLLOWING]: null });
}

function find(parts: UpdateParts, id: string): InstanceRow | null {
  try {
    return parts.store.byId(id);
  } catch (err) {
    if (isFault(err, 'not_found')) return null;
    throw err;
  }
}
