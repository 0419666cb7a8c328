/** A copy of an instance of this server: the definition of the new one, and the source held still meanwhile. */
import { faultPoint } from '../../process/fault-points.ts';
import { Fault } from '../../process/fault.ts';
import type { InstanceRow, StringMap } from '../db/rows.ts';
import type { InstancesPostWire } from '../wire/instances.ts';
import { decodeDevices } from './definition.ts';
import { ownConfig } from './draft.ts';
import type { CreateParts, Draft } from './draft.ts';
import { HELD } from './volatile-keys.ts';

/** Faults bad_request, not_found "Instance not found", not_implemented (snapshots, refresh). */
export function draftCopy(parts: CreateParts, project: string, body: InstancesPostWire): Draft {
  const source = body.source ?? {};
  const name = source.source ?? '';
  if (name === '')
    throw new Fault('bad_request', 'the source of a copy needs the name of an instance in "source"');
  if (name.includes('/')) throw new Fault('not_implemented', 'copying a snapshot is not done yet');
  if (source.refresh === true)
    throw new Fault('not_implemented', 'refreshing an earlier copy is not done yet');
  const from = (source.project ?? '') === '' ? project : (source.project ?? '');
  const row = parts.store.byName(from, name);
  if (row.phase === 'deleting') throw new Fault('not_found', 'Instance not found');
  return {
    architecture: row.architecture,
    profiles: body.profiles ?? row.profiles,
    config: { ...withoutVolatile(row.config), ...withoutVolatile(ownConfig(body)) },
    devices: { ...row.devices, ...decodeDevices(body.devices) },
    ephemeral: body.ephemeral ?? false,
    description: body.description ?? row.description,
    trigger: 'copy',
    baseImage: row.config['volatile.base_image'] ?? null,
    volume: { kind: 'copy', copyOf: { project: row.project, instance: row.name } },
    image: null,
    around: (work) => holdStill(parts, row.id, source.allow_inconsistent === true, work),
    progressKey: 'fs_progress',
    pool: row.pool,
  };
}

/** Volatile keys belong to the source, also where a client sends them along: a copy has its own id, addresses and state. */
function withoutVolatile(config: StringMap): StringMap {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !key.startsWith('volatile.')));
}

/**
 * Copies in the source's lane: it is neither started nor deleted meanwhile,
 * and frozen when it runs. The copy's own lane is held by the caller; nothing
 * that holds the source's lane ever waits for it.
 */
async function holdStill(
  parts: CreateParts,
  sourceId: string,
  allowInconsistent: boolean,
  work: () => Promise<void>,
): Promise<void> {
  await parts.lanes.run(sourceId, async () => {
    const source: InstanceRow = parts.store.byId(sourceId);
    if (source.phase === 'deleting') throw new Fault('not_found', 'Instance not found');
    const freezes = !allowInconsistent && parts.runtime.status(sourceId) === 'Running';
    if (!freezes) return work();
    // Said before it is done: a start after a crash must not leave it frozen.
    await parts.store.setConfig(sourceId, { [HELD]: 'copy' });
    await parts.runtime.freeze(sourceId);
    faultPoint('copy.source-frozen');
    try {
      await work();
      faultPoint('copy.copied');
    } finally {
      await parts.runtime.unfreeze(sourceId);
      faultPoint('copy.source-thawed');
      await parts.store.setConfig(sourceId, { [HELD]: null });
    }
  });
}
