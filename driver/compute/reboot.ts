/** Reboots: soft ones are a clean end and a start, hard ones make the container's definition anew. */
import { describeChain } from '../../process/fault.ts';
import { isTakenOver, saveInstance } from '../nova/instances.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import { readInstance } from '../lxd/nova-instance.ts';
import type { NetworkInfo } from '../cloud/vif.ts';
import { POWER, type ComputeHost } from './host.ts';
import type { Work } from './method.ts';
import { notifyInstance } from './notifications.ts';
import { failed, loadWhole, noteFault, powerNow, shutdownTimeout } from './outcome.ts';

interface States {
  readonly allowed: readonly string[];
  readonly pending: string;
  readonly started: string;
}

export const SOFT_STATES: States = {
  allowed: ['rebooting', 'reboot_pending', 'reboot_started'],
  pending: 'reboot_pending',
  started: 'reboot_started',
};

export const HARD_STATES: States = {
  allowed: ['rebooting_hard', 'reboot_pending_hard', 'reboot_started_hard'],
  pending: 'reboot_pending_hard',
  started: 'reboot_started_hard',
};

export async function rebootInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  const isHard = work.args['reboot_type'] !== 'SOFT';
  const states = isHard ? HARD_STATES : SOFT_STATES;
  await loadWhole(host, work);
  const vifs = await host.networks.refresh(context, instance);
  notifyInstance(host, context, instance, 'reboot', 'start');
  instance.set('power_state', await host.guests.power(call, instance.text('uuid')));
  instance.set('task_state', states.pending);
  await saveInstance(host.conductor, context, instance, { taskState: states.allowed });
  // A rescued instance stays one.
  const vmState = instance.text('vm_state') === 'rescued' ? 'rescued' : 'active';
  try {
    instance.set('task_state', states.started);
    await saveInstance(host.conductor, context, instance, { taskState: [states.pending] });
    await reboot(host, work, isHard, vifs);
  } catch (err) {
    await afterFailure(host, work, err);
  }
  await finish(host, work, vmState);
  notifyInstance(host, context, instance, 'reboot', 'end');
}

async function reboot(host: ComputeHost, work: Work, isHard: boolean, vifs: NetworkInfo): Promise<void> {
  await host.guests.reboot(work.call, readInstance(work.instance.toPrimitive()), {
    hard: isHard,
    timeoutS: isHard ? 0 : await shutdownTimeout(host, work),
    vifs,
  });
}

/** An instance that runs all the same is no failure but a fault; any other is in error, and the error goes on. */
async function afterFailure(host: ComputeHost, work: Work, err: unknown): Promise<void> {
  const { context, instance } = work;
  // Differs: Nova would write over what somebody else has taken over.
  if (isTakenOver(err)) throw err;
  // Nobody can be asked any more how the guest is; the next start goes on from the task.
  if (host.signal.aborted) throw err;
  const power = await powerNow(host, work).catch(() => POWER.noState);
  if (power !== POWER.running) {
    await failed(host, work, err);
    throw err;
  }
  host.log.warn('a reboot failed, but the instance runs', {
    instance: instance.text('uuid'),
    error: describeChain(err),
  });
  await noteFault(host, work, err);
  notifyInstance(host, context, instance, 'reboot', 'error', err);
}

async function finish(host: ComputeHost, work: Work, vmState: string): Promise<void> {
  const { context, instance } = work;
  instance.set('power_state', await powerNow(host, work));
  instance.set('vm_state', vmState);
  instance.set('task_state', null);
  try {
    await saveInstance(host.conductor, context, instance);
  } catch (err) {
    if (!isNovaError(err, 'InstanceNotFound')) throw err;
    host.log.warn('an instance vanished while it was rebooted', { instance: instance.text('uuid') });
  }
}
