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
  Error: POWER.crashed,
};

export function powerOf(instance: Pick<LxdInstance, 'status' | 'config'>): PowerState {
  const power = BY_STATUS[instance.status] ?? POWER.noState;
  return power === POWER.paused && instance.config[SUSPENDED_KEY] === 'true' ? POWER.suspended : power;
}
