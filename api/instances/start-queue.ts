/**
 * Bounds how many starts run at once, so that a hundred launches together do
 * not take the host down: the others wait in the order of their priority,
 * then of their arrival.
 */
export class StartQueue {
  private active = 0;
  private readonly waiting: { priority: number; go: () => void }[] = [];
  private readonly limit: () => number;

  constructor(limit: () => number) {
    this.limit = limit;
  }

  async run<T>(priority: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.turn(priority, signal);
    try {
      return await work();
    } finally {
      this.active -= 1;
      this.wake();
    }
  }

  private async turn(priority: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.active < this.limit() && this.waiting.length === 0) {
      this.active += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const entry = { priority, go: resolve };
      const at = this.waiting.findIndex((w) => w.priority < priority);
      this.waiting.splice(at < 0 ? this.waiting.length : at, 0, entry);
      signal.addEventListener(
        'abort',
        () => {
          const index = this.waiting.indexOf(entry);
          if (index < 0) return;
          this.waiting.splice(index, 1);
          reject(signal.reason as Error); // an aborted piece of work throws the signal's reason
        },
        { once: true },
      );
    });
  }

  private wake(): void {
    while (this.active < this.limit()) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      this.active += 1;
      next.go();
    }
  }
}
