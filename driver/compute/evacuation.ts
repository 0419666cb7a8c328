/** The part of an evacuation that is not a rebuild: the claim on this host, and the Migration. */
import { describeChain } from '../../process/fault.ts';
import { saveInstance } from '../nova/instances.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { isRecord, type Json } from '../rpc/json.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import { checkGroup } from './group-check.ts';
import { hostAddress } from './host-facts.ts';
import { POWER, type ComputeHost } from './host.ts';
import { dropAllocation, saveStatus } from './init-moves.ts';
import type { Work } from './method.ts';

/**
 * Puts this host into the Migration and the Migration into the instance, so
 * that Nova sends the events of the ports here too. A refusal is an
 * InstanceFaultRollback: the instance stays what it was.
 */
export async function beginEvacuation(
  host: ComputeHost,
  work: Work,
  migration: NovaObject | null,
): Promise<void> {
  const { context, call, instance, args } = work;
  const uuid = instance.text('uuid');
  if (migration !== null) {
    migration.set('dest_compute', host.name);
    migration.set('dest_node', host.tracker.node.name);
    // From 1.8 on migrations say which ComputeNode they lead to.
    if (migration.isAtLeast(8)) migration.set('dest_compute_id', host.tracker.node.id);
    migration.set('dest_host', await hostAddress(host.options));
    migration.set('status', 'pre-migrating');
    await host.conductor.objectCall(context, migration, { method: 'save' });
    instance.set('migration_context', migrationContext(uuid, migration.number('id')));
    await saveInstance(host.conductor, context, instance);
  }
  await refuseByGroup(host, work);
  if ((await host.guests.power(call, uuid)) !== POWER.noState) {
    throw novaError('InstanceExists', { name: uuid });
  }
  if (args['on_shared_storage'] === true) {
    const reason = 'containers are kept on the host they run on';
    throw novaError('InvalidSharedStorage', { path: uuid, reason });
  }
}

async function refuseByGroup(host: ComputeHost, { context, instance, args }: Work): Promise<void> {
  try {
    await checkGroup(host, context, instance, hintsOf(args['request_spec']));
  } catch (err) {
    if (!isNovaError(err, 'GroupAffinityViolation')) throw err;
    const refusal = novaError(
      'BuildAbortException',
      { instance_uuid: instance.text('uuid'), reason: err.message },
      { cause: err },
    );
    throw novaError('InstanceFaultRollback', { inner_exception: refusal.message }, { cause: refusal });
  }
}

function hintsOf(requestSpec: unknown): Json {
  const hints = isRecord(requestSpec) ? NovaObject.of(requestSpec).get('scheduler_hints') : null;
  return isRecord(hints) ? hints : {};
}

/** Containers have no NUMA topology and no PCI devices, before and after. */
function migrationContext(uuid: string, migrationId: number): NovaObject {
  const noDevices = () => NovaObject.create('PciDeviceList', { objects: [] });
  const noRequests = () => NovaObject.create('InstancePCIRequests', { instance_uuid: uuid, requests: [] });
  return NovaObject.create('MigrationContext', {
    instance_uuid: uuid,
    migration_id: migrationId,
    new_numa_topology: null,
    old_numa_topology: null,
    new_pci_devices: noDevices(),
    old_pci_devices: noDevices(),
    new_pci_requests: noRequests(),
    old_pci_requests: noRequests(),
    new_resources: null,
    old_resources: null,
  });
}

/** The other host removes its guest when it comes back and sees this. */
export async function closeEvacuation(host: ComputeHost, work: Work, migration: NovaObject): Promise<void> {
  await saveStatus(host, work.context, migration, 'done');
}

/** Never rejects: what went wrong before is told. */
export async function failEvacuation(
  host: ComputeHost,
  work: Work,
  migration: NovaObject | null,
  isEvacuation: boolean,
): Promise<void> {
  const { context, instance } = work;
  const uuid = instance.text('uuid');
  try {
    if (migration !== null) await saveStatus(host, context, migration, 'failed');
    // The one of a rebuild in place is that of the instance itself.
    if (isEvacuation && instance.textOrNull('host') !== host.name) await dropAllocation(host, context, uuid);
  } catch (err) {
    host.log.warn('an evacuation was not taken back', { instance: uuid, error: describeChain(err) });
  }
}
