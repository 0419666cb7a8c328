/**
 * One lane per key: work for the same key runs in order, work for different
 * keys runs side by side. A lane is forgotten when it is empty, so the map
 * never grows with the number of keys ever seen.
 *
 * Work inside a lane must never wait for the same lane: it would wait for ever.
 */
export class Lanes {
  private readonly tails = new Map<string, Promise<unknown>>();

  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.tails.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    const tail = mine
      .catch(() => undefined)
      .finally(() => {
        if (this.tails.get(key) === tail) this.tails.delete(key);
      });
    this.tails.set(key, tail);
    return mine;
  }

  /** True while work for the key is running or waiting. */
  isBusy(key: string): boolean {
    return this.tails.has(key);
  }

  /** Resolves when everything that was queued at the time of the call has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.tails.values());
  }
}
