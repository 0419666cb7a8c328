/**
 * Brings an instance from one definition to the next: PUT and PATCH of the
 * instance itself, and a change of a profile it uses.
 *
 * Order: check -> root disk's size -> running container -> row. Each step is
 * undone when a later one fails, so that the row always tells what is true.
 */
import { Fault, isFault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Undo } from '../../process/undo.ts';
import type { DeviceMap, InstanceRow, StringMap } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import type { InstancePutWire } from '../wire/instances.ts';
import { checkDefinition, isSameDevice, rootDiskOf, rootSizeOf } from './check-definition.ts';
import { decodeArchitecture, decodeConfig, decodeDevices, hwaddrsOf } from './definition.ts';
import { changeNote } from './half-change.ts';
import { keysAsBefore } from './hot-nic.ts';
import { instanceUrl } from './instance-url.ts';
import type { InstanceParts } from './parts.ts';
import type { Expanded } from './types.ts';
import type { ConfigChanges } from './volatile-keys.ts';
import {
  CHANGING,
  FOLLOWING,
  expandedWith,
  keepOwnKeys,
  volatileChanges,
  withChanges,
} from './volatile-keys.ts';

export type UpdateParts = Pick<
  InstanceParts,
  'store' | 'runtime' | 'pools' | 'networks' | 'events' | 'lanes' | 'log'
>;

/** What a PUT replaces and a PATCH changes in part. */
export type Wanted = Pick<
  InstanceRow,
  'architecture' | 'config' | 'devices' | 'ephemeral' | 'profiles' | 'description'
>;

/** The whole definition of a PUT: what is absent goes. */
export function wantedByPut(row: InstanceRow, body: InstancePutWire): Wanted {
  const architecture = body.architecture ?? '';
  return {
    architecture: architecture === '' ? row.architecture : decodeArchitecture(architecture),
    config: decodeConfig(body.config),
    devices: decodeDevices(body.devices),
    ephemeral: body.ephemeral ?? false,
    profiles: body.profiles ?? [],
    description: body.description ?? '',
  };
}

/** What a PATCH leaves: keys and whole devices that are present replace, '' removes a key, all else stays. */
export function wantedByPatch(row: InstanceRow, body: InstancePutWire): Wanted {
  const architecture = body.architecture ?? '';
  const config = withChanges(
    row.config,
    Object.fromEntries(
      Object.entries(body.config ?? {}).map(([key, value]) => [key, (value ?? '') === '' ? null : value]),
    ),
  );
  return {
    architecture: architecture === '' ? row.architecture : decodeArchitecture(architecture),
    config,
    devices: { ...row.devices, ...decodeDevices(body.devices) },
    ephemeral: body.ephemeral ?? row.ephemeral,
    profiles: body.profiles ?? row.profiles,
    description: body.description ?? row.description,
  };
}

/** Throws what updateInstance() would throw for the definition itself. No side effects. */
export function checkUpdate(parts: UpdateParts, row: InstanceRow, wanted: Wanted): void {
  planUpdate(parts, row, wanted);
}

/**
 * Changes one instance, in its lane.
 *
 * @param decide looks at the row as it is then; may throw, for a tag that no longer fits
 */
export async function updateInstance(
  parts: UpdateParts,
  id: string,
  decide: (row: InstanceRow) => Wanted,
  requestor: Requestor,
): Promise<void> {
  await parts.lanes.run(id, async () => {
    const row = parts.store.byId(id);
    if (row.phase !== 'ready') throw new Fault('busy', `instance "${row.name}" is being changed; try again`);
    const wanted = decide(row);
    const { before, next } = planUpdate(parts, row, wanted);
    const note = (planned: Expanded) => changeNote(before, planned);
    await carryOut(parts, { before, next, note }, (changes) =>
      parts.store.change(id, { ...wanted, config: withChanges(next.row.config, changes) }),
    );
    parts.events.lifecycle('instance-updated', instanceUrl(row), { project: row.project, requestor });
  });
}

/** Brings an instance from an old version of a profile to the saved new one. Called in its lane. */
export async function followProfile(parts: UpdateParts, before: Expanded, after: Expanded): Promise<void> {
  const changes = volatileChanges(
    before,
    after,
    parts.networks,
    hwaddrsOf(() => parts.store.list()),
  );
  const next = expandedWith(after, changes);
  const save = (more: ConfigChanges) =>
    parts.store.setConfig(next.row.id, { ...changes, ...more, [FOLLOWING]: null });
  // It has a note already, by which it goes on after a crash and not back.
  await carryOut(parts, { before, next, note: null }, save);
}

function planUpdate(
  parts: UpdateParts,
  row: InstanceRow,
  wanted: Wanted,
): { readonly before: Expanded; readonly next: Expanded } {
  checkProfileList(wanted.profiles);
  const before = parts.store.expand(row);
  const draft = { ...row, ...wanted, config: keepOwnKeys(row.config, wanted.config) };
  const expanded = parts.store.expand(draft);
  const changes = volatileChanges(
    before,
    expanded,
    parts.networks,
    hwaddrsOf(() => parts.store.list()),
  );
  const next = expandedWith(expanded, changes);
  checkDefinition(parts, next, before);
  return { before, next };
}

/** Throws bad_request when a profile is named twice. */
export function checkProfileList(profiles: readonly string[]): void {
  const twice = profiles.find((name, index) => profiles.indexOf(name) !== index);
  if (twice !== undefined) throw new Fault('bad_request', `Duplicate profile found in request: "${twice}"`);
}

interface Change {
  readonly before: Expanded;
  readonly next: Expanded;
  /** What to note of a running container's change, for the case of a crash. */
  readonly note: ((planned: Expanded) => string | null) | null;
}

/** Makes the next definition true and then saves it, together with the volatile keys that came of it. */
async function carryOut(
  parts: UpdateParts,
  change: Change,
  save: (changes: ConfigChanges) => Promise<unknown>,
): Promise<void> {
  const { before, next } = change;
  const undo = new Undo();
  try {
    const quota = await resizeRoot(parts, before, next, undo);
    const planned = expandedWith(next, quota);
    let applied: ConfigChanges = {};
    if (parts.runtime.status(next.row.id) !== 'Stopped' && isChanged(before, planned)) {
      const note = change.note?.(planned) ?? null;
      if (note !== null) {
        undo.add('forget what was to change', () => parts.store.setConfig(next.row.id, { [CHANGING]: null }));
        await parts.store.setConfig(next.row.id, { [CHANGING]: note });
        faultPoint('update.noted');
      }
      applied = await parts.runtime.apply(before, planned);
      faultPoint('update.applied');
      undo.add('put the running container back', () => putBack(parts, before, planned, applied));
    }
    await save({ ...quota, ...applied, [CHANGING]: null });
    faultPoint('update.row-stored');
    undo.keep();
  } catch (err) {
    await undo.rollBack((what, cause) => {
      parts.log.error('undo step of an update failed', { instance: next.row.name, what, error: cause });
    });
    throw err;
  }
}

/** The row has what was chosen for the devices that go again, and needs what is chosen for those that come back. */
async function putBack(
  parts: UpdateParts,
  before: Expanded,
  planned: Expanded,
  applied: ConfigChanges,
): Promise<void> {
  const chosen = await parts.runtime.apply(expandedWith(planned, applied), before);
  const old = keysAsBefore(before.row.config, applied);
  await parts.store.setConfig(before.row.id, { ...old, ...chosen });
}

/** Resizes the root disk, or notes in volatile.<device>.apply_quota that the next start has to. */
async function resizeRoot(
  parts: UpdateParts,
  before: Expanded,
  next: Expanded,
  undo: Undo,
): Promise<ConfigChanges> {
  const from = rootDiskOf(before.devices);
  const to = rootDiskOf(next.devices);
  if (from === null || to === null) return {};
  const [oldSize, newSize] = [rootSizeOf(from.device), rootSizeOf(to.device)];
  const key = `volatile.${to.name}.apply_quota`;
  const isPending = next.row.config[key] !== undefined;
  if (oldSize === newSize && !isPending) return {};
  const pool = parts.pools.get(next.row.pool);
  const volume = { project: next.row.project, instance: next.row.name };
  const isStopped = parts.runtime.status(next.row.id) === 'Stopped';
  try {
    await pool.resize(volume, newSize);
    undo.add('give the root disk its old size', () => pool.resize(volume, oldSize));
    return isPending ? { [key]: null } : {};
  } catch (err) {
    if (isStopped || !isFault(err, 'bad_request')) throw err;
    return { [key]: String(newSize ?? 0) };
  }
}

/** False when only keys changed that no running container can notice. */
function isChanged(before: Expanded, next: Expanded): boolean {
  const isSilent = (key: string): boolean => key.startsWith('volatile.') || key.startsWith('image.');
  return !isSameMap(before.config, next.config, isSilent) || !areSameDevices(before.devices, next.devices);
}

function isSameMap(a: StringMap, b: StringMap, ignore: (key: string) => boolean): boolean {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => ignore(key) || a[key] === b[key]);
}

function areSameDevices(a: DeviceMap, b: DeviceMap): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => isSameDevice(a[name] ?? {}, b[name]) && a[name] !== undefined);
}
