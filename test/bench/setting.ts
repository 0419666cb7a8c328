/** What every group of measurements is given. */
import type { Host } from './host.ts';
import type { Ledger } from './ledger.ts';

export interface Setting {
  readonly dir: string;
  /** Folder of the build under test. */
  readonly program: string;
  readonly slipway: Host;
  /** Slipway first, then the peer if there is one. */
  readonly hosts: readonly Host[];
  readonly ledger: Ledger;
  /** How often each round is repeated. */
  readonly rounds: number;
  /** An image of a systemd Debian, or null. */
  readonly debianImage: string | null;
  say(text: string): void;
}

/** Runs `work` on each item, so many at a time. */
export async function inParallel<T>(
  width: number,
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** `prefix-000`, `prefix-001`, … */
export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}-${String(i).padStart(3, '0')}`);
}
