/** Power states of containers as Nova's numbers. Pure. */
import type { LxdInstance } from './client.ts';
import { POWER, type PowerState } from './guest-types.ts';

/** Set while Nova has it suspended: the kernel knows one way to freeze, Nova two. */
export const SUSPENDED_KEY = 'user.nova.suspended';

/** The daemon's own states of being under way are no state: whoever compares shall ask again. */
const BY_STATUS: Readonly<Record<string, PowerState>> = {
  Running: POWER.running,
  Ready: POWER.running,
  Thawed: POWER.running,
  // Its processes are alive until it is stopped.
  Stopping: POWER.running,
  Frozen: POWER.paused,
  Freezing: POWER.paused,
  Stopped: POWER.shutdown,
  Starting: POWER.noState,
  Aborting: POWER.crashed,
  // Its monitor did not answer for a moment; what runs in it may go on, and nobody shall end it for that.
  Error: POWER.noState,
};

/** Nothing inside can be asked to end: what was asked for is done by force. */
export function isInDoubt({ status }: Pick<LxdInstance, 'status'>): boolean {
  return status === 'Error' || status === 'Aborting';
}

export function powerOf(instance: Pick<LxdInstance, 'status' | 'config'>): PowerState {
  const power = BY_STATUS[instance.status] ?? POWER.noState;
  return power === POWER.paused && instance.config[SUSPENDED_KEY] === 'true' ? POWER.suspended : power;
}
