/** What must be written down although the control plane is away for a while. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain, isFault } from '../../process/fault.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';

/** With calls that time out after a minute this is more than half an hour. */
const MOST_TRIES = 30;
const LONGEST_PAUSE_S = 30;

export interface Insisted {
  /** Uuid of the instance, for the log. */
  readonly instance: string;
  readonly what: string;
  /** Which failures are worth another try; without it those of every neighbour. */
  readonly isWorth?: (err: unknown) => boolean;
}

/**
 * Does what must not be left out, as soon as it can be done: a control plane
 * that is away for a while must not leave an instance in the middle of a task.
 * Until this service stops; then the next start puts it right.
 */
export async function insist<T>(
  host: Pick<ComputeHost, 'log' | 'signal'>,
  { instance, what, isWorth = isAway }: Insisted,
  work: () => Promise<T>,
): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (err) {
      if (!isWorth(err) || host.signal.aborted || tries >= MOST_TRIES) throw err;
      host.log.warn('the control plane is away; trying again', { instance, what, error: describeChain(err) });
    }
    await sleep(Math.min(2 ** tries / 2, LONGEST_PAUSE_S) * 1000, undefined, { signal: host.signal });
  }
}

/** Somebody could not be reached, or conductor not its database. */
export function isAway(err: unknown): boolean {
  return isFault(err, 'timeout') || isFault(err, 'unavailable') || isDatabaseAway(err);
}

/** Conductor did not answer, or has no database. */
export function isConductorAway(err: unknown): boolean {
  return (isFault(err, 'timeout') && err.facts['to'] === 'conductor') || isDatabaseAway(err);
}

function isDatabaseAway(err: unknown): boolean {
  return (
    isNovaError(err) &&
    /^(?:DBConnectionError|DBError|OperationalError|CantStartEngineError)$/.test(err.className)
  );
}
