/** What the running side of instances works with; built once in `daemon.ts`. */
import type { Native } from '../../native/types.ts';
import type { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import type { Events } from '../events/events.ts';
import type { Networks } from '../network/types.ts';
import type { Paths } from '../paths.ts';
import type { Pools } from '../storage/types.ts';
import type { Warnings } from '../warnings.ts';
import type { HostFacts } from './host.ts';
import type { Powers } from './power.ts';
import type { StartQueue } from './start-queue.ts';
import type { InstanceStore } from './types.ts';

export interface RuntimeParts {
  readonly native: Native;
  readonly paths: Paths;
  readonly log: Log;
  readonly lanes: Lanes;
  readonly events: Events;
  readonly store: InstanceStore;
  readonly pools: Pools;
  readonly networks: Networks;
  readonly warnings: Warnings;
  readonly host: HostFacts;
  readonly powers: Powers;
  readonly queue: StartQueue;
  /** Folder of the guest API's socket; null when it could not be opened. */
  readonly guestSocketDir: string | null;
  /** Ends the file sessions of an instance: its root is about to change hands. */
  readonly closeFiles: (id: string) => Promise<void>;
  /** Called in the lane when an ephemeral instance has stopped. */
  readonly deleteEphemeral: (id: string) => Promise<void>;
  /** Called when a container has ended on its own: power-off, crash or reboot inside. */
  readonly onEnded: (id: string) => void;
  /** Fires when the daemon stops. */
  readonly signal: AbortSignal;
}
