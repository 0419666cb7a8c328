/** What turns instances on and off: RPC methods of compute 6.x. */
import { notImplemented } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import { POWER, type ComputeHost } from './host.ts';
import { instanceMethod, type Work } from './method.ts';
import { notifyInstance } from './notifications.ts';
import { flagArg, lifeHandlers, loadSystemMetadata, orError, powerOff, settle } from './outcome.ts';
import { rebootInstance } from './reboot.ts';

const OFF: readonly number[] = [POWER.noState, POWER.shutdown, POWER.crashed];
const OLD_STATE = 'old_vm_state';

export function powerMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  return new Map([
    ...lifeHandlers(host, {
      start_instance: startInstance,
      stop_instance: stopInstance,
      reboot_instance: rebootInstance,
      pause_instance: pauseInstance,
      unpause_instance: unpauseInstance,
      suspend_instance: suspendInstance,
      resume_instance: resumeInstance,
    }),
    [
      'trigger_crash_dump',
      instanceMethod(host, { event: 'compute_trigger_crash_dump', recordsFault: true, locks: true }, (work) =>
        triggerCrashDump(host, work),
      ),
    ],
    [
      'inject_network_info',
      instanceMethod(host, { recordsFault: true, locks: true }, (work) =>
        host.networks.refresh(work.context, work.instance).then(() => null),
      ),
    ],
    // Older controllers ask for it; there is nothing inside a guest to reset.
    ['reset_network', instanceMethod(host, { recordsFault: true }, () => Promise.resolve(null))],
  ]);
}

async function startInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  notifyInstance(host, context, instance, 'power_on', 'start');
  const vifs = await host.networks.refresh(context, instance);
  await host.guests.powerOn(call, instance.text('uuid'), vifs);
  await settle(host, work, 'active', ['powering-on']);
  notifyInstance(host, context, instance, 'power_on', 'end');
}

function stopInstance(host: ComputeHost, work: Work): Promise<void> {
  return stop(host, work, flagArg(work, 'clean_shutdown', true));
}

/** For callers that are in the lane of the instance already. */
export async function stop(host: ComputeHost, work: Work, isClean: boolean): Promise<void> {
  const { context, call, instance } = work;
  const power = await host.guests.power(call, instance.text('uuid'));
  // Something else may have seen that it is off and finished the task.
  const expected = OFF.includes(power) ? ['powering-off', null] : ['powering-off'];
  notifyInstance(host, context, instance, 'power_off', 'start');
  await powerOff(host, work, isClean);
  await settle(host, work, 'stopped', expected);
  notifyInstance(host, context, instance, 'power_off', 'end');
}

async function pauseInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  notifyInstance(host, context, instance, 'pause', 'start');
  await host.guests.pause(call, instance.text('uuid'));
  await settle(host, work, 'paused', ['pausing']);
  notifyInstance(host, context, instance, 'pause', 'end');
}

async function unpauseInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  notifyInstance(host, context, instance, 'unpause', 'start');
  await host.guests.unpause(call, instance.text('uuid'));
  await settle(host, work, 'active', ['unpausing']);
  notifyInstance(host, context, instance, 'unpause', 'end');
}

async function suspendInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  const before = instance.text('vm_state');
  await loadSystemMetadata(host, work);
  instance.set('system_metadata', { ...instance.texts('system_metadata'), [OLD_STATE]: before });
  notifyInstance(host, context, instance, 'suspend', 'start');
  await orError(host, work, before, () => host.guests.suspend(call, instance.text('uuid')));
  await settle(host, work, 'suspended', ['suspending']);
  notifyInstance(host, context, instance, 'suspend', 'end');
}

async function resumeInstance(host: ComputeHost, work: Work): Promise<void> {
  const { context, call, instance } = work;
  notifyInstance(host, context, instance, 'resume', 'start');
  await loadSystemMetadata(host, work);
  await host.networks.refresh(context, instance);
  await orError(host, work, instance.text('vm_state'), () => host.guests.resume(call, instance.text('uuid')));
  const { [OLD_STATE]: before = 'active', ...rest } = instance.texts('system_metadata');
  instance.set('system_metadata', rest);
  await settle(host, work, before, ['resuming']);
  notifyInstance(host, context, instance, 'resume', 'end');
}

function triggerCrashDump(host: ComputeHost, { context, instance }: Work): Promise<never> {
  notifyInstance(host, context, instance, 'trigger_crash_dump', 'start');
  return Promise.reject(
    notImplemented('A container has no kernel of its own that could write a crash dump.'),
  );
}
