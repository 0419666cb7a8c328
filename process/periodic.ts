import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain } from './fault.ts';
import type { Log } from './log.ts';

export interface Periodic {
  readonly name: string;
  readonly everyMs: number;
  run(signal: AbortSignal): Promise<void>;
}

/** Runs until `signal` fires. A pass that fails is logged and the next one still comes. */
export async function repeat(task: Periodic, log: Log, signal: AbortSignal): Promise<void> {
  // A function, since the compiler would not believe that the answer changes during an await.
  const isOver = (): boolean => signal.aborted;
  while (!isOver()) {
    try {
      await task.run(signal);
    } catch (err) {
      if (isOver()) return;
      log.warn('periodic task failed', { task: task.name, error: describeChain(err) });
    }
    const jitter = 0.9 + Math.random() * 0.2;
    await sleep(task.everyMs * jitter, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
