/**
 * One background operation and its states:
 *
 *   Pending -> Running -> Success | Failure
 *                 |-> Cancelling -> Cancelled   (or Success, when it was too late)
 *
 * A token stays Running until it is used or revoked (Cancelled).
 */
import { randomUUID, timingSafeEqual } from 'node:crypto';
import type { WebSocket } from 'ws';
import { Fault } from '../../process/fault.ts';
import { clientText } from '../error-text.ts';
import type { Operation, OperationContext, OperationRequest } from './types.ts';

export const OPERATION_STATUS = {
  pending: 105,
  running: 103,
  cancelling: 104,
  success: 200,
  failure: 400,
  cancelled: 401,
} as const;

const STATUS_TEXT: Readonly<Record<number, string>> = {
  105: 'Pending',
  103: 'Running',
  104: 'Cancelling',
  200: 'Success',
  400: 'Failure',
  401: 'Cancelled',
};

/** Told of every change, in order. */
export interface OperationHooks {
  changed(operation: BackgroundOperation): void;
  /** Called once, when the state is final and before `finished` resolves; with what was thrown, if anything. */
  ended(operation: BackgroundOperation, err: unknown): void;
}

export class BackgroundOperation implements Operation {
  readonly id = randomUUID();
  readonly request: OperationRequest;
  readonly finished: Promise<void>;
  private readonly hooks: OperationHooks;
  private readonly controller = new AbortController();
  private readonly usedSecrets = new Set<string>();
  private readonly createdAt = new Date().toISOString();
  private updatedAt = this.createdAt;
  private code: number = OPERATION_STATUS.pending;
  private err = '';
  private metadata: Readonly<Record<string, unknown>> | null;
  private resolveFinished: () => void = () => undefined;

  constructor(request: OperationRequest, hooks: OperationHooks) {
    this.request = request;
    this.hooks = hooks;
    this.metadata = request.metadata ?? null;
    this.finished = new Promise((resolve) => {
      this.resolveFinished = resolve;
    });
  }

  get statusCode(): number {
    return this.code;
  }

  get status(): string {
    return STATUS_TEXT[this.code] ?? 'Unknown';
  }

  get project(): string {
    return this.request.project;
  }

  get isFinal(): boolean {
    return this.code >= 200;
  }

  get currentMetadata(): Readonly<Record<string, unknown>> {
    return this.metadata ?? {};
  }

  get mayCancel(): boolean {
    return this.request.mayCancel ?? this.request.class === 'token';
  }

  hasSecret(secret: string): boolean {
    const wanted = this.currentMetadata['secret'];
    return typeof wanted === 'string' && isSameSecret(wanted, secret);
  }

  /** Goes from Pending to Running; the work begins after the caller's current turn. */
  start(): void {
    this.hooks.changed(this);
    this.become(OPERATION_STATUS.running);
    const { run } = this.request;
    if (run === undefined) {
      if (this.request.class !== 'token') this.end(OPERATION_STATUS.success, undefined);
      return;
    }
    const context: OperationContext = {
      signal: this.controller.signal,
      setMetadata: (changes) => {
        this.setMetadata(changes);
      },
    };
    void Promise.resolve()
      .then(() => run(context))
      .then(
        () => {
          this.end(OPERATION_STATUS.success, undefined);
        },
        (err: unknown) => {
          const wasCancelled = this.code === OPERATION_STATUS.cancelling;
          this.end(wasCancelled ? OPERATION_STATUS.cancelled : OPERATION_STATUS.failure, err);
        },
      );
  }

  setMetadata(changes: Readonly<Record<string, unknown>>): void {
    this.annotate(changes);
    if (!this.isFinal) this.changed();
  }

  /** Adds to the metadata without an event. */
  annotate(changes: Readonly<Record<string, unknown>>): void {
    this.metadata = { ...this.metadata, ...changes };
  }

  /** Fault bad_request when it is not running or cannot be cancelled. */
  async cancel(): Promise<void> {
    if (this.code !== OPERATION_STATUS.running) {
      throw new Fault('bad_request', 'Only running operations can be cancelled');
    }
    if (!this.mayCancel) throw new Fault('bad_request', "This operation can't be cancelled");
    if (this.request.run === undefined) {
      this.end(OPERATION_STATUS.cancelled, undefined);
      return;
    }
    this.become(OPERATION_STATUS.cancelling);
    this.controller.abort(new Fault('conflict', 'the operation was cancelled'));
  }

  /** The daemon stops: the work is told, whatever `mayCancel` says. */
  abort(reason: Fault): void {
    if (this.isFinal) return;
    if (this.request.run === undefined) this.end(OPERATION_STATUS.cancelled, undefined);
    else this.controller.abort(reason);
  }

  /**
   * Takes a connection secret; each can be taken once. Faults: bad_request
   * when it is not a running websocket operation, forbidden for a wrong or used secret.
   */
  claim(secret: string): (socket: WebSocket) => void {
    const { onConnect } = this.request;
    if (this.request.class !== 'websocket' || onConnect === undefined) {
      throw new Fault('bad_request', 'Only websocket operations can be connected');
    }
    if (this.code !== OPERATION_STATUS.running) {
      throw new Fault('bad_request', 'Only running operations can be connected');
    }
    const name = this.descriptorOf(secret);
    if (name === null || this.usedSecrets.has(name)) throw new Fault('forbidden', 'permission denied');
    this.usedSecrets.add(name);
    return (socket) => {
      onConnect(name, socket);
    };
  }

  render(): Readonly<Record<string, unknown>> {
    return {
      id: this.id,
      class: this.request.class,
      description: this.request.description,
      created_at: this.createdAt,
      updated_at: this.updatedAt,
      status: this.status,
      status_code: this.code,
      resources: this.request.resources ?? {},
      metadata: this.metadata,
      may_cancel: this.mayCancel,
      err: this.err,
      location: 'none',
    };
  }

  private descriptorOf(secret: string): string | null {
    const fds: unknown = this.currentMetadata['fds'];
    if (typeof fds !== 'object' || fds === null) return null;
    let found: string | null = null;
    for (const [name, wanted] of Object.entries(fds)) {
      if (typeof wanted === 'string' && isSameSecret(wanted, secret)) found = name;
    }
    return found;
  }

  private become(code: number): void {
    this.code = code;
    this.changed();
  }

  private changed(): void {
    this.updatedAt = new Date().toISOString();
    this.hooks.changed(this);
  }

  private end(code: number, err: unknown): void {
    if (this.isFinal) return;
    if (code === OPERATION_STATUS.failure) this.err = clientText(err);
    this.become(code);
    this.hooks.ended(this, err);
    this.resolveFinished();
  }
}

/** Compares without telling by its time how much was right. */
export function isSameSecret(wanted: string, given: string): boolean {
  const a = Buffer.from(wanted);
  const b = Buffer.from(given);
  return a.length > 0 && a.length === b.length && timingSafeEqual(a, b);
}
