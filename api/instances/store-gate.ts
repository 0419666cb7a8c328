/**
 * Many may pass side by side, or one alone: a change of one instance passes
 * shared, the rename of a profile (which changes many at once) alone.
 */
export class SharedGate {
  private inside = 0;
  private shut: Promise<unknown> | null = null;
  private onEmpty: (() => void) | null = null;

  async shared<T>(work: () => Promise<T>): Promise<T> {
    while (this.shut !== null) await this.shut;
    this.inside += 1;
    try {
      return await work();
    } finally {
      this.inside -= 1;
      if (this.inside === 0) this.onEmpty?.();
    }
  }

  async alone<T>(work: () => Promise<T>): Promise<T> {
    while (this.shut !== null) await this.shut;
    const mine = this.whenEmpty().then(work);
    this.shut = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      this.shut = null;
    }
  }

  private whenEmpty(): Promise<void> {
    if (this.inside === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.onEmpty = () => {
        this.onEmpty = null;
        resolve();
      };
    });
  }
}
