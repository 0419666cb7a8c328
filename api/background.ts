/** What the daemon does on its own, each with its interval. */
import type { Log } from '../process/log.ts';
import type { Periodic } from '../process/periodic.ts';
import type { ImageStore } from './images/images.ts';
import type { InstanceSide } from './instance-side.ts';
import { expireLogs } from './instances/logs.ts';
import type { NetworkAdmin } from './network/types.ts';
import type { PoolAdmin } from './storage/pools.ts';
import type { WarningAdmin } from './warnings-store.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

export interface BackgroundParts {
  readonly instances: InstanceSide;
  readonly networks: NetworkAdmin;
  readonly pools: PoolAdmin;
  readonly images: ImageStore;
  readonly warnings: WarningAdmin;
  readonly log: Log;
}

export function backgroundWork(parts: BackgroundParts): Periodic[] {
  return [
    parts.instances.runtime.probing(),
    parts.warnings.pruning,
    { name: 'tend networks', everyMs: MINUTE_MS, run: () => parts.networks.tend() },
    { name: 'retry storage pools', everyMs: MINUTE_MS, run: () => parts.pools.retry() },
    { name: 'expire images', everyMs: HOUR_MS, run: () => parts.images.removeExpired(new Date()) },
    { name: 'expire log files', everyMs: 24 * HOUR_MS, run: () => expireLogs(parts.instances.parts) },
  ];
}
