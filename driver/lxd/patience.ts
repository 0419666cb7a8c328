/** Clearing up waits for a REST daemon that is being started again: what it leaves nobody else would find. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isFault } from '../../process/fault.ts';

const LONGEST_MS = 60_000;
const PAUSE_MS = 250;

/** Repeats work that failed because the daemon was away. What it throws at last is passed on. */
export async function patiently<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const deadline = performance.now() + LONGEST_MS;
  for (;;) {
    try {
      return await work();
    } catch (err) {
      if (!isFault(err, 'unavailable') || performance.now() > deadline || signal?.aborted === true) throw err;
    }
    await sleep(PAUSE_MS, undefined, { ref: false });
  }
}
