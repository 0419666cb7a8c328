/** Background operations as LXD has them; `operations.ts` implements this. */
import type { WebSocket } from 'ws';
import type { Requestor } from '../events/events.ts';

export type OperationClass = 'task' | 'websocket' | 'token';

export interface OperationContext {
  /** Fires when the operation is cancelled (or the daemon stops). */
  readonly signal: AbortSignal;
  /** Merges keys into the metadata that clients see. */
  setMetadata(changes: Readonly<Record<string, unknown>>): void;
}

export interface OperationRequest {
  readonly class: OperationClass;
  /** One of LXD's texts, such as `Creating instance`. */
  readonly description: string;
  readonly project: string;
  readonly requestor?: Requestor;
  /** `{instances: ['/1.0/instances/c1'], containers: [...]}`; use instanceResources(). */
  readonly resources?: Readonly<Record<string, readonly string[]>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly mayCancel?: boolean;
  /** Runs at once for tasks and websockets; a token has none. What it throws becomes `err`. */
  readonly run?: (context: OperationContext) => Promise<void>;
  /**
   * Class websocket: takes a connection made with one of the secrets in
   * `metadata.fds`. The caller checks nothing: a wrong or used secret never gets here.
   * Keyed by the name of the descriptor (`0`, `1`, `2`, `control`).
   */
  readonly onConnect?: (fd: string, socket: WebSocket) => void;
}

export interface Operation {
  readonly id: string;
  /** The object of the wire. */
  render(): Readonly<Record<string, unknown>>;
  /** Resolves when the state is final. Never rejects. */
  readonly finished: Promise<void>;
  cancel(): Promise<void>;
}

export interface Operations {
  /** Creates and starts it. */
  create(request: OperationRequest): Operation;
  get(id: string): Operation | undefined;
  /** Token operations: finds a live one by description and secret, and ends it (a token is used once). */
  useToken(match: (metadata: Readonly<Record<string, unknown>>) => boolean): Operation | undefined;
}
