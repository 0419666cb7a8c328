/** What `slipway up` and `slipway down` have in common as commands. */
import { Fault } from '../../process/fault.ts';

/** Which daemon is meant. */
export const DAEMON_FLAGS = {
  'state-dir': { type: 'string' },
  'config-file': { type: 'string' },
} as const;

/** Fault forbidden for anybody but root. */
export function needRoot(command: string): void {
  if (process.getuid?.() === 0) return;
  throw new Fault('forbidden', `slipway ${command} changes this machine and must be run as root`);
}

/** Does work that SIGINT and SIGTERM abort, with `reason`. */
export async function interruptible<T>(reason: Error, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const interrupt = (): void => {
    stop.abort(reason);
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    return await work(stop.signal);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}
