/**
 * Puts what has been written on disk, once for everything that waits.
 *
 * A sync counts for a write only when it begins after it; those that come
 * while one runs share the next.
 */
export class Syncer {
  private readonly sync: () => Promise<void>;
  private running: Promise<void> | null = null;
  private next: Promise<void> | null = null;

  constructor(sync: () => Promise<void>) {
    this.sync = sync;
  }

  /** Resolves when everything written before the call is on disk; rejects with what the sync threw. */
  settle(): Promise<void> {
    if (this.running === null) return this.begin();
    // One that failed does not keep the next from trying.
    this.next ??= this.running.catch(() => undefined).then(() => this.begin());
    return this.next;
  }

  private begin(): Promise<void> {
    const mine = this.sync().finally(() => {
      if (this.running === mine) this.running = null;
    });
    this.running = mine;
    this.next = null;
    return mine;
  }
}
