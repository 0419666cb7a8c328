/**
 * Renames a stopped instance.
 *
 * The row has the new name, and the old one in `volatile.rename.from`, before
 * the volume is touched: whatever a crash interrupts, finishRenames() goes on.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Undo } from '../../process/undo.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import { containerName } from '../paths.ts';
import { renameDrive } from './config-drive.ts';
import { instanceUrl } from './instance-url.ts';
import { checkInstanceName } from './names.ts';
import type { InstanceParts } from './parts.ts';
import { refuseWhileLent } from './private-disks.ts';
import { withChanges } from './volatile-keys.ts';

const MARKER = 'volatile.rename.from';

export type RenameParts = Pick<
  InstanceParts,
  'store' | 'runtime' | 'pools' | 'networks' | 'events' | 'lanes' | 'paths' | 'log'
>;

/** Faults bad_request (bad name, running), already_exists. */
export function checkRename(
  parts: Pick<InstanceParts, 'store' | 'runtime'>,
  row: InstanceRow,
  name: string,
): void {
  checkInstanceName(name);
  if (parts.runtime.status(row.id) !== 'Stopped') {
    throw new Fault('bad_request', 'Renaming of running instance not allowed: stop it first');
  }
  refuseWhileLent({ store: parts.store, status: (id) => parts.runtime.status(id) }, row);
  if (parts.store.has(row.project, name)) throw new Fault('already_exists', `Name "${name}" already in use`);
}

export async function renameInstance(
  parts: RenameParts,
  id: string,
  name: string,
  requestor: Requestor,
): Promise<void> {
  await parts.lanes.run(id, async () => {
    const row = parts.store.byId(id);
    if (row.phase !== 'ready') throw new Fault('busy', `instance "${row.name}" is being changed; try again`);
    checkRename(parts, row, name);
    await move(parts, row, name);
    parts.events.lifecycle('instance-renamed', instanceUrl({ project: row.project, name }), {
      project: row.project,
      context: { old_name: row.name },
      requestor,
    });
  });
}

/** Finishes renames that a crash interrupted. To be called at start-up, before anything looks for leftovers. */
export async function finishRenames(parts: Omit<RenameParts, 'events' | 'lanes' | 'runtime'>): Promise<void> {
  for (const row of parts.store.list()) {
    const from = row.config[MARKER];
    if (from === undefined) continue;
    try {
      await moveFiles(parts, row.project, row.pool, from, row.name);
      await parts.store.setConfig(row.id, { [MARKER]: null });
    } catch (err) {
      // The marker stays: the next start tries again, and nothing is lost meanwhile.
      parts.log.error('a rename could not be finished', { instance: row.name, from, error: err });
    }
  }
}

async function move(parts: RenameParts, row: InstanceRow, name: string): Promise<void> {
  const undo = new Undo();
  undo.add('give the old name back', async () => {
    await parts.store.change(row.id, { name: row.name, config: row.config });
  });
  try {
    const config = withChanges(row.config, {
      [MARKER]: row.name,
      // Differs: LXD renders the templates of the trigger `rename` at once, we at the next start.
      'volatile.apply_template': row.config['volatile.apply_template'] ?? 'rename',
    });
    await parts.store.change(row.id, { name, config });
    faultPoint('rename.row-changed');
    undo.add('move the volume back', () => moveFiles(parts, row.project, row.pool, name, row.name));
    await moveFiles(parts, row.project, row.pool, row.name, name);
    await parts.store.setConfig(row.id, { [MARKER]: null });
    faultPoint('rename.done');
  } catch (err) {
    await undo.rollBack((what, cause) => {
      parts.log.error('undo step of a rename failed', { instance: row.name, what, error: cause });
    });
    throw err;
  }
}

/** May be repeated: what has moved already is left alone. */
async function moveFiles(
  parts: Pick<InstanceParts, 'pools' | 'networks' | 'paths'>,
  project: string,
  pool: string,
  from: string,
  to: string,
): Promise<void> {
  await parts.pools.get(pool).rename({ project, instance: from }, { project, instance: to });
  faultPoint('rename.volume-moved');
  try {
    await rename(
      join(parts.paths.log, containerName(project, from)),
      join(parts.paths.log, containerName(project, to)),
    );
  } catch (err) {
    const code = err instanceof Error && 'code' in err ? err.code : '';
    if (code !== 'ENOENT') throw err; // never started: there are no logs
  }
  faultPoint('rename.logs-moved');
  await renameDrive(parts.paths, { project, name: from }, { project, name: to });
  await parts.networks.forget(project, from);
  faultPoint('rename.network-forgotten');
}
