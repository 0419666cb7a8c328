/** What the verbs of this folder work with; built once in `daemon.ts`. */
import type { Native } from '../../native/types.ts';
import type { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import type { Paths } from '../paths.ts';
import type { ServerConfig } from '../server-config.ts';
import type { Events } from '../events/events.ts';
import type { Operations } from '../operations/types.ts';
import type { Images } from '../images/types.ts';
import type { Networks } from '../network/types.ts';
import type { Pools } from '../storage/types.ts';
import type { Warnings } from '../warnings.ts';
import type { InstanceStore, Runtime } from './types.ts';

export interface InstanceParts {
  readonly native: Native;
  readonly paths: Paths;
  readonly log: Log;
  /** Keyed by instance id. */
  readonly lanes: Lanes;
  readonly events: Events;
  readonly operations: Operations;
  readonly store: InstanceStore;
  readonly runtime: Runtime;
  readonly images: Images;
  readonly pools: Pools;
  readonly networks: Networks;
  readonly warnings: Warnings;
  readonly serverConfig: ServerConfig;
}
