/** What the profiles ask of instances when one of them is made or changed. */
import { isFault } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { ProfileHooks } from '../profiles/types.ts';
import { checkDefinition, checkProfile } from './check-definition.ts';
import { followProfile } from './update.ts';
import type { UpdateParts } from './update.ts';

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
    applyToUser: (id, views) =>
      parts.lanes.run(id, async () => {
        const row = find(parts, id);
        if (row === null || row.phase === 'deleting') return;
        const { before, after } = views();
        await followProfile(parts, before, after);
      }),
  };
}

function find(parts: UpdateParts, id: string): InstanceRow | null {
  try {
    return parts.store.byId(id);
  } catch (err) {
    if (isFault(err, 'not_found')) return null;
    throw err;
  }
}
