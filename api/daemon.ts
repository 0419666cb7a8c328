/**
 * The composition root of the REST daemon: builds everything, in order, and
 * stops it in reverse. Plain code: what depends on what is read here.
 */
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { DaemonConfig } from '../config/load.ts';
import { openNative } from '../native/index.ts';
import type { Native } from '../native/types.ts';
import { describeChain } from '../process/fault.ts';
import type { Log } from '../process/log.ts';
import { repeat } from '../process/periodic.ts';
import { allRoutes, allWebSocketRoutes } from './all-routes.ts';
import type { RouteParts } from './all-routes.ts';
import { backgroundWork } from './background.ts';
import { Attempts } from './certificates/attempts.ts';
import { TrustStore } from './certificates/trust-store.ts';
import { openDatabase } from './db/database.ts';
import type { Database } from './db/store.ts';
import { Events } from './events/events.ts';
import { openGuestApi } from './guest/guest-api.ts';
import type { HttpService } from './http/app.ts';
import { createHttp } from './http/app.ts';
import { Callers } from './http/callers.ts';
import { Listeners } from './http/listeners.ts';
import { loadServerCertificate } from './http/server-certificate.ts';
import type { ServerCertificate } from './http/server-certificate.ts';
import { openImages } from './images/images.ts';
import { buildInstanceSide } from './instance-side.ts';
import type { InstanceSide } from './instance-side.ts';
import { readHostFacts } from './instances/host.ts';
import { Powers } from './instances/power.ts';
import { profileHooks } from './instances/profile-hooks.ts';
import { openInstanceStore } from './instances/store.ts';
import { openMetrics } from './metrics/metrics.ts';
import type { MetricsSource } from './metrics/metrics.ts';
import { openNetworks } from './network/networks.ts';
import { nicReservations } from './network/reservations.ts';
import { openOperations } from './operations/operations.ts';
import type { OperationsAdmin } from './operations/operations.ts';
import { pathsBelow } from './paths.ts';
import type { Paths } from './paths.ts';
import { imageProfiles } from './profiles/image-profiles.ts';
import { Profiles } from './profiles/profiles.ts';
import { openProfileStore } from './profiles/store.ts';
import { Projects } from './projects/projects.ts';
import { openProjectStore } from './projects/store.ts';
import { SPOKEN_VERSION, openEnvironment } from './server-environment.ts';
import { createServerConfig } from './server-config-store.ts';
import { lockState } from './state-lock.ts';
import type { StateLock } from './state-lock.ts';
import { openPools } from './storage/pools.ts';
import { instanceUsers, profileUsers } from './users-of.ts';
import { runTool } from './tools.ts';
import { openWarnings } from './warnings-store.ts';

const STOP_DEADLINE_MS = 10_000;

export interface Daemon {
  /** Ends the daemon; containers go on. With `stopInstances` they are shut down first (host shutdown). */
  stop(stopInstances: boolean): Promise<void>;
}

/** Resolves when the daemon answers and every instance is known. */
export async function startDaemon(config: DaemonConfig, log: Log, events: Events): Promise<Daemon> {
  const paths = pathsBelow(config.paths.state, config.paths.log);
  await makeFolders(paths);
  const lock = await lockState(paths.state);
  try {
    return await build(config, log, events, paths, lock);
  } catch (err) {
    lock.release();
    throw err;
  }
}

async function build(
  config: DaemonConfig,
  log: Log,
  events: Events,
  paths: Paths,
  lock: StateLock,
): Promise<Daemon> {
  const ending = new AbortController();
  const native = openNative();
  const database = await openDatabase(config.database.connection, { log });
  const operations = openOperations({ events, log });
  const data = await openData(database, log, events);
  const certificate = await loadServerCertificate({
    certificatePath: paths.serverCertificate,
    keyPath: paths.serverKey,
    hostName: hostname(),
  });
  const sides = await openSides({ native, database, operations, paths, log, ...data, signal: ending.signal });
  const { http, listeners } = await openHttp({
    native,
    database,
    operations,
    log,
    certificate,
    paths,
    ...data,
    ...sides,
  });
  const { rows } = data;

  const toStart = await sides.instances.recover(rows);
  await listeners.openUnix({
    path: paths.socket,
    group: config.api.socketGroup === '' ? null : config.api.socketGroup,
    activatedFd: config.environment.listenFds['unix'] ?? null,
  });
  await listeners.followConfig();
  http.setPhase('ready');
  const work = [
    sides.instances.autostart(toStart),
    ...backgroundWork({ ...sides, warnings: data.warnings, log }).map((task) =>
      repeat(task, log, ending.signal),
    ),
  ].map((promise) =>
    promise.catch((err: unknown) => {
      log.error('background work ended with an error', { error: describeChain(err) });
    }),
  );
  return {
    stop: async (stopInstances) => {
      http.setPhase('stopping');
      if (stopInstances) await shutDownInstances(sides.instances, log);
      ending.abort(new Error('the daemon is stopping'));
      operations.abortAll();
      const unfinished = await operations.settle(STOP_DEADLINE_MS);
      if (unfinished.length > 0) log.warn('operations were cut off', { operations: unfinished });
      await listeners.close(1_000);
      await sides.guest.close();
      await sides.instances.files.closeAll();
      for (const id of sides.powers.runningIds()) sides.powers.running(id)?.close();
      await Promise.all(work);
      await database.close();
      lock.release();
    },
  };
}

async function makeFolders(paths: Paths): Promise<void> {
  await mkdir(paths.state, { recursive: true, mode: 0o711 });
  for (const path of [paths.log, paths.images, paths.pools, paths.networks, paths.devices, paths.lxc]) {
    await mkdir(path, { recursive: true, mode: 0o711 });
  }
  await mkdir(`${paths.lxc}/.root`, { recursive: true, mode: 0o711 });
}

/** What is in the database, in memory. */
async function openData(database: Database, log: Log, events: Events) {
  const serverConfig = await createServerConfig({ database, log });
  const warnings = await openWarnings({ database, log });
  const projectStore = await openProjectStore(database);
  const profileStore = await openProfileStore(database);
  const store = await openInstanceStore({ database, profiles: profileStore, projects: projectStore, log });
  const rows = await database.tables.instances.all();
  const trust = await TrustStore.open(database.tables.certificates, (fingerprint) => {
    log.error('a trusted certificate cannot be read and is left out', { fingerprint });
  });
  return { serverConfig, warnings, projectStore, profileStore, store, rows, trust, events };
}

type Data = Awaited<ReturnType<typeof openData>>;

interface Common extends Data {
  readonly native: Native;
  readonly database: Database;
  readonly operations: OperationsAdmin;
  readonly paths: Paths;
  readonly log: Log;
}

/** Networks, storage, images, guests and instances. */
async function openSides(parts: Common & { readonly signal: AbortSignal }) {
  const { store, profileStore, projectStore, paths, log, events, warnings, native, database } = parts;
  const host = await readHostFacts();
  const powers = new Powers();
  const networks = await openNetworks({
    db: database,
    native,
    paths,
    log,
    events,
    warnings,
    runTool,
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
  const initPid = (project: string, name: string): number => {
    // An instance that is just being created has no name yet in the eyes of byName().
    const row = store.list(project).find((one) => one.name === name);
    return row === undefined ? 0 : (powers.running(row.id)?.initPid ?? 0);
  };
  const pools = await openPools({
    paths,
    native,
    log,
    warnings,
    database,
    events,
    stop: parts.signal,
    initPid: (volume) => initPid(volume.project, volume.instance),
    usedBy: (pool) => [
      ...instanceUsers.ofPool(store, pool),
      ...profileUsers.ofPool(profileStore, projectStore, pool),
    ],
  });
  const images = await openImages({
    paths,
    log,
    database,
    events,
    operations: parts.operations,
    projects: projectStore,
    pools,
    profileExists: (project, name) => profileStore.list(project).some((row) => row.name === name),
    serverVersion: SPOKEN_VERSION,
  });
  const guestSocketDir = `${paths.state}/devlxd`;
  const instances = buildInstanceSide({ ...parts, powers, images, pools, networks, host, guestSocketDir });
  const guest = await openGuestApi({ ...instances.parts });
  return { host, powers, networks, pools, images, instances, guest };
}

type Sides = Awaited<ReturnType<typeof openSides>>;

async function openHttp(
  parts: Common & Sides & { readonly certificate: ServerCertificate },
): Promise<{ http: HttpService; listeners: Listeners }> {
  const { store, profileStore, projectStore, trust, operations, events, log, serverConfig, certificate } =
    parts;
  const profiles = new Profiles({
    store: profileStore,
    projects: projectStore,
    instances: store,
    hooks: profileHooks(parts.instances.parts),
    events,
    followers: [imageProfiles(parts.images.rows, projectStore)],
  });
  const projects = new Projects({
    database: parts.database,
    store: projectStore,
    profiles: profileStore,
    instances: store,
    followers: [trust],
    events,
  });
  const environment = await openEnvironment({
    native: parts.native,
    stateDir: parts.paths.state,
    certificate,
    addresses: () => listeners.addresses(),
    usedDrivers: () => [...new Set(parts.pools.records().map((pool) => pool.driver))],
    supportedDrivers: await parts.pools.drivers(),
  });
  const routeParts: RouteParts = {
    ...parts,
    root: { serverConfig, environment, events },
    certificates: {
      trust,
      serverConfig,
      operations,
      events,
      attempts: new Attempts(),
      projectExists: (name) => projectStore.exists(name),
      addresses: () => listeners.addresses(),
      serverFingerprint: certificate.fingerprint,
    },
    profiles,
    projects,
    metrics: {
      metrics: openMetrics({ native: parts.native, layout: parts.host, source: metricsSource(parts), log }),
      serverConfig,
    },
  };
  const http = createHttp({
    log,
    routes: allRoutes(routeParts),
    webSocketRoutes: allWebSocketRoutes(routeParts),
    callers: new Callers({
      peerCredentials: (fd) => parts.native.peerCredentials(fd),
      trusted: (der) => trust.match(der),
    }),
    operations,
    serverConfig,
    projectExists: (name) => projectStore.exists(name),
  });
  const listeners = new Listeners({ http, serverConfig, certificate, log });
  trust.whenRemoved((der) => {
    http.dropCertificate(der);
  });
  return { http, listeners };
}

/** What the metrics tell of, from memory. */
function metricsSource({ store, powers, operations, warnings }: Common & Sides): MetricsSource {
  return {
    instances: (project) =>
      store.list(project ?? undefined).flatMap((row) => {
        const running = powers.running(row.id);
        return running === null
          ? []
          : [{ project: row.project, name: row.name, initPid: running.initPid, cgroup: running.cgroup }];
      }),
    runningOperations: () => operations.list().filter((operation) => !operation.isFinal).length,
    activeWarnings: () => warnings.countNew(),
  };
}

/** At host shutdown: higher boot.stop.priority first, then all of one priority together. */
async function shutDownInstances(side: InstanceSide, log: Log): Promise<void> {
  const { store } = side.parts;
  const running = store.list().filter((row) => side.runtime.initPid(row.id) > 0);
  const priorityOf = (id: string): number =>
    Number(store.expand(store.byId(id)).config['boot.stop.priority'] ?? '0');
  const priorities = [...new Set(running.map((row) => priorityOf(row.id)))].sort((a, b) => b - a);
  for (const priority of priorities) {
    const group = running.filter((row) => priorityOf(row.id) === priority);
    await Promise.all(
      group.map(async (row) => {
        try {
          await side.stopForShutdown(row.id);
        } catch (err) {
          log.error('an instance did not stop at shutdown', {
            instance: row.name,
            error: describeChain(err),
          });
        }
      }),
    );
  }
}
