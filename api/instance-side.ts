/** Builds everything that concerns instances, in order; part of the composition root. */
import type { Native } from '../native/types.ts';
import { Lanes } from '../process/lanes.ts';
import type { Log } from '../process/log.ts';
import type { InstanceRow } from './db/rows.ts';
import type { Events } from './events/events.ts';
import type { Images } from './images/types.ts';
import { StateChanges } from './instances/change-state.ts';
import { deleteEphemeral, finishDelete, undoCreate } from './instances/delete.ts';
import type { ExecParts } from './instances/exec.ts';
import { FileSessions } from './instances/file-sessions.ts';
import type { HostFacts } from './instances/host.ts';
import type { InstanceParts } from './instances/parts.ts';
import { type Powers } from './instances/power.ts';
import { autostart, recoverInstances } from './instances/recovery.ts';
import type { Recovered } from './instances/recovery.ts';
import { refuseWhileLent } from './instances/private-disks.ts';
import { instanceIdmap, rootSteps } from './instances/root-plan.ts';
import { finishRenames } from './instances/rename.ts';
import { LxcRuntime } from './instances/runtime.ts';
import type { RuntimeParts } from './instances/runtime-parts.ts';
import { searchExtrasOf } from './instances/search-extras.ts';
import { stopForShutdown } from './instances/host-shutdown.ts';
import { StartQueue } from './instances/start-queue.ts';
import type { Networks } from './network/types.ts';
import type { Operations } from './operations/types.ts';
import type { Paths } from './paths.ts';
import type { ProfiledInstances } from './profiles/types.ts';
import type { ServerConfig } from './server-config.ts';
import type { Pools } from './storage/types.ts';
import type { Warnings } from './warnings.ts';

export interface InstanceSideParts {
  readonly native: Native;
  readonly paths: Paths;
  readonly log: Log;
  readonly events: Events;
  readonly operations: Operations;
  readonly store: ProfiledInstances;
  readonly powers: Powers;
  readonly images: Images;
  readonly pools: Pools;
  readonly networks: Networks;
  readonly warnings: Warnings;
  readonly serverConfig: ServerConfig;
  readonly host: HostFacts;
  readonly guestSocketDir: string | null;
  readonly signal: AbortSignal;
}

export interface InstanceSide {
  readonly parts: InstanceParts;
  readonly runtime: LxcRuntime;
  readonly changes: StateChanges;
  readonly files: FileSessions;
  readonly exec: ExecParts;
  /** Brings the instances of the rows to a clean state. */
  recover(rows: readonly InstanceRow[]): Promise<Recovered>;
  autostart(ids: readonly string[]): Promise<void>;
  /** Stops an instance as its `boot.host_shutdown_timeout` says, by force when that is over; it starts again at the next boot. */
  stopForShutdown(id: string): Promise<void>;
}

export function buildInstanceSide(given: InstanceSideParts): InstanceSide {
  const lanes = new Lanes();
  // The runtime is told how to close file sessions and delete ephemeral instances,
  // which both need the runtime: these two are bound late.
  const runtimeParts: RuntimeParts = {
    ...given,
    lanes,
    queue: new StartQueue(
      () => Number(given.serverConfig.get('core.start_concurrency')) || defaultStarts(given.host),
    ),
    closeFiles: (id) => files.close(id),
    deleteEphemeral: (id) => deleteEphemeral(parts, id),
    onEnded: (id) => {
      runtime.ended(id);
    },
  };
  const runtime = new LxcRuntime(runtimeParts);
  const parts: InstanceParts = { ...given, lanes, runtime };
  const files: FileSessions = new FileSessions({
    ...parts,
    roots: {
      rootPlan: (id) => {
        const expanded = given.store.expand(given.store.byId(id));
        refuseWhileLent({ store: given.store, status: (other) => runtime.status(other) }, expanded.row);
        return rootSteps(given, expanded, instanceIdmap(given, expanded).extents);
      },
    },
  });
  return {
    parts,
    runtime,
    changes: new StateChanges(parts),
    files,
    exec: { ...parts, searchExtras: searchExtrasOf(files, runtime) },
    recover: async (rows) => {
      // First: the volume of a half renamed instance still has its old name, which no row speaks of.
      await finishRenames(parts);
      return recoverInstances(
        runtimeParts,
        rows.map((row) => given.store.byId(row.id)),
        {
          undoCreate: (row) => undoCreate(parts, row),
          finishDelete: (row) => finishDelete(parts, row),
        },
      );
    },
    autostart: (ids) => autostart(runtimeParts, runtime, ids, given.signal),
    stopForShutdown: (id) => lanes.run(id, () => stopForShutdown(runtimeParts, id)),
  };
}

/** Starts wait mostly for the kernel: a few more than processors keep them busy. */
function defaultStarts(host: HostFacts): number {
  return Math.max(4, host.cpuCount * 2);
}
