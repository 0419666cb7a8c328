/** What is left of instances that are deleted: guests that run on, soft deletes whose time is over, migrations. */
import { describeChain } from '../../process/fault.ts';
import { serviceContext } from '../cloud/call-context.ts';
import { adminContext, requestIdOf } from '../nova/context.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { Json } from '../rpc/json.ts';
import { deleteInstance } from './delete.ts';
import type { ComputeHost } from './host.ts';
import { saveStatus } from './init-moves.ts';
import { ownWork } from './own-requests.ts';

/** Guests with Nova's marker whose instance was deleted while this host was away: as running_deleted_instance_action says. */
export async function reapDeleted(host: ComputeHost): Promise<void> {
  const context = adminContext('yes');
  const call = serviceContext(requestIdOf(context), host.signal);
  const guests = await host.guests.list(call);
  if (guests.length === 0) return;
  const uuids = guests.map((guest) => guest.uuid);
  const deleted = await byFilters(host, context, { deleted: true, soft_deleted: false, uuid: uuids });
  const waitS = host.options.DEFAULT.running_deleted_instance_timeout;
  for (const instance of deleted) {
    if (!isDeletedFor(instance, waitS) || !mayTouch(host, instance)) continue;
    const uuid = instance.text('uuid');
    const action = host.options.DEFAULT.running_deleted_instance_action;
    host.log.warn('a guest is here although its instance is deleted', { instance: uuid, action });
    await logged(host, uuid, () =>
      host.lanes.run(uuid, async () => {
        if (action === 'shutdown') await host.guests.powerOff(call, uuid, 0);
        if (action === 'reap') await reap(host, context, instance);
      }),
    );
  }
}

/** Differs: Nova takes whatever the driver lists; another service may have its guests with the same daemon. */
function mayTouch(host: ComputeHost, instance: NovaObject): boolean {
  const owner = instance.textOrNull('host');
  return instance.flag('deleted') && (owner === null || owner === host.name);
}

async function reap(host: ComputeHost, context: RpcContext, instance: NovaObject): Promise<void> {
  const call = serviceContext(requestIdOf(context), host.signal);
  const uuid = instance.text('uuid');
  host.events.cancel(uuid);
  await host.guests.destroy(call, uuid);
  await host.networks.deallocate(context, instance);
  await host.cloud.placement.deleteAllocations(call, uuid);
}

/** Soft-deleted instances that nobody took back in time. */
export async function reclaimDeleted(host: ComputeHost): Promise<void> {
  const context = adminContext();
  const found = await byFilters(
    host,
    context,
    { vm_state: 'soft-delete', task_state: null, host: host.name },
    ['metadata', 'system_metadata', 'info_cache', 'security_groups'],
  );
  for (const instance of found) {
    if (!isDeletedFor(instance, host.options.DEFAULT.reclaim_instance_interval)) continue;
    const uuid = instance.text('uuid');
    await logged(host, uuid, () => host.lanes.run(uuid, () => reclaim(host, context, instance)));
  }
}

/** Differs: Nova believes its list, and deletes what was restored since. */
async function reclaim(host: ComputeHost, context: RpcContext, instance: NovaObject): Promise<void> {
  await host.conductor.objectCall(context, instance, { method: 'refresh' });
  if (instance.text('vm_state') !== 'soft-delete' || instance.textOrNull('task_state') !== null) return;
  host.log.info('a deleted instance is reclaimed', { instance: instance.text('uuid') });
  const devices = await host.conductor.classList(context, {
    object: 'BlockDeviceMappingList',
    method: 'get_by_instance_uuid',
    args: [instance.text('uuid')],
  });
  await deleteInstance(host, ownWork(host, context, instance, 'terminate_instance'), devices);
}

/** Migrations in error whose instance is deleted: what they left here goes, and they count as failed. */
export async function closeLostMigrations(host: ComputeHost): Promise<void> {
  const context = adminContext();
  const migrations = await host.conductor.classList(context, {
    object: 'MigrationList',
    method: 'get_by_filters',
    args: [{ host: host.name, status: 'error' }],
  });
  if (migrations.length === 0) return;
  const uuids = [...new Set(migrations.map((one) => one.text('instance_uuid')))];
  const filters = { deleted: true, soft_deleted: false, uuid: uuids };
  const deleted = await byFilters(host, adminContext('yes'), filters, [
    'info_cache',
    'security_groups',
    'system_metadata',
  ]);
  const call = serviceContext(requestIdOf(context), host.signal);
  for (const instance of deleted) {
    const uuid = instance.text('uuid');
    if (instance.textOrNull('host') === host.name) continue;
    await logged(host, uuid, async () => {
      await host.lanes.run(uuid, () => host.guests.destroy(call, uuid));
      for (const migration of migrations.filter((one) => one.text('instance_uuid') === uuid)) {
        await saveStatus(host, context, migration, 'failed');
      }
    });
  }
}

/** Without attributes Nova sends none, and the list has what is always in it. */
export function byFilters(
  host: ComputeHost,
  context: RpcContext,
  filters: Json,
  expectedAttrs?: readonly string[],
): Promise<readonly NovaObject[]> {
  const kwargs = expectedAttrs === undefined ? {} : { expected_attrs: expectedAttrs };
  return host.conductor.classList(context, {
    object: 'InstanceList',
    method: 'get_by_filters',
    args: [filters],
    kwargs: { ...kwargs, use_slave: true },
  });
}

export function isOlderThan(at: Date, seconds: number, now = Date.now()): boolean {
  return now - at.getTime() > seconds * 1000;
}

function isDeletedFor(instance: NovaObject, seconds: number): boolean {
  const at = instance.dateOrNull('deleted_at');
  return at === null || isOlderThan(at, seconds);
}

/** One that fails does not keep the others waiting. */
async function logged(host: ComputeHost, uuid: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (err) {
    host.log.warn('what a deleted instance left was not removed', {
      instance: uuid,
      error: describeChain(err),
    });
  }
}
