/** Which images instances stand on, for the image store. */
import type { ImageUsers } from '../images/types.ts';
import type { InstanceStore } from './types.ts';

export function imageUsers(store: Pick<InstanceStore, 'list'>): ImageUsers {
  return {
    isBaseInUse: (fingerprint) =>
      store.list().some((row) => row.config['volatile.base_image'] === fingerprint),
  };
}
