/**
 * The helpers that reach into the instances' files: at most one per instance,
 * kept for a while because clients ask for many files in a row.
 *
 * A session of a stopped instance holds its assembled root, one of a running
 * instance its namespaces: whoever starts, stops, renames or deletes an
 * instance calls `close` first, inside the instance's lane. Sessions of
 * stopped instances are opened inside the lane too, so none can appear in the
 * middle of a start.
 */
import { Fault, isFault } from '../../process/fault.ts';
import type { FaultCode } from '../../process/fault.ts';
import type { Step } from '../../native/steps.ts';
import type { FileSession } from '../../native/types.ts';
import type { InstanceParts } from './parts.ts';

/** How long a session is kept without use, in milliseconds. */
const IDLE_MS = 10_000;

/** Assembles the root of a stopped instance. */
export interface InstanceRoots {
  /** A plan for the helper and where the root is after it. Called in the instance's lane. */
  rootPlan(id: string): Promise<{ readonly plan: readonly Step[]; readonly root: string }>;
}

export interface FileSessionParts extends Pick<InstanceParts, 'native' | 'lanes' | 'runtime' | 'log'> {
  readonly roots: InstanceRoots;
}

interface Held {
  /** Process whose namespaces are entered; 0 for an assembled root. */
  readonly initPid: number;
  readonly session: FileSession;
  /** Fires when the session ends while somebody uses it. */
  readonly ending: AbortController;
  users: number;
  idle: NodeJS.Timeout | null;
}

/** Answers about a file: the session itself is well. */
const ORDINARY: readonly FaultCode[] = [
  'not_found',
  'forbidden',
  'bad_request',
  'already_exists',
  'storage_full',
  'too_large',
];

export class FileSessions {
  private readonly parts: FileSessionParts;
  private readonly held = new Map<string, Held>();
  private readonly opening = new Map<string, Promise<Held>>();

  constructor(parts: FileSessionParts) {
    this.parts = parts;
  }

  /**
   * Runs `work` with a session of the instance. `ending` fires when the
   * session must be given up: a transfer that goes on has to stop.
   */
  async use<T>(id: string, work: (files: FileSession, ending: AbortSignal) => Promise<T>): Promise<T> {
    const held = this.current(id) ?? (await this.openOnce(id));
    held.users += 1;
    if (held.idle !== null) clearTimeout(held.idle);
    held.idle = null;
    try {
      return await work(held.session, held.ending.signal);
    } catch (err) {
      if (held.ending.signal.aborted) {
        throw new Fault('busy', 'the instance is being started, stopped or deleted; try again', {
          cause: err,
        });
      }
      const isOrdinary = isFault(err) && ORDINARY.includes(err.code);
      if (!isOrdinary && this.held.get(id) === held) await this.close(id);
      throw err;
    } finally {
      held.users -= 1;
      if (held.users === 0 && !held.ending.signal.aborted) this.closeWhenIdle(id, held);
    }
  }

  /** Ends the session of an instance, transfers included. Idempotent; never rejects. */
  async close(id: string): Promise<void> {
    const held = this.held.get(id);
    if (held === undefined) return;
    this.held.delete(id);
    if (held.idle !== null) clearTimeout(held.idle);
    held.ending.abort();
    try {
      await held.session.close();
    } catch (err) {
      this.parts.log.warn('file session did not end cleanly', { instance: id, error: err });
    }
  }

  /** For the end of the daemon. */
  async closeAll(): Promise<void> {
    await Promise.allSettled(this.opening.values());
    await Promise.all([...this.held.keys()].map((id) => this.close(id)));
  }

  private current(id: string): Held | undefined {
    const held = this.held.get(id);
    return held?.initPid === this.parts.runtime.initPid(id) ? held : undefined;
  }

  /** Callers that come while a session is being opened share it. */
  private openOnce(id: string): Promise<Held> {
    const pending = this.opening.get(id);
    if (pending !== undefined) return pending;
    const opening = this.open(id).finally(() => {
      this.opening.delete(id);
    });
    this.opening.set(id, opening);
    return opening;
  }

  private async open(id: string): Promise<Held> {
    const { native, runtime, lanes, roots } = this.parts;
    await this.close(id);
    const initPid = runtime.initPid(id);
    // No lane for a running one: a clean shutdown may hold the lane for minutes.
    if (initPid > 0) return this.keep(id, initPid, await native.openFiles({ initPid }));
    return lanes.run(id, async () => {
      const now = runtime.initPid(id);
      const where = now > 0 ? { initPid: now } : await roots.rootPlan(id);
      return this.keep(id, now, await native.openFiles(where));
    });
  }

  private keep(id: string, initPid: number, session: FileSession): Held {
    const held: Held = { initPid, session, ending: new AbortController(), users: 0, idle: null };
    this.held.set(id, held);
    this.closeWhenIdle(id, held);
    return held;
  }

  private closeWhenIdle(id: string, held: Held): void {
    held.idle = setTimeout(() => {
      if (this.held.get(id) === held) void this.close(id);
    }, IDLE_MS);
    held.idle.unref();
  }
}
