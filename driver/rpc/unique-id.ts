/** Ids of messages and queues, and the memory of those that came already. */
import { randomUUID } from 'node:crypto';
import type { TopologySettings } from './settings.ts';

/** 32 hexadecimal digits, as oslo.messaging makes them. */
export function uniqueId(): string {
  return randomUUID().replaceAll('-', '');
}

/** Gives the part of a queue's name that no other process uses. */
export type QueueNames = () => string;

/** One for each process: the numbers of use_queue_manager count through all its queues. */
export function queueNames(named: TopologySettings['namedQueues']): QueueNames {
  if (named === null) return uniqueId;
  let count = 0;
  return () => `${named.host}:${named.process}:${String((count += 1))}`;
}

/**
 * Remembers the ids seen last. Differs: oslo.messaging keeps 16; more messages
 * than that may come twice when a connection breaks while acknowledgements are
 * under way, because the broker sends ahead without a limit by default.
 */
export class SeenIds {
  private readonly ids = new Set<string>();
  private readonly most: number;

  constructor(most = 4096) {
    this.most = most;
  }

  /** True when the id is new. */
  add(id: string): boolean {
    if (this.ids.has(id)) return false;
    this.ids.add(id);
    if (this.ids.size > this.most) {
      const oldest = this.ids.values().next();
      if (oldest.done !== true) this.ids.delete(oldest.value);
    }
    return true;
  }
}
