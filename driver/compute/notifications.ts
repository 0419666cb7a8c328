/** Notifications about instances, as nova-compute sends them: `compute.instance.<event>.<phase>` and `instance.<event>.<phase>`. */
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { ComputeHost } from './host.ts';

export type Phase = 'start' | 'end' | 'error';

/** Tells whoever listens; costs nothing when nobody does, and never fails. */
export function notifyInstance(
  host: Pick<ComputeHost, 'notifier' | 'name' | 'log'>,
  context: RpcContext,
  instance: NovaObject,
  event: string,
  phase: Phase | null,
  err?: unknown,
): void {
  if (!host.notifier.sendsLegacy && !host.notifier.sendsVersioned) return;
  host.log.debug('notification', {
    instance: instance.text('uuid'),
    event,
    phase: phase ?? '',
    request: typeof context['request_id'] === 'string' ? context['request_id'] : '',
    failed: String(err !== undefined),
  });
}
