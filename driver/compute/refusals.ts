/**
 * What containers of this service cannot do: every other method of compute 6.x.
 *
 * A refusal must leave nothing half done: the task state goes back, the owner
 * reads why in the fault, and what the API or conductor prepared for the work
 * (an image, a migration and its allocations, a volume in "detaching") is put
 * back as nova-compute does when its driver refuses.
 */
import { describeChain } from '../../process/fault.ts';
import { elevated } from '../nova/context.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { isRecord } from '../rpc/json.ts';
import { notImplemented, novaError, type NovaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { instanceMethod, type MethodRules, type Work } from './method.ts';

type Undo = (host: ComputeHost, work: Work) => Promise<void>;

interface Refusal {
  readonly method: string;
  readonly what: string;
  /** Absent: the task state goes back. */
  readonly keepsTaskState?: boolean;
  readonly undo?: readonly Undo[];
}

/** Casts on an instance: users see these in its action list. */
const REFUSALS: readonly Refusal[] = [
  { method: 'snapshot_instance', what: 'snapshots', undo: [deleteImage] },
  { method: 'backup_instance', what: 'backups', undo: [deleteImage] },
  // Differs: nova-compute leaves the empty image of a failed shelve behind.
  { method: 'shelve_instance', what: 'shelving', undo: [deleteImage] },
  { method: 'shelve_offload_instance', what: 'shelving' },
  { method: 'unshelve_instance', what: 'unshelving', undo: [dropAllocations] },
  { method: 'prep_resize', what: 'resize and migration', undo: [returnAllocations, failMigration] },
  { method: 'resize_instance', what: 'resize and migration', undo: [returnAllocations, failMigration] },
  { method: 'finish_resize', what: 'resize and migration', undo: [failMigration] },
  { method: 'confirm_resize', what: 'resize and migration', keepsTaskState: true, undo: [failMigration] },
  { method: 'revert_resize', what: 'resize and migration', undo: [failMigration] },
  { method: 'finish_revert_resize', what: 'resize and migration', undo: [failMigration] },
  { method: 'live_migration', what: 'live migration', undo: [returnAllocations, failMigration] },
  { method: 'live_migration_force_complete', what: 'live migration', keepsTaskState: true },
  { method: 'live_migration_abort', what: 'live migration', keepsTaskState: true },
  { method: 'rollback_live_migration_at_destination', what: 'live migration', keepsTaskState: true },
  { method: 'attach_volume', what: 'volumes', keepsTaskState: true, undo: [dropAttachment] },
  { method: 'detach_volume', what: 'volumes', keepsTaskState: true, undo: [keepAttached] },
  { method: 'swap_volume', what: 'volumes', keepsTaskState: true },
  { method: 'allow_share', what: 'shares', keepsTaskState: true, undo: [failShare] },
  { method: 'deny_share', what: 'shares', keepsTaskState: true, undo: [failShare] },
];

/** Calls and casts that only get an answer. */
const PLAIN: readonly string[] = [
  'quiesce_instance',
  'volume_snapshot_create',
  'volume_snapshot_delete',
  'remove_volume_connection',
  'check_instance_shared_storage',
  'pre_live_migration',
  'post_live_migration_at_destination',
  'drop_move_claim_at_destination',
  'prep_snapshot_based_resize_at_dest',
  'prep_snapshot_based_resize_at_source',
  'finish_snapshot_based_resize_at_dest',
  'confirm_snapshot_based_resize_at_source',
  'revert_snapshot_based_resize_at_dest',
  'finish_revert_snapshot_based_resize_at_source',
];

/** What Nova's drivers may leave out without a word. */
const NOTHING_TO_DO: readonly string[] = ['reset_network', 'unquiesce_instance'];

/** Handlers for all methods that nothing else here does. */
export function refusalMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const methods = new Map<string, RpcHandler>();
  for (const refusal of REFUSALS) methods.set(refusal.method, refuse(host, refusal));
  for (const method of PLAIN) methods.set(method, () => Promise.reject(unsupported(method)));
  for (const method of NOTHING_TO_DO) methods.set(method, () => Promise.resolve(null));
  const reason = 'containers of this host are not migrated live';
  for (const method of ['check_can_live_migrate_destination', 'check_can_live_migrate_source']) {
    // Conductor takes this error, and no other, for "not this host".
    methods.set(method, () => Promise.reject(novaError('MigrationPreCheckError', { reason })));
  }
  // Differs: NotImplementedError would be HTTP 500 for the user.
  const noVolumes = novaError('InvalidVolume', {
    reason: 'volumes cannot be attached to servers of this host',
  });
  methods.set('reserve_block_device_name', () => Promise.reject(noVolumes));
  return methods;
}

function unsupported(what: string): NovaError {
  return notImplemented(`${what}: not supported for containers of this host`);
}

function refuse(host: ComputeHost, refusal: Refusal): RpcHandler {
  const rules: MethodRules = {
    event: `compute_${refusal.method}`,
    recordsFault: true,
    revertsTaskState: refusal.keepsTaskState !== true,
  };
  return instanceMethod(host, rules, async (work) => {
    for (const undo of refusal.undo ?? []) {
      await undo(host, work).catch((err: unknown) => {
        host.log.warn('what was prepared for refused work was not put back', {
          instance: work.instance.text('uuid'),
          method: refusal.method,
          error: describeChain(err),
        });
      });
    }
    throw unsupported(refusal.what);
  });
}

async function deleteImage(host: ComputeHost, work: Work): Promise<void> {
  const id = work.args['image_id'];
  if (typeof id === 'string' && id !== '') await host.cloud.glance.delete(work.call, id);
}

/** The scheduler made them for this host. */
async function dropAllocations(host: ComputeHost, work: Work): Promise<void> {
  await host.cloud.placement.deleteAllocations(work.call, work.instance.text('uuid'));
}

/** Conductor gave the old host's allocations to the migration and the new host's to the instance. */
async function returnAllocations(host: ComputeHost, work: Work): Promise<void> {
  const migration = objectOf(work.args['migration']);
  if (migration === null) return;
  await host.cloud.placement.moveAllocations(work.call, migration.text('uuid'), work.instance.text('uuid'));
}

async function failMigration(host: ComputeHost, work: Work): Promise<void> {
  const migration = objectOf(work.args['migration']);
  if (migration === null) return;
  migration.set('status', 'error');
  await host.conductor.objectCall(elevated(work.context), migration, { method: 'save' });
}

async function dropAttachment(host: ComputeHost, work: Work): Promise<void> {
  const bdm = objectOf(work.args['bdm']);
  if (bdm === null) return;
  const attachment = bdm.textOrNull('attachment_id');
  if (attachment !== null) await host.cloud.cinder.deleteAttachment(work.call, attachment);
  await host.conductor.objectCall(work.context, bdm, { method: 'destroy' });
}

async function keepAttached(host: ComputeHost, work: Work): Promise<void> {
  const volume = work.args['volume_id'];
  if (typeof volume === 'string') await host.cloud.cinder.rollDetaching(work.call, volume);
}

async function failShare(host: ComputeHost, work: Work): Promise<void> {
  const share = objectOf(work.args['share_mapping']);
  if (share === null) return;
  share.set('status', 'error');
  await host.conductor.objectCall(work.context, share, { method: 'save' });
}

function objectOf(value: unknown): NovaObject | null {
  return isRecord(value) ? NovaObject.of(value) : null;
}
