/** The periodic tasks of Nova's compute manager. */
import type { Periodic } from '../../process/periodic.ts';
import type { ComputeHost } from './host.ts';

/** All of them that the options do not turn off. The first run of each is at once. */
export function periodicTasks(host: ComputeHost): readonly Periodic[] {
  host.log.debug('periodic tasks');
  return [];
}
