/**
 * Start, stop, restart, freeze and unfreeze, as clients ask for them.
 *
 * One instance does one such thing at a time. The same action asked for again
 * joins the one under way. A clean stop may wait for its guest for ever, so it
 * keeps no one waiting: a forced stop takes over, anything else is refused.
 */
import { Fault, describeChain } from '../../process/fault.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import { instanceResources } from '../operations/operations.ts';
import type { Operation } from '../operations/types.ts';
import { instanceUrl } from './instance-url.ts';
import type { InstanceParts } from './parts.ts';
import type { InstanceStatus } from './types.ts';

export type StateAction = 'start' | 'stop' | 'restart' | 'freeze' | 'unfreeze';

export interface StateRequest {
  readonly action: StateAction;
  /** Seconds for a clean shutdown; -1 for ever, 0 for a kill. */
  readonly timeoutS: number;
  readonly force: boolean;
}

export type StateParts = Pick<InstanceParts, 'store' | 'runtime' | 'events' | 'lanes' | 'operations'>;

const DESCRIPTIONS: Readonly<Record<StateAction, string>> = {
  start: 'Starting instance',
  stop: 'Stopping instance',
  restart: 'Restarting instance',
  freeze: 'Freezing instance',
  unfreeze: 'Unfreezing instance',
};

/** LXD's texts where an action has nothing to do; a missing cell leaves it to the runtime. */
const REFUSALS: Readonly<Record<StateAction, Partial<Record<InstanceStatus, string>>>> = {
  start: { Running: 'The instance is already running', Frozen: 'The instance is already running' },
  stop: { Stopped: 'The instance is already stopped' },
  restart: { Stopped: 'The instance is already stopped' },
  freeze: { Stopped: "The instance isn't running", Frozen: 'The instance is already frozen' },
  unfreeze: { Stopped: "The instance isn't running", Running: 'The instance is already running' },
};

/** In which states a change for all instances of a project concerns one of them. */
const CONCERNS: Readonly<Record<StateAction, readonly InstanceStatus[]>> = {
  start: ['Stopped'],
  stop: ['Running', 'Frozen', 'Error'],
  restart: ['Running', 'Frozen', 'Error'],
  freeze: ['Running'],
  unfreeze: ['Frozen'],
};

interface Pending {
  readonly request: StateRequest;
  readonly abort: AbortController;
  done: Promise<void>;
  /** A forced action of the same name that took over: its end counts. */
  successor: Promise<void> | null;
}

/** Reads an action's name. Fault bad_request for one that is none. */
export function parseAction(text: string): StateAction {
  if (Object.hasOwn(DESCRIPTIONS, text)) return text as StateAction; // a key of the table
  throw new Fault(
    'bad_request',
    `Unknown action ${JSON.stringify(text.slice(0, 40))}; write ${Object.keys(DESCRIPTIONS).join(', ')}`,
  );
}

export class StateChanges {
  private readonly parts: StateParts;
  private readonly pending = new Map<string, Pending>();

  constructor(parts: StateParts) {
    this.parts = parts;
  }

  /** Starts the operation that brings one instance into another state. */
  begin(row: InstanceRow, request: StateRequest, requestor: Requestor): Operation {
    return this.parts.operations.create({
      class: 'task',
      description: DESCRIPTIONS[request.action],
      project: row.project,
      requestor,
      resources: instanceResources(row.project, row.name),
      run: ({ signal }) => this.run(row.id, request, requestor, signal),
    });
  }

  /** As begin(), for each instance of a project that the action concerns. */
  beginAll(project: string, request: StateRequest, requestor: Requestor): Operation {
    const rows = this.parts.store
      .list(project)
      .filter((row) => row.phase === 'ready' || row.phase === 'starting')
      .filter((row) => CONCERNS[request.action].includes(this.parts.runtime.status(row.id)));
    const resources = rows.map((row) => instanceResources(row.project, row.name));
    return this.parts.operations.create({
      class: 'task',
      description: DESCRIPTIONS[request.action],
      project,
      requestor,
      resources: {
        instances: resources.flatMap((one) => one['instances'] ?? []),
        containers: resources.flatMap((one) => one['containers'] ?? []),
      },
      run: ({ signal }) => this.runAll(rows, request, requestor, signal),
    });
  }

  /** Fault busy while a clean stop waits for the guest; other work may queue up behind what goes on. */
  refuseWhileStopping(id: string): void {
    const pending = this.pending.get(id);
    if (pending !== undefined && isPatient(pending.request)) throw busy(pending.request.action);
  }

  private async runAll(
    rows: readonly InstanceRow[],
    request: StateRequest,
    requestor: Requestor,
    signal: AbortSignal,
  ): Promise<void> {
    const ends = await Promise.allSettled(rows.map((row) => this.run(row.id, request, requestor, signal)));
    const failures = ends.flatMap((end, index) =>
      end.status === 'rejected'
        ? [` - Instance: ${rows[index]?.name ?? ''}: ${describeChain(end.reason)}`]
        : [],
    );
    if (failures.length === 0) return;
    throw new Fault('bad_request', `The following instances failed to update state:\n${failures.join('\n')}`);
  }

  private run(id: string, request: StateRequest, requestor: Requestor, signal: AbortSignal): Promise<void> {
    const before = this.pending.get(id);
    if (before !== undefined && !takesOver(request, before.request)) {
      if (before.request.action === request.action) return before.done;
      if (isPatient(before.request)) return Promise.reject(busy(before.request.action));
    }
    const abort = new AbortController();
    const work = this.runInLane(id, request, requestor, AbortSignal.any([signal, abort.signal]));
    const pending: Pending = { request, abort, done: work, successor: null };
    pending.done = this.finish(id, pending, work);
    if (before !== undefined && takesOver(request, before.request)) {
      if (before.request.action === request.action) before.successor = pending.done;
      before.abort.abort(new Fault('conflict', `a forced ${request.action} took over`));
    }
    this.pending.set(id, pending);
    return pending.done;
  }

  private async finish(id: string, pending: Pending, work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (err) {
      if (pending.successor === null) throw err;
      await pending.successor;
    } finally {
      if (this.pending.get(id) === pending) this.pending.delete(id);
    }
  }

  private async runInLane(
    id: string,
    request: StateRequest,
    requestor: Requestor,
    signal: AbortSignal,
  ): Promise<void> {
    await this.parts.lanes.run(id, async () => {
      signal.throwIfAborted();
      const row = this.parts.store.byId(id);
      if (row.phase === 'creating' || row.phase === 'deleting') {
        throw new Fault(
          'busy',
          `Instance is busy running a ${row.phase === 'creating' ? 'create' : 'delete'} operation`,
        );
      }
      const refusal = REFUSALS[request.action][this.parts.runtime.status(id)];
      if (refusal !== undefined) throw new Fault('bad_request', refusal);
      await this.act(row, request, signal);
      this.announce(row, request, requestor);
    });
  }

  private async act(row: InstanceRow, request: StateRequest, signal: AbortSignal): Promise<void> {
    const { runtime } = this.parts;
    const options = { timeoutS: request.timeoutS, force: request.force };
    switch (request.action) {
      case 'start':
        return runtime.start(row.id, signal);
      case 'stop':
        return runtime.stop(row.id, options, signal);
      case 'restart':
        return runtime.restart(row.id, options, signal);
      case 'freeze':
        return runtime.freeze(row.id);
      case 'unfreeze':
        return runtime.unfreeze(row.id);
    }
  }

  private announce(row: InstanceRow, request: StateRequest, requestor: Requestor): void {
    this.parts.events.lifecycle(eventOf(request), instanceUrl(row), { project: row.project, requestor });
  }
}

function eventOf(request: StateRequest): string {
  switch (request.action) {
    case 'start':
      return 'instance-started';
    case 'stop':
      return isForced(request) ? 'instance-stopped' : 'instance-shutdown';
    case 'restart':
      return 'instance-restarted';
    case 'freeze':
      return 'instance-paused';
    case 'unfreeze':
      return 'instance-resumed';
  }
}

function isForced(request: StateRequest): boolean {
  return request.force || request.timeoutS === 0;
}

/** Waits for the guest, for as long as it takes. */
function isPatient(request: StateRequest): boolean {
  return (request.action === 'stop' || request.action === 'restart') && !isForced(request);
}

function takesOver(request: StateRequest, before: StateRequest): boolean {
  return (
    (request.action === 'stop' || request.action === 'restart') && isForced(request) && isPatient(before)
  );
}

function busy(action: StateAction): Fault {
  return new Fault('busy', `Instance is busy running a ${action} operation`);
}
