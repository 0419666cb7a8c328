/** What the profiles ask of instances when one of them is made or changed. */
import { isFault } from '../../process/fault.ts';
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
      checkDefinition(parts, next, parts.store.expand(parts.store.byId(next.row.id)));
    },
    applyToUser: (id, views) =>
      parts.lanes.run(id, async () => {
        if (!isThere(parts, id)) return;
        const { before, after } = views();
        await followProfile(parts, before, after);
      }),
  };
}

/** False for an instance that is gone, or will be once its deletion is through. */
function isThere(parts: UpdateParts, id: string): boolean {
  try {
    return parts.store.byId(id).phase !== 'deleting';
  } catch (err) {
    if (isFault(err, 'not_found')) return false;
    throw err;
  }
}
