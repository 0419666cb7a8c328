/** What is answered while the daemon comes up and while it goes down. */
import { Fault } from '../../process/fault.ts';
import { splitUrl } from './path-pattern.ts';

/**
 * starting: 503 for everything, since the database is not open;
 * stopping: reads, `/1.0`, events and operations only, so that clients can follow what is ending.
 */
export type Phase = 'starting' | 'ready' | 'stopping';

export class Gate {
  phase: Phase = 'starting';

  /** The Fault to answer with, or null to go on. */
  refusal(method: string, url: string): Fault | null {
    if (this.phase === 'ready') return null;
    if (this.phase === 'starting') return new Fault('unavailable', 'LXD daemon setup in progress');
    const { path } = splitUrl(url);
    const isRead = method === 'GET' || method === 'HEAD';
    const isFollowing = path === '/1.0' || path === '/1.0/events' || path.startsWith('/1.0/operations');
    return isRead || isFollowing ? null : new Fault('unavailable', 'LXD is shutting down');
  }
}
