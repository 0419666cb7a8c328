/** Evacuations and builds that an end of the service cut in two: found through migrations and allocations. */
import { describeChain } from '../../process/fault.ts';
import { serviceContext } from '../cloud/call-context.ts';
import { requestIdOf, withDeleted } from '../nova/context.ts';
import { getInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';
import { setError } from './method.ts';
import { noteFault } from './outcome.ts';

/**
 * Guests that were evacuated to other hosts while this one was away are
 * removed here, and what they hold of this host at Placement. Gives the uuids
 * of all evacuated instances, which are not this host's any more.
 */
export async function finishEvacuations(
  host: ComputeHost,
  context: RpcContext,
  found: { readonly guests: readonly string[]; readonly mine: readonly string[] },
): Promise<ReadonlySet<string>> {
  const all = await host.conductor.classList(withDeleted(context), {
    object: 'MigrationList',
    method: 'get_by_filters',
    args: [
      {
        source_compute: host.name,
        status: ['accepted', 'pre-migrating', 'done'],
        migration_type: 'evacuation',
      },
    ],
  });
  // Differs: Nova would remove the guest of an instance that has come back since.
  const migrations = all.filter(
    (one) => one.text('status') !== 'done' || !found.mine.includes(one.text('instance_uuid')),
  );
  const uuids = new Set(migrations.map((one) => one.text('instance_uuid')));
  const call = serviceContext(requestIdOf(context), host.signal);
  for (const uuid of found.guests.filter((one) => uuids.has(one))) {
    host.log.warn('an instance was evacuated from this host; its guest here is removed', { instance: uuid });
    await host.guests.destroy(call, uuid);
  }
  for (const migration of migrations) await closeEvacuation(host, context, migration);
  await settleEvacuationsHere(host, context);
  return uuids;
}

async function closeEvacuation(host: ComputeHost, context: RpcContext, migration: NovaObject): Promise<void> {
  const uuid = migration.text('instance_uuid');
  try {
    // Deleted since: its allocations went with it.
    await getInstance(host.conductor, context, uuid);
    await dropAllocation(host, context, uuid);
    await saveStatus(host, context, migration, 'completed');
  } catch (err) {
    if (isNovaError(err, 'InstanceNotFound')) return;
    host.log.error('an evacuation was not finished', { instance: uuid, error: describeChain(err) });
  }
}

/**
 * Evacuations to this host that were under way: one whose instance has come
 * here is done; else the other host may take its guest back, or another try is made.
 */
async function settleEvacuationsHere(host: ComputeHost, context: RpcContext): Promise<void> {
  const migrations = await host.conductor.classList(context, {
    object: 'MigrationList',
    method: 'get_by_filters',
    args: [{ host: host.name, status: 'pre-migrating', migration_type: 'evacuation' }],
  });
  for (const migration of migrations) {
    if (migration.textOrNull('dest_compute') !== host.name) continue;
    const uuid = migration.text('instance_uuid');
    try {
      await settleEvacuation(host, context, migration);
    } catch (err) {
      host.log.error('an evacuation was not taken back', { instance: uuid, error: describeChain(err) });
    }
  }
}

/** Differs: Nova leaves such a server in its task for ever. */
async function settleEvacuation(
  host: ComputeHost,
  context: RpcContext,
  migration: NovaObject,
): Promise<void> {
  const uuid = migration.text('instance_uuid');
  const instance = await getInstance(host.conductor, context, uuid).catch((err: unknown) => {
    if (isNovaError(err, 'InstanceNotFound')) return null;
    throw err;
  });
  // It came here, and its own recovery follows; the other host has to remove its guest.
  const isHere = instance?.textOrNull('host') === host.name;
  await saveStatus(host, context, migration, isHere ? 'done' : 'failed');
  if (isHere) return;
  await host.guests.destroy(serviceContext(requestIdOf(context), host.signal), uuid);
  if (instance === null) return;
  await dropAllocation(host, context, uuid);
  const why = `The compute service of host ${host.name} ended while the instance was evacuated to it.`;
  await noteFault(host, { context, instance }, novaError('NovaException', {}, { message: why }));
  await setError(host, context, instance, true);
}

export async function saveStatus(
  host: ComputeHost,
  context: RpcContext,
  migration: NovaObject,
  status: string,
): Promise<void> {
  migration.set('status', status);
  await host.conductor.objectCall(context, migration, { method: 'save' });
}

/** What the instance holds of this host, and of no other. */
export async function dropAllocation(host: ComputeHost, context: RpcContext, uuid: string): Promise<void> {
  const call = serviceContext(requestIdOf(context), host.signal);
  const here = host.tracker.node.uuid;
  const { allocations } = await host.cloud.placement.allocations(call, uuid);
  if (allocations[here] === undefined) return;
  await host.cloud.placement.putAllocations(call, uuid, (now) =>
    Object.fromEntries(Object.entries(now.allocations).filter(([provider]) => provider !== here)),
  );
}

/**
 * Instances that hold something of this host and are still building, but were
 * never put on it: the service ended before their claim.
 */
export async function failInterruptedBuilds(
  host: ComputeHost,
  context: RpcContext,
  known: ReadonlySet<string>,
): Promise<void> {
  const call = serviceContext(requestIdOf(context), host.signal);
  try {
    const held = await host.cloud.placement.providerAllocations(call, host.tracker.node.uuid);
    const unknown = [...held.keys()].filter((uuid) => !known.has(uuid));
    if (unknown.length === 0) return;
    const building = await host.conductor.classList(context, {
      object: 'InstanceList',
      method: 'get_by_filters',
      args: [{ vm_state: 'building', uuid: unknown }],
      kwargs: { expected_attrs: [] },
    });
    for (const instance of building) {
      host.log.warn('a build ended before it was claimed', { instance: instance.text('uuid') });
      const why = `The compute service of host ${host.name} ended before the build began.`;
      await noteFault(host, { context, instance }, novaError('NovaException', {}, { message: why }));
      await setError(host, context, instance, true);
    }
  } catch (err) {
    // As Nova: the host starts all the same.
    host.log.error('builds that were cut off were not looked for', { error: describeChain(err) });
  }
}
