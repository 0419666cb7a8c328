/** How a build that failed ends: given to another host, or over. */
import { describeChain } from '../../process/fault.ts';
import { recordFault, saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import { isNovaError, novaError, type NovaError } from '../rpc/nova-error.ts';
import { isRecord } from '../rpc/json.ts';
import type { BuildRequest } from './build-request.ts';
import type { Ending, Outcome } from './build-outcome.ts';
import type { ComputeHost } from './host.ts';
import { insist } from './insist.ts';
import { setError, type Work } from './method.ts';
import { releaseVolumes } from './shutdown.ts';

/** Carries an ending out. */
export async function endBuild(host: ComputeHost, build: BuildRequest, ending: Ending): Promise<Outcome> {
  if (ending.kind === 'gone') {
    await releaseNetworks(host, build);
    return 'failed';
  }
  if (ending.kind === 'abort') return fail(host, build, ending.err);
  const { retry } = build.filterProperties;
  // Only a scheduler that says how often it tried wants to be asked again.
  if (!isRecord(retry)) {
    const { reason, err } = ending;
    const told = novaError('RescheduledException', err.kwargs, { message: reason, cause: err.cause });
    return fail(host, build, told);
  }
  await giveBack(host, build, { ...retry, exc: traceOf(ending.err), exc_reason: ending.reason });
  return ending.byPolicy ? 'rescheduled_by_policy' : 'rescheduled';
}

async function giveBack(
  host: ComputeHost,
  build: BuildRequest,
  retry: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { context, instance, args } = build;
  await releaseNetworks(host, build);
  leaveHost(instance);
  instance.set('task_state', 'scheduling');
  await insist(host, { instance: instance.text('uuid'), what: 'save the instance' }, () =>
    saveInstance(host.conductor, context, instance),
  );
  // Before another host claims: both would not fit into one quota of the scheduler's.
  await dropAllocation(host, build);
  await host.conductor.buildInstances(context, {
    instances: [instance],
    image: args['image'],
    filter_properties: { ...build.filterProperties, retry },
    admin_password: args['admin_password'],
    injected_files: args['injected_files'],
    requested_networks: args['requested_networks'],
    security_groups: args['security_groups'],
    block_device_mapping: args['block_device_mapping'],
    legacy_bdm: true,
    request_spec: args['request_spec'],
    host_lists: [args['host_list'] ?? null],
  });
}

async function fail(host: ComputeHost, build: BuildRequest, err: NovaError): Promise<Outcome> {
  const { context, instance } = build;
  await releaseNetworks(host, build);
  await releaseVolumes(host, build, build.devices);
  const at = { instanceUuid: instance.text('uuid'), host: host.name };
  const record = () => recordFault(host.conductor, context, at, err);
  await insist(host, { instance: at.instanceUuid, what: 'record the fault' }, record).catch(
    (failure: unknown) => {
      const error = describeChain(failure);
      host.log.warn('a fault was not recorded', { instance: at.instanceUuid, fault: err.message, error });
    },
  );
  leaveHost(instance);
  await insist(host, { instance: instance.text('uuid'), what: 'save the instance' }, () =>
    setError(host, context, instance, true),
  );
  return 'failed';
}

/** What the instance holds at Placement goes; a failure is only logged: a report of the host finds it. */
export async function dropAllocation(host: ComputeHost, work: Work): Promise<void> {
  const uuid = work.instance.text('uuid');
  try {
    await host.cloud.placement.deleteAllocations({ ...work.call, signal: undefined }, uuid);
  } catch (err) {
    host.log.error('the allocation of an instance was not deleted', {
      instance: uuid,
      error: describeChain(err),
    });
  }
}

/** Nothing on this host any more: not saved here, the save of the new state carries it. */
function leaveHost(instance: NovaObject): void {
  instance.set('host', null).set('node', null).set('launched_on', null).set('availability_zone', null);
  if (instance.isAtLeast(8)) instance.set('compute_id', null);
}

async function releaseNetworks(host: ComputeHost, build: BuildRequest): Promise<void> {
  const { context, instance } = build;
  try {
    await insist(host, { instance: instance.text('uuid'), what: 'release the ports' }, () =>
      host.networks.deallocate(context, instance, build.networks.requests),
    );
  } catch (err) {
    host.log.error('ports of a failed build were not released', {
      instance: instance.text('uuid'),
      error: describeChain(err),
    });
    return;
  }
  // Without those that are there it would stand alone in the database.
  if (!instance.has('system_metadata')) return;
  instance.set('system_metadata', { ...instance.texts('system_metadata'), network_allocated: 'False' });
  try {
    await insist(host, { instance: instance.text('uuid'), what: 'save the instance' }, () =>
      saveInstance(host.conductor, context, instance),
    );
  } catch (err) {
    // Deleted while it was built.
    if (!isNovaError(err, 'InstanceNotFound')) throw err;
  }
}

function traceOf(err: NovaError): readonly string[] {
  return (err.stack ?? err.message).split('\n').map((line) => `${line}\n`);
}
