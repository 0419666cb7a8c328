/**
 * All background operations of this daemon. They live in memory only: LXD's
 * clients see them for five seconds after their end, and pylxd relies on that.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { Fault, describeChain, isFault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { Events } from '../events/events.ts';
import { BackgroundOperation, OPERATION_STATUS } from './operation.ts';
import type { Operation, OperationRequest, Operations } from './types.ts';

const KEEP_ENDED_MS = 5000;

export interface OperationsParts {
  readonly events: Events;
  readonly log: Log;
  /** How long an operation can be read after its end, in milliseconds; LXD's 5000 when absent. */
  readonly keepEndedMs?: number;
}

/** An operation as its routes see it. */
export interface KnownOperation extends Operation {
  readonly project: string;
  readonly status: string;
  readonly isFinal: boolean;
  /** True when `metadata.secret` is this text. */
  hasSecret(secret: string): boolean;
}

/** What the HTTP side and the daemon need beyond `Operations`. */
export interface OperationsAdmin extends Operations {
  list(): KnownOperation[];
  /** Fault not_found. */
  known(id: string): KnownOperation;
  /** Takes a websocket secret. Faults not_found, bad_request (not running), forbidden (wrong or used secret). */
  connect(id: string, secret: string): (socket: WebSocket) => void;
  /** Adds to an operation's metadata without an event; harmless when it is gone. */
  annotate(id: string, changes: Readonly<Record<string, unknown>>): void;
  /**
   * Waits for running tasks and websockets, or those whose description is chosen;
   * returns the descriptions of those that were not done in time.
   */
  settle(deadlineMs: number, isWaitedFor?: (description: string) => boolean): Promise<string[]>;
  /** Tells all running operations to end. New ones are refused with Fault unavailable from now on. */
  abortAll(): void;
}

/** The operations of one daemon. */
export function openOperations(parts: OperationsParts): OperationsAdmin {
  return new OperationTable(parts);
}

/** `resources` of an operation on an instance: both of LXD's keys. */
export function instanceResources(project: string, name: string): Record<string, readonly string[]> {
  const tail =
    encodeURIComponent(name) + (project === 'default' ? '' : `?project=${encodeURIComponent(project)}`);
  return { instances: [`/1.0/instances/${tail}`], containers: [`/1.0/containers/${tail}`] };
}

class OperationTable implements OperationsAdmin {
  private readonly parts: OperationsParts;
  private readonly byId = new Map<string, BackgroundOperation>();
  private stopping = false;

  constructor(parts: OperationsParts) {
    this.parts = parts;
  }

  create(request: OperationRequest): Operation {
    if (this.stopping) throw new Fault('unavailable', 'the server is shutting down');
    const operation = new BackgroundOperation(request, {
      changed: (changed) => {
        this.announce(changed);
      },
      ended: (ended, err) => {
        this.noteEnd(ended, err);
      },
    });
    this.byId.set(operation.id, operation);
    operation.start();
    return operation;
  }

  get(id: string): Operation | undefined {
    return this.byId.get(id);
  }

  list(): KnownOperation[] {
    return [...this.byId.values()];
  }

  known(id: string): KnownOperation {
    return this.find(id);
  }

  useToken(match: (metadata: Readonly<Record<string, unknown>>) => boolean): Operation | undefined {
    for (const operation of this.byId.values()) {
      const isLive = operation.request.class === 'token' && operation.statusCode === OPERATION_STATUS.running;
      if (isLive && match(operation.currentMetadata)) {
        operation.abort(new Fault('conflict', 'the token was used'));
        return operation;
      }
    }
    return undefined;
  }

  connect(id: string, secret: string): (socket: WebSocket) => void {
    return this.find(id).claim(secret);
  }

  annotate(id: string, changes: Readonly<Record<string, unknown>>): void {
    this.byId.get(id)?.annotate(changes);
  }

  async settle(
    deadlineMs: number,
    isWaitedFor: (description: string) => boolean = everyOne,
  ): Promise<string[]> {
    const timer = new AbortController();
    const late = sleep(deadlineMs, undefined, { signal: timer.signal }).catch(() => undefined);
    const running = this.running().filter(({ request }) => isWaitedFor(request.description));
    await Promise.race([Promise.all(running.map((operation) => operation.finished)), late]);
    timer.abort();
    return running
      .filter((operation) => !operation.isFinal)
      .map((operation) => operation.request.description);
  }

  abortAll(): void {
    this.stopping = true;
    const reason = new Fault('unavailable', 'the server is shutting down');
    for (const operation of this.byId.values()) operation.abort(reason);
  }

  private running(): BackgroundOperation[] {
    return [...this.byId.values()].filter(
      (operation) => !operation.isFinal && operation.request.class !== 'token',
    );
  }

  private find(id: string): BackgroundOperation {
    const operation = this.byId.get(id);
    if (operation === undefined) throw new Fault('not_found', 'Operation not found');
    return operation;
  }

  private announce(operation: BackgroundOperation): void {
    const project = operation.request.project;
    this.parts.events.operation(operation.render(), project === '' ? undefined : project);
  }

  private noteEnd(operation: BackgroundOperation, err: unknown): void {
    const forget = setTimeout(() => {
      this.byId.delete(operation.id);
    }, this.parts.keepEndedMs ?? KEEP_ENDED_MS);
    forget.unref();
    this.logEnd(operation, err);
  }

  /** The one place where what an operation threw is logged. */
  private logEnd(operation: BackgroundOperation, err: unknown): void {
    const facts = {
      operation: operation.id,
      description: operation.request.description,
      project: operation.request.project,
      requestor: operation.request.requestor?.username,
      req_id: operation.currentMetadata['req_id'],
    };
    if (err === undefined) {
      this.parts.log.debug('operation ended', { ...facts, status: operation.status });
    } else if (operation.statusCode === OPERATION_STATUS.cancelled || this.stopping) {
      this.parts.log.info('operation was cancelled', { ...facts, error: describeChain(err) });
    } else if (isFault(err)) {
      this.parts.log.warn('operation failed', {
        ...facts,
        ...err.facts,
        code: err.code,
        error: describeChain(err),
      });
    } else {
      const stack = err instanceof Error ? err.stack : undefined;
      this.parts.log.error('operation failed unexpectedly', { ...facts, error: describeChain(err), stack });
    }
  }
}

function everyOne(): boolean {
  return true;
}
