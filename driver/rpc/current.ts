/** A thing that comes and goes (a connection, a channel) and those who wait for it. */
interface Waiter<T> {
  resolve(value: T): void;
  reject(err: unknown): void;
}

export class Current<T> {
  private value: T | null = null;
  private end: unknown = null;
  private readonly waiters = new Set<Waiter<T>>();

  get now(): T | null {
    return this.value;
  }

  /** Resolves with the thing as soon as there is one; rejects with the signal's reason or at the end. */
  get(signal?: AbortSignal): Promise<T> {
    if (this.end !== null) return rejected(this.end);
    if (this.value !== null) return Promise.resolve(this.value);
    if (signal?.aborted === true) return rejected(signal.reason);
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        this.waiters.delete(waiter);
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        waiter.reject(signal?.reason);
      };
      const waiter: Waiter<T> = {
        resolve: (value) => {
          leave();
          resolve(value);
        },
        reject: (err) => {
          leave();
          reject(asError(err));
        },
      };
      this.waiters.add(waiter);
      signal?.addEventListener('abort', onAbort);
    });
  }

  set(value: T): void {
    this.value = value;
    for (const waiter of [...this.waiters]) waiter.resolve(value);
  }

  /** The thing is gone; another one may come. */
  clear(): void {
    this.value = null;
  }

  /** No other one will come. */
  finish(reason: Error): void {
    this.value = null;
    this.end = reason;
    for (const waiter of [...this.waiters]) waiter.reject(reason);
  }
}

function rejected(reason: unknown): Promise<never> {
  return Promise.reject(asError(reason));
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
