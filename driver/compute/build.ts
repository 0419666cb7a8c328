/** build_and_run_instance: from the message to its outcome. The steps are in build-steps.ts. */
import { describeChain } from '../../process/fault.ts';
import { imageOf } from '../cloud/glance.ts';
import { isTakenOver, loadFields, saveInstance } from '../nova/instances.ts';
import { Gate } from '../rpc/gate.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import { endingOf, type Outcome } from './build-outcome.ts';
import { readBuild, type BuildRequest } from './build-request.ts';
import { buildGuest, lookAhead, type Ahead } from './build-steps.ts';
import { terminateInstance } from './delete.ts';
import { externalInstanceEvent } from './external-events.ts';
import type { ComputeHost } from './host.ts';
import { onInstance, workOf } from './method.ts';
import { notify, notifyInstance } from './notifications.ts';
import { dropAllocation, endBuild } from './reschedule.ts';

/**
 * Methods that wait for no place of the RPC server: a build has places of its
 * own (max_concurrent_builds), and waits for the event.
 */
export const UNLIMITED_METHODS: ReadonlySet<string> = new Set([
  'build_and_run_instance',
  'external_instance_event',
]);

const RULES = {
  event: 'compute__do_build_and_run_instance',
  revertsTaskState: true,
  recordsFault: true,
} as const;

/** build_and_run_instance, terminate_instance, external_instance_event. */
export function buildMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const { max_concurrent_builds: most } = host.options.DEFAULT;
  const gate = new Gate(most === 0 ? Number.POSITIVE_INFINITY : most);
  return new Map<string, RpcHandler>([
    [
      'build_and_run_instance',
      (request) => {
        const build = readBuild(workOf(host, request));
        // As Nova: the place is taken within the lane, so that nothing else comes to an instance that waits for it.
        return host.lanes.run(build.instance.text('uuid'), () => gate.run(() => buildOne(host, build)));
      },
    ],
    ['terminate_instance', terminateInstance(host)],
    ['external_instance_event', externalInstanceEvent(host)],
  ]);
}

async function buildOne(host: ComputeHost, build: BuildRequest): Promise<void> {
  const ahead = lookAhead(host, build);
  const run: Run = { outcome: 'failed', isEnding: false };
  try {
    await onInstance(host, RULES, build, () => buildAndEnd(host, build, ahead, run));
  } catch (err) {
    if (run.isEnding) throw err;
    // Not even the beginning was written down; another host may have more luck.
    const uuid = build.instance.text('uuid');
    run.outcome = await endBuild(host, build, endingOf(uuid, err));
  } finally {
    if (run.outcome === 'failed') await dropAllocation(host, build);
    // A policy says nothing about this host.
    if (run.outcome !== 'rescheduled_by_policy') host.tracker.buildEnded(run.outcome === 'active');
  }
}

interface Run {
  outcome: Outcome;
  /** True when what a failure leaves is being dealt with, or needs nothing. */
  isEnding: boolean;
}

async function buildAndEnd(host: ComputeHost, build: BuildRequest, ahead: Ahead, run: Run): Promise<void> {
  const { context, instance } = build;
  const uuid = instance.text('uuid');
  if (!(await begin(host, build))) {
    run.isEnding = true;
    return;
  }
  const { name } = imageOf(build.image);
  notify(host, context, { instance, event: 'create', phase: 'start', more: { image_name: name } });
  try {
    await noteRoles(host, build);
    const vifs = await buildGuest(host, build, ahead);
    run.outcome = 'active';
    await host.tracker.note(context, instance);
    host.log.info('instance built', { instance: uuid, ports: vifs.length, request: build.request.requestId });
    notify(host, context, { instance, event: 'create', phase: 'end', more: { message: 'Success' } });
  } catch (err) {
    run.isEnding = true;
    const ending = endingOf(uuid, err);
    host.log.warn('a build failed', { instance: uuid, ending: ending.kind, error: describeChain(err) });
    notifyInstance(host, context, instance, 'create', 'error', err);
    run.outcome = await endBuild(host, build, ending);
  }
}

/** False when somebody has deleted it, or taken it over, before the build began. */
async function begin(host: ComputeHost, build: BuildRequest): Promise<boolean> {
  const { context, instance } = build;
  instance.set('vm_state', 'building').set('task_state', null);
  try {
    await saveInstance(host.conductor, context, instance, { taskState: ['scheduling', null] });
    return true;
  } catch (err) {
    if (!isTakenOver(err) && !isNovaError(err, 'InstanceNotFound')) throw err;
    host.log.info('an instance is not built: it is gone or changed', {
      instance: instance.text('uuid'),
      error: describeChain(err),
    });
    return false;
  }
}

/** Roles of who asked for it: images made of it later say so. Saved with the claim. */
async function noteRoles(host: ComputeHost, build: BuildRequest): Promise<void> {
  const { context, instance } = build;
  await loadFields(host.conductor, context, instance, ['system_metadata']);
  const { roles } = context;
  const names = Array.isArray(roles) ? roles.filter((role) => typeof role === 'string') : [];
  const metadata = instance.texts('system_metadata');
  instance.set('system_metadata', { ...metadata, boot_roles: names.join(',') });
}
