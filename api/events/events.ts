/** The three kinds of events of `/1.0/events` and who hears them. */

export interface Requestor {
  readonly username: string;
  readonly protocol: 'unix' | 'tls';
  readonly address: string;
}

export interface ApiEvent {
  readonly type: 'operation' | 'logging' | 'lifecycle';
  readonly timestamp: string;
  readonly metadata: unknown;
  readonly location: 'none';
  /** Absent for events of the whole server. */
  readonly project?: string;
}

export interface LifecycleOptions {
  readonly project?: string;
  readonly context?: Readonly<Record<string, unknown>>;
  readonly requestor?: Requestor;
}

export type Listener = (event: ApiEvent) => void;

/** Delivers in the order of the calls, to every listener, synchronously; a listener that throws is dropped. */
export class Events {
  private readonly listeners = new Set<Listener>();

  /** Returns the function that ends the subscription. */
  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  /** `source` is the URL of the object, `action` one of LXD's names such as `instance-started`. */
  lifecycle(action: string, source: string, options: LifecycleOptions = {}): void {
    const metadata = {
      action,
      source,
      ...(options.context === undefined ? {} : { context: options.context }),
      ...(options.requestor === undefined ? {} : { requestor: options.requestor }),
    };
    this.send('lifecycle', metadata, options.project);
  }

  logging(level: string, message: string, context: Readonly<Record<string, string>>): void {
    if (this.listeners.size > 0) this.send('logging', { message, level, context }, undefined);
  }

  operation(metadata: unknown, project: string | undefined): void {
    this.send('operation', metadata, project);
  }

  private send(type: ApiEvent['type'], metadata: unknown, project: string | undefined): void {
    if (this.listeners.size === 0) return;
    const event: ApiEvent = {
      type,
      timestamp: new Date().toISOString(),
      metadata,
      location: 'none',
      ...(project === undefined ? {} : { project }),
    };
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch {
        this.listeners.delete(listener);
      }
    }
  }
}
