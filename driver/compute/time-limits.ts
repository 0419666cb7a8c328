/** Builds, rescues and reboots that take longer than the options allow. */
import { describeChain } from '../../process/fault.ts';
import { adminContext } from '../nova/context.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { novaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';
import { setError } from './method.ts';
import { noteFault } from './outcome.ts';
import { askSelf, HARD_REBOOT, UNRESCUE } from './own-requests.ts';
import { SOFT_STATES } from './reboot.ts';
import { byFilters, isOlderThan } from './stale-instances.ts';

/** Differs: Nova sets the state alone; here the owner also reads why. */
export function endBuilds(host: ComputeHost): Promise<void> {
  const limitS = host.options.DEFAULT.instance_build_timeout;
  const filters = { vm_state: 'building', host: host.name };
  return overdue(host, { filters, since: 'created_at', limitS }, async (context, instance) => {
    host.log.warn('a build takes too long', { instance: instance.text('uuid') });
    const message = `The build took longer than instance_build_timeout (${String(limitS)} s).`;
    await noteFault(host, { context, instance }, novaError('NovaException', {}, { message }));
    await setError(host, context, instance, false);
  });
}

export function endRescues(host: ComputeHost): Promise<void> {
  const limitS = host.options.DEFAULT.rescue_timeout;
  const filters = { vm_state: 'rescued', host: host.name };
  return overdue(host, { filters, since: 'launched_at', limitS }, async (context, instance) => {
    host.log.info('a rescue is over', { instance: instance.text('uuid') });
    await askSelf(host, context, instance, UNRESCUE);
  });
}

/** A soft reboot that hangs becomes a hard one. */
export function endReboots(host: ComputeHost): Promise<void> {
  const limitS = host.options.DEFAULT.reboot_timeout;
  const filters = { task_state: SOFT_STATES.allowed, host: host.name };
  return overdue(host, { filters, since: 'updated_at', limitS }, async (context, instance) => {
    host.log.warn('a reboot takes too long', { instance: instance.text('uuid') });
    await askSelf(host, context, instance, HARD_REBOOT);
  });
}

interface Overdue {
  readonly filters: Readonly<Record<string, unknown>>;
  /** Field with the time it began. */
  readonly since: string;
  readonly limitS: number;
}

async function overdue(
  host: ComputeHost,
  { filters, since, limitS }: Overdue,
  end: (context: RpcContext, instance: NovaObject) => Promise<void>,
): Promise<void> {
  const found = await byFilters(host, adminContext(), filters, ['system_metadata']);
  for (const instance of found) {
    const at = instance.dateOrNull(since);
    if (at === null || !isOlderThan(at, limitS)) continue;
    try {
      // Its own context: actions are found by the request id.
      await end(adminContext(), instance);
    } catch (err) {
      host.log.warn('an instance over its time was not dealt with', {
        instance: instance.text('uuid'),
        error: describeChain(err),
      });
    }
  }
}
