/** The HTTP side of the daemon: routes over everything else, and where it listens; part of the composition root. */
import { allRoutes, allWebSocketRoutes } from './all-routes.ts';
import type { RouteParts } from './all-routes.ts';
import { Attempts } from './certificates/attempts.ts';
import type { Data, Ground, Sides } from './daemon-sides.ts';
import type { HttpService } from './http/app.ts';
import { createHttp } from './http/app.ts';
import { Callers } from './http/callers.ts';
import { Listeners } from './http/listeners.ts';
import type { ServerCertificate } from './http/server-certificate.ts';
import { profileHooks } from './instances/profile-hooks.ts';
import { openMetrics } from './metrics/metrics.ts';
import type { MetricsSource } from './metrics/metrics.ts';
import { imageProfiles } from './profiles/image-profiles.ts';
import { Profiles } from './profiles/profiles.ts';
import { Projects } from './projects/projects.ts';
import { openEnvironment } from './server-environment.ts';

export interface HttpSideParts extends Ground, Data, Sides {
  readonly certificate: ServerCertificate;
}

export interface HttpSide {
  readonly http: HttpService;
  readonly listeners: Listeners;
}

export async function openHttp(parts: HttpSideParts): Promise<HttpSide> {
  const { trust, operations, log, serverConfig, certificate, projectStore } = parts;
  const routeParts = await buildRouteParts(parts, () => listeners.addresses());
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

async function buildRouteParts(
  parts: HttpSideParts,
  addresses: () => readonly string[],
): Promise<RouteParts> {
  const { store, profileStore, projectStore, trust, events, serverConfig, certificate } = parts;
  const environment = await openEnvironment({
    native: parts.native,
    stateDir: parts.paths.state,
    certificate,
    addresses,
    usedDrivers: () => [...new Set(parts.pools.records().map((pool) => pool.driver))],
    supportedDrivers: await parts.pools.drivers(),
  });
  return {
    ...parts,
    root: { serverConfig, environment, events },
    certificates: {
      ...parts,
      attempts: new Attempts(),
      projectExists: (name) => projectStore.exists(name),
      addresses,
      serverFingerprint: certificate.fingerprint,
    },
    profiles: new Profiles({
      store: profileStore,
      projects: projectStore,
      instances: store,
      hooks: profileHooks(parts.instances.parts),
      events,
      followers: [imageProfiles(parts.images.rows, projectStore)],
    }),
    projects: new Projects({
      database: parts.database,
      store: projectStore,
      profiles: profileStore,
      instances: store,
      followers: [trust],
      events,
    }),
    metrics: {
      metrics: openMetrics({
        native: parts.native,
        layout: parts.host,
        source: metricsSource(parts),
        log: parts.log,
      }),
      serverConfig,
    },
  };
}

/** What the metrics tell of, from memory. */
function metricsSource({ store, powers, operations, warnings }: HttpSideParts): MetricsSource {
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
