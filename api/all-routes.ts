/** Every route of the daemon, in one list: for the server, the OpenAPI file and the tests that walk them. */
import type { Log } from '../process/log.ts';
import type { CertificateParts } from './certificates/certificates.ts';
import type { Events } from './events/events.ts';
import type { Route, WebSocketRoute } from './http/route.ts';
import type { ImageStore } from './images/images.ts';
import type { InstanceSide } from './instance-side.ts';
import type { NetworkAdmin } from './network/types.ts';
import type { OperationsAdmin } from './operations/operations.ts';
import type { Profiles } from './profiles/profiles.ts';
import type { Projects } from './projects/projects.ts';
import { certificateRoutes } from './routes/certificates.ts';
import { clusterRoutes } from './routes/cluster.ts';
import { eventWebSockets } from './routes/events.ts';
import { imageAliasRoutes } from './routes/image-aliases.ts';
import { imageRoutes } from './routes/images.ts';
import { instanceConsoleRoutes } from './routes/instance-console.ts';
import { instanceDriveRoutes } from './routes/instance-drive.ts';
import { instanceExecRoutes } from './routes/instance-exec.ts';
import { instanceFileRoutes } from './routes/instance-files.ts';
import { instanceLogRoutes } from './routes/instance-logs.ts';
import { instanceMetadataRoutes } from './routes/instance-metadata.ts';
import { instanceStateRoutes } from './routes/instance-state.ts';
import { instanceRoutes } from './routes/instances.ts';
import type { MetricsRouteParts } from './routes/metrics.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { networkRoutes } from './routes/networks.ts';
import { notThereRoutes } from './routes/not-there.ts';
import { operationRoutes, operationWebSockets } from './routes/operations.ts';
import { profileRoutes } from './routes/profiles.ts';
import { projectRoutes } from './routes/projects.ts';
import { resourcesRoutes } from './routes/resources.ts';
import type { RootRouteParts } from './routes/root.ts';
import { rootRoutes } from './routes/root.ts';
import { storageVolumeRoutes } from './routes/storage-volumes.ts';
import { storageRoutes } from './routes/storage.ts';
import { warningRoutes } from './routes/warnings.ts';
import type { PoolAdmin } from './storage/pools.ts';
import type { WarningAdmin } from './warnings-store.ts';

export interface RouteParts {
  readonly log: Log;
  readonly events: Events;
  readonly operations: OperationsAdmin;
  readonly root: RootRouteParts;
  readonly certificates: CertificateParts;
  readonly projects: Projects;
  readonly profiles: Profiles;
  readonly images: ImageStore;
  readonly pools: PoolAdmin;
  readonly networks: NetworkAdmin;
  readonly warnings: WarningAdmin;
  readonly instances: InstanceSide;
  readonly metrics: MetricsRouteParts;
}

export function allRoutes(parts: RouteParts): Route[] {
  const { instances, operations, events } = parts;
  return [
    ...rootRoutes(parts.root),
    ...certificateRoutes(parts.certificates),
    ...clusterRoutes({ poolNames: () => parts.pools.names() }),
    ...operationRoutes({ operations, events }),
    ...projectRoutes({ projects: parts.projects, operations }),
    ...profileRoutes(parts.profiles),
    ...imageAliasRoutes(parts.images),
    ...imageRoutes(parts.images),
    ...storageRoutes(parts.pools),
    ...storageVolumeRoutes(parts.pools),
    ...networkRoutes(parts.networks),
    ...resourcesRoutes(),
    ...metricsRoutes(parts.metrics),
    ...warningRoutes({ warnings: parts.warnings, events }),
    ...instanceRoutes({ parts: instances.parts, changes: instances.changes }),
    ...instanceStateRoutes(instances.parts, instances.changes),
    ...instanceMetadataRoutes(instances.parts, instances.changes),
    ...instanceDriveRoutes(instances.parts, instances.changes),
    ...instanceExecRoutes(instances.exec),
    ...instanceConsoleRoutes(instances.parts),
    ...instanceFileRoutes({ ...instances.parts, files: instances.files }),
    ...instanceLogRoutes(instances.parts),
    ...notThereRoutes(),
  ];
}

export function allWebSocketRoutes(parts: RouteParts): WebSocketRoute[] {
  return [
    ...eventWebSockets({ events: parts.events, log: parts.log }),
    ...operationWebSockets({ operations: parts.operations, events: parts.events }),
  ];
}
