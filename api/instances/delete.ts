/**
 * Deletes an instance: the row says `deleting` before anything goes, so that a
 * start after a crash finishes what was begun. Every step may be repeated.
 */
import { Fault, isFault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import { instanceUrl } from './instance-url.ts';
import type { InstanceParts } from './parts.ts';
import { refuseWhileLent } from './private-disks.ts';
import { parseBool } from './values.ts';

export type DeleteParts = Pick<
  InstanceParts,
  'store' | 'runtime' | 'pools' | 'networks' | 'events' | 'lanes'
>;

/** Throws bad_request for a running instance, forbidden for a protected one. */
export function checkDelete(parts: Pick<InstanceParts, 'store' | 'runtime'>, row: InstanceRow): void {
  if (row.phase === 'deleting') return;
  if (parts.runtime.status(row.id) !== 'Stopped') {
    throw new Fault('bad_request', 'Instance is running');
  }
  refuseWhileLent({ store: parts.store, status: (id) => parts.runtime.status(id) }, row);
  if (parseBool(parts.store.expand(row).config['security.protection.delete'])) {
    throw new Fault('forbidden', 'Instance is protected: unset security.protection.delete first');
  }
}

/** Deletes a stopped instance, in its lane. */
export async function deleteInstance(parts: DeleteParts, id: string, requestor: Requestor): Promise<void> {
  await parts.lanes.run(id, async () => {
    const row = parts.store.byId(id);
    checkDelete(parts, row);
    await remove(parts, row, requestor);
  });
}

/** Deletes an ephemeral instance that has stopped. Called inside its lane. */
export async function deleteEphemeral(parts: DeleteParts, id: string): Promise<void> {
  await remove(parts, parts.store.byId(id), undefined);
}

/** Finishes the deletion of a row found in phase `deleting`. Idempotent. */
export async function finishDelete(
  parts: Pick<InstanceParts, 'store' | 'runtime' | 'pools' | 'networks'>,
  row: InstanceRow,
): Promise<void> {
  await parts.runtime.forget(row);
  faultPoint('delete.files-removed');
  await removeVolume(parts, row);
  faultPoint('delete.volume-removed');
  await parts.networks.forget(row.project, row.name);
  faultPoint('delete.network-forgotten');
  await parts.store.remove(row.id);
  faultPoint('delete.row-removed');
}

/** Removes all of a row that was never ready. Idempotent; also for a create that failed. */
export async function undoCreate(
  parts: Pick<InstanceParts, 'store' | 'runtime' | 'pools' | 'networks'>,
  row: InstanceRow,
): Promise<void> {
  await finishDelete(parts, row);
}

async function remove(parts: DeleteParts, row: InstanceRow, requestor: Requestor | undefined): Promise<void> {
  const going = await parts.store.change(row.id, { phase: 'deleting' });
  faultPoint('delete.row-deleting');
  await finishDelete(parts, going);
  parts.events.lifecycle('instance-deleted', instanceUrl(row), {
    project: row.project,
    ...(requestor === undefined ? {} : { requestor }),
  });
}

async function removeVolume(parts: Pick<InstanceParts, 'pools'>, row: InstanceRow): Promise<void> {
  try {
    await parts.pools.get(row.pool).remove({ project: row.project, instance: row.name });
  } catch (err) {
    // A pool that is no more has no volume of ours. One that is only not up keeps the row.
    if (!isFault(err, 'not_found')) throw err;
  }
}
