/**
 * Makes an instance: from an image, from nothing, or as a copy.
 *
 * prepareCreate() answers all that can be said at once and stores the row in
 * phase `creating`, which takes the name; the operation then makes the volume.
 * Whatever ends in between, a start of the daemon removes the rest.
 */
import { randomUUID } from 'node:crypto';
import { Fault, isFault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import type { InstanceRow } from '../db/rows.ts';
import { NEVER } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import type { FoundImage } from '../images/types.ts';
import type { OperationContext } from '../operations/types.ts';
import type { InstancesPostWire } from '../wire/instances.ts';
import { checkDefinition, rootDiskOf, rootSizeOf } from './check-definition.ts';
import { draftCopy } from './copy.ts';
import { freshHwaddrs, hwaddrsOf, newInstanceId } from './definition.ts';
import { undoCreate } from './delete.ts';
import { draftEmpty, draftFromImage } from './draft.ts';
import type { CreateParts, Draft } from './draft.ts';
import { instanceUrl } from './instance-url.ts';
import { checkInstanceName, generateName } from './names.ts';
import type { Expanded } from './types.ts';
import { checkProfileList } from './update.ts';
import { expandedWith } from './volatile-keys.ts';

export interface Creation {
  readonly name: string;
  /** The operation's work. Leaves nothing when it fails. */
  run(context: OperationContext): Promise<void>;
}

/** Faults bad_request, not_found (image, source), already_exists, not_implemented, unavailable (pool). */
export async function prepareCreate(
  parts: CreateParts,
  project: string,
  body: InstancesPostWire,
  requestor: Requestor,
): Promise<Creation> {
  const type = body.type ?? '';
  if (type === 'virtual-machine') {
    throw new Fault(
      'bad_request',
      'virtual machines are not supported by this server; leave "type" away or write container',
    );
  }
  if (type !== '' && type !== 'container')
    throw new Fault('bad_request', `unknown instance type ${JSON.stringify(type)}`);
  if (body.stateful === true)
    throw new Fault('not_implemented', 'creating an instance with a running state is not done yet');
  const asked = body.name ?? '';
  if (asked !== '') checkInstanceName(asked);
  if (parts.store.has(project, asked))
    throw new Fault('already_exists', `Instance "${asked}" already exists`);
  const draft = await draftOf(parts, project, body);
  const { expanded, sizeBytes } = await insertRow(parts, project, asked, draft);
  const { row } = expanded;
  faultPoint('create.row-stored');
  return {
    name: row.name,
    run: async (context) => {
      await parts.lanes.run(row.id, async () => {
        await build(parts, row, draft, sizeBytes, context);
        parts.events.lifecycle('instance-created', instanceUrl(row), {
          project,
          requestor,
          context: { type: 'container', 'storage-pool': row.pool, location: 'none' },
        });
        if (body.start !== true) return;
        await parts.runtime.start(row.id, context.signal);
        parts.events.lifecycle('instance-started', instanceUrl(row), { project, requestor });
      });
    },
  };
}

function draftOf(parts: CreateParts, project: string, body: InstancesPostWire): Promise<Draft> {
  const kind = body.source?.type ?? '';
  switch (kind) {
    case 'image':
      return draftFromImage(parts, project, body);
    case 'none':
      return Promise.resolve(draftEmpty(body));
    case 'copy':
      return Promise.resolve(draftCopy(parts, project, body));
    case 'migration':
      throw new Fault('not_implemented', 'moving instances between servers is not done yet');
    default:
      throw new Fault(
        'bad_request',
        `unknown source type ${JSON.stringify(kind.slice(0, 40))}; write image, none or copy`,
      );
  }
}

interface Inserted {
  readonly expanded: Expanded;
  readonly sizeBytes: number | null;
}

/** Checks the whole definition and stores its row. A made-up name that was taken meanwhile is made up anew. */
async function insertRow(
  parts: CreateParts,
  project: string,
  asked: string,
  draft: Draft,
): Promise<Inserted> {
  const name = asked === '' ? generateName((candidate) => parts.store.has(project, candidate)) : asked;
  const planned = planRow(parts, project, name, draft);
  parts.pools.get(planned.expanded.row.pool);
  try {
    await parts.store.insert(planned.expanded.row);
  } catch (err) {
    if (asked !== '' || !isFault(err, 'already_exists')) throw err;
    return insertRow(parts, project, asked, draft);
  }
  return planned;
}

function planRow(parts: CreateParts, project: string, name: string, draft: Draft): Inserted {
  checkProfileList(draft.profiles);
  const bare = withRootDisk(parts, bareRow(project, name, draft));
  const root = rootDiskOf(bare.devices);
  const pool = root?.device['pool'] ?? '';
  if (draft.pool !== null && pool !== draft.pool) {
    throw new Fault(
      'bad_request',
      `copying from storage pool "${draft.pool}" to "${pool}" is not done yet; copy within the pool`,
    );
  }
  const placed = { ...bare, row: { ...bare.row, pool } };
  const macs = freshHwaddrs(
    placed,
    parts.networks,
    hwaddrsOf(() => parts.store.list()),
  );
  const expanded = expandedWith(placed, macs);
  checkDefinition(parts, expanded, null);
  return { expanded, sizeBytes: root === null ? null : rootSizeOf(root.device) };
}

function bareRow(project: string, name: string, draft: Draft): InstanceRow {
  const id = randomUUID();
  const config: Record<string, string> = {
    ...draft.config,
    'volatile.apply_template': draft.trigger,
    'volatile.cloud-init.instance-id': newInstanceId(),
    'volatile.idmap.base': '0',
    'volatile.last_state.idmap': '[]',
    'volatile.uuid': id,
  };
  if (draft.baseImage !== null) config['volatile.base_image'] = draft.baseImage;
  return {
    id,
    project,
    name,
    phase: 'creating',
    architecture: draft.architecture,
    description: draft.description,
    ephemeral: draft.ephemeral,
    stateful: false,
    profiles: draft.profiles,
    config,
    devices: draft.devices,
    pool: '',
    createdAt: new Date().toISOString(),
    lastUsedAt: NEVER,
  };
}

/** Without a root disk, and with one pool alone, that pool gets it, as in LXD. */
function withRootDisk(parts: CreateParts, row: InstanceRow): Expanded {
  const expanded = parts.store.expand(row);
  const [pool, second] = parts.pools.names();
  if (rootDiskOf(expanded.devices) !== null || pool === undefined || second !== undefined) return expanded;
  let device = 'root';
  for (let i = 0; Object.hasOwn(expanded.devices, device); i += 1) device = `root${String(i)}`;
  return parts.store.expand({
    ...row,
    devices: { ...row.devices, [device]: { type: 'disk', path: '/', pool } },
  });
}

/** Volume, then phase `ready`; or nothing at all. */
async function build(
  parts: CreateParts,
  row: InstanceRow,
  draft: Draft,
  sizeBytes: number | null,
  { signal, setMetadata }: OperationContext,
): Promise<void> {
  const touched = draft.image === null ? Promise.resolve() : touch(parts, draft.image);
  try {
    signal.throwIfAborted();
    await draft.around(() =>
      parts.pools.get(row.pool).create({ project: row.project, instance: row.name }, draft.volume, {
        sizeBytes,
        signal,
        onProgress: (text) => {
          setMetadata({ [draft.progressKey]: text });
        },
      }),
    );
    faultPoint('create.volume-made');
    signal.throwIfAborted();
    await parts.store.change(row.id, { phase: 'ready' });
    faultPoint('create.ready');
  } catch (err) {
    await undoCreate(parts, row).catch((cause: unknown) => {
      // The row stays in phase `creating`: the next start of the daemon tries again.
      parts.log.error('undoing a create failed', { instance: row.name, error: cause });
    });
    throw err;
  } finally {
    await touched;
  }
}

/** Notes that the image was used, beside the real work; an instance is not lost for it. */
async function touch(parts: CreateParts, image: FoundImage): Promise<void> {
  try {
    await parts.images.touch(image);
  } catch (err) {
    parts.log.warn('time of use of an image could not be noted', {
      fingerprint: image.fingerprint,
      error: err,
    });
  }
}
