/** URLs of the instances and profiles that use a network or a pool, for `used_by`. */
import type { DeviceMap } from './db/rows.ts';
import { instanceUrl } from './instances/instance-url.ts';
import type { InstanceStore } from './instances/types.ts';
import { usesNetwork } from './network/reservations.ts';
import { profileUrl } from './profiles/profiles.ts';
import type { ProfileStore } from './profiles/store.ts';
import type { ProjectNames } from './projects/types.ts';

const usesPool = (pool: string, devices: DeviceMap): boolean =>
  Object.values(devices).some((device) => device['type'] === 'disk' && device['pool'] === pool);

export const instanceUsers = {
  ofNetwork: (store: InstanceStore, network: string): string[] =>
    store
      .list()
      .filter((row) => usesNetwork(network, store.expand(row).devices))
      .map((row) => instanceUrl(row)),
  ofPool: (store: InstanceStore, pool: string): string[] =>
    store
      .list()
      .filter((row) => row.pool === pool || usesPool(pool, store.expand(row).devices))
      .map((row) => instanceUrl(row)),
};

function profilesWhere(
  profiles: ProfileStore,
  projects: ProjectNames,
  fits: (devices: DeviceMap) => boolean,
): string[] {
  return projects
    .list()
    .flatMap((project) => profiles.list(project.name))
    .filter((profile) => fits(profile.devices))
    .map((profile) => profileUrl(profile));
}

export const profileUsers = {
  ofNetwork: (profiles: ProfileStore, projects: ProjectNames, network: string): string[] =>
    profilesWhere(profiles, projects, (devices) => usesNetwork(network, devices)),
  ofPool: (profiles: ProfileStore, projects: ProjectNames, pool: string): string[] =>
    profilesWhere(profiles, projects, (devices) => usesPool(pool, devices)),
};
