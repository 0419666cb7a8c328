/** The parts of the daemon behind its HTTP side, built in order; part of the composition root. */
import type { Native } from '../native/types.ts';
import type { Log } from '../process/log.ts';
import { TrustStore } from './certificates/trust-store.ts';
import type { Database } from './db/store.ts';
import type { Events } from './events/events.ts';
import { openGuestApi } from './guest/guest-api.ts';
import { openImages } from './images/images.ts';
import { buildInstanceSide } from './instance-side.ts';
import { readHostFacts } from './instances/host.ts';
import { Powers } from './instances/power.ts';
import { openInstanceStore } from './instances/store.ts';
import { parseBytes } from './instances/values.ts';
import { openNetworks } from './network/networks.ts';
import { nicReservations } from './network/reservations.ts';
import type { OperationsAdmin } from './operations/operations.ts';
import type { Paths } from './paths.ts';
import { openProfileStore } from './profiles/store.ts';
import { openProjectStore } from './projects/store.ts';
import { SPOKEN_VERSION } from './server-environment.ts';
import { createServerConfig } from './server-config-store.ts';
import { openPools } from './storage/pools.ts';
import { runTool } from './tools.ts';
import { instanceUsers, profileUsers } from './users-of.ts';
import { openWarnings } from './warnings-store.ts';

export interface Ground {
  readonly native: Native;
  readonly database: Database;
  readonly operations: OperationsAdmin;
  readonly paths: Paths;
  readonly log: Log;
  readonly events: Events;
  /** Fires when the daemon stops. */
  readonly signal: AbortSignal;
}

/** What is in the database, in memory. */
export async function openData({ database, log }: Pick<Ground, 'database' | 'log'>) {
  const serverConfig = await createServerConfig({ database, log });
  const warnings = await openWarnings({ database, log });
  const projectStore = await openProjectStore(database);
  const profileStore = await openProfileStore(database);
  const store = await openInstanceStore({ database, profiles: profileStore, projects: projectStore, log });
  const trust = await TrustStore.open(database.tables.certificates, (fingerprint) => {
    log.error('a trusted certificate cannot be read and is left out', { fingerprint });
  });
  return { serverConfig, warnings, projectStore, profileStore, store, trust };
}

export type Data = Awaited<ReturnType<typeof openData>>;

/** Networks, storage, images, guests and instances. */
export async function openSides(parts: Ground & Data) {
  const host = await readHostFacts();
  const powers = new Powers();
  const networks = await openDaemonNetworks(parts);
  const pools = await openDaemonPools(parts, powers);
  const images = await openImages({
    ...parts,
    projects: parts.projectStore,
    pools,
    profileExists: (project, name) => parts.profileStore.list(project).some((row) => row.name === name),
    maxUnpackedBytes: () => parseBytes(parts.serverConfig.get('images.max_unpacked_size')),
    serverVersion: SPOKEN_VERSION,
    proxies: () => ({
      http: parts.serverConfig.get('core.proxy_http'),
      https: parts.serverConfig.get('core.proxy_https'),
      ignoreHosts: parts.serverConfig.get('core.proxy_ignore_hosts'),
    }),
  });
  const guestSocketDir = `${parts.paths.state}/devlxd`;
  const instances = buildInstanceSide({ ...parts, powers, images, pools, networks, host, guestSocketDir });
  const guest = await openGuestApi({ ...instances.parts });
  return { host, powers, networks, pools, images, instances, guest };
}

export type Sides = Awaited<ReturnType<typeof openSides>>;

function openDaemonNetworks(parts: Ground & Data) {
  const { store, profileStore, projectStore } = parts;
  return openNetworks({
    ...parts,
    db: parts.database,
    runTool,
    ovsConnection: () => parts.serverConfig.get('network.ovs.connection'),
    users: (network) => [
      ...instanceUsers.ofNetwork(store, network),
      ...profileUsers.ofNetwork(profileStore, projectStore, network),
    ],
    reservations: (network) =>
      nicReservations(
        network,
        store.list().map((row) => ({
          project: row.project,
          name: row.name,
          config: row.config,
          devices: store.expand(row).devices,
        })),
      ),
  });
}

function openDaemonPools(parts: Ground & Data, powers: Powers) {
  const { store, profileStore, projectStore } = parts;
  return openPools({
    ...parts,
    stop: parts.signal,
    initPid: ({ project, instance }) => {
      // An instance that is just being created has no name yet in the eyes of byName().
      const row = store.list(project).find((one) => one.name === instance);
      return row === undefined ? 0 : (powers.running(row.id)?.initPid ?? 0);
    },
    usedBy: (pool) => [
      ...instanceUsers.ofPool(store, pool),
      ...profileUsers.ofPool(profileStore, projectStore, pool),
    ],
  });
}
