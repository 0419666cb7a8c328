/**
 * What is known of every instance's running side, in memory.
 *
 *   Stopped -> Starting -> Running <-> Frozen
 *      ^           |          |          |
 *      +-----------+----- Stopping <-----+        Error: the monitor does not answer
 *
 * The table over the states is pure; `Powers` holds one entry per instance
 * that is not plainly stopped. Only work in the instance's lane writes it,
 * except for the two things a guest does on its own: ending and hanging.
 */
import type { FileHandle } from 'node:fs/promises';
import { Fault } from '../../process/fault.ts';
import type { InstanceStatus } from './types.ts';

export type PowerState = 'Stopped' | 'Starting' | 'Running' | 'Stopping' | 'Frozen' | 'Error';
export type PowerEvent =
  | 'start_asked'
  | 'init_up'
  | 'start_failed'
  | 'stop_asked'
  | 'stop_failed'
  | 'freeze_done'
  | 'thaw_done'
  | 'init_gone'
  | 'monitor_silent'
  | 'monitor_back';

/** A missing cell means the event is refused in that state. */
const NEXT: Record<PowerState, Partial<Record<PowerEvent, PowerState>>> = {
  Stopped: { start_asked: 'Starting', init_gone: 'Stopped' },
  Starting: { init_up: 'Running', start_failed: 'Stopped', init_gone: 'Stopped' },
  Running: {
    stop_asked: 'Stopping',
    freeze_done: 'Frozen',
    thaw_done: 'Running',
    init_gone: 'Stopped',
    monitor_silent: 'Error',
    monitor_back: 'Running',
  },
  Stopping: { init_gone: 'Stopped', stop_failed: 'Running', monitor_silent: 'Error' },
  Frozen: {
    stop_asked: 'Stopping',
    freeze_done: 'Frozen',
    thaw_done: 'Running',
    init_gone: 'Stopped',
    monitor_silent: 'Error',
    monitor_back: 'Frozen',
  },
  Error: { stop_asked: 'Stopping', init_gone: 'Stopped', monitor_silent: 'Error', monitor_back: 'Running' },
};

export function nextPower(now: PowerState, event: PowerEvent): PowerState {
  const to = NEXT[now][event];
  if (to === undefined) {
    throw new Fault('busy', `event ${event} is refused while the instance is ${now}`, {
      facts: { now, event },
    });
  }
  return to;
}

export const POWER_STATES: readonly PowerState[] = [
  'Stopped',
  'Starting',
  'Running',
  'Stopping',
  'Frozen',
  'Error',
];

/** A container that runs, as its monitor told. */
export interface Running {
  readonly initPid: number;
  /** Path of the payload's cgroup below a controller's mount point; the same in each hierarchy. */
  readonly cgroup: string;
  /** Resolves when the monitor has ended. */
  readonly gone: Promise<void>;
  /** Lets go of the monitor's socket. */
  readonly close: () => void;
  /** Set by a stop that waits for the end itself; otherwise the guest ended on its own. */
  endExpected: boolean;
  /** False for one that was found with a monitor that does not answer: nobody follows it yet. */
  readonly isWatched: boolean;
  /** The container's network namespace, held while an interface of the host was lent to it; see lent-cards.ts. */
  network: FileHandle | null;
}

interface Entry {
  state: PowerState;
  running: Running | null;
}

export class Powers {
  private readonly entries = new Map<string, Entry>();

  state(id: string): PowerState {
    return this.entries.get(id)?.state ?? 'Stopped';
  }

  status(id: string): InstanceStatus {
    return this.state(id);
  }

  running(id: string): Running | null {
    return this.entries.get(id)?.running ?? null;
  }

  /** Ids of instances that have a container. */
  runningIds(): string[] {
    return [...this.entries].filter(([, e]) => e.running !== null).map(([id]) => id);
  }

  send(id: string, event: PowerEvent, running?: Running): PowerState {
    const entry = this.entries.get(id) ?? { state: 'Stopped', running: null };
    entry.state = nextPower(entry.state, event);
    if (running !== undefined) entry.running = running;
    if (entry.state === 'Stopped') this.entries.delete(id);
    else this.entries.set(id, entry);
    return entry.state;
  }

  /** Puts a container that was found at start-up on record. */
  adopt(id: string, state: 'Running' | 'Frozen' | 'Error', running: Running | null): void {
    this.entries.set(id, { state, running });
  }
}
