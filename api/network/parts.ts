/** What the network side is built from; the composition root gives it. */
import type { Native } from '../../native/types.ts';
import type { Log } from '../../process/log.ts';
import type { Database } from '../db/store.ts';
import type { Events } from '../events/events.ts';
import type { Paths } from '../paths.ts';
import type { ToolOptions, ToolResult } from '../tools.ts';
import type { Warnings } from '../warnings.ts';

export type RunTool = (
  program: string,
  args: readonly string[],
  options?: ToolOptions,
) => Promise<ToolResult>;

/** A nic device of an instance, running or not, on a managed network. */
export interface Reservation {
  readonly project: string;
  readonly instance: string;
  readonly device: string;
  /** '' when none was chosen yet. */
  readonly hwaddr: string;
  /** Static addresses; null when there is none. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export interface NetworkParts {
  readonly db: Database;
  readonly native: Pick<Native, 'interfaces' | 'waitGone'>;
  readonly paths: Pick<Paths, 'state' | 'networks'>;
  readonly log: Log;
  readonly events: Events;
  readonly warnings: Warnings;
  readonly runTool: RunTool;
  /** Where the database of Open vSwitch listens: `unix:/path` or `tcp:host:port`. */
  readonly ovsConnection: () => string;
  /** URLs of the instances and profiles that use the network (or the host interface). */
  readonly users: (network: string) => string[];
  /** The nics of all instances on the network; `nicReservations()` makes them. */
  readonly reservations: (network: string) => readonly Reservation[];
}
