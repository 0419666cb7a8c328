/** What is asked of the host itself: RPC methods of compute 6.x. */
import { describeChain } from '../../process/fault.ts';
import { callContext } from '../cloud/call-context.ts';
import { ImageFault } from '../cloud/image-format.ts';
import { notImplemented } from '../rpc/nova-error.ts';
import type { RpcRequest } from '../rpc/envelope.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { uptimeText } from './host-facts.ts';

/** get_host_uptime, set_host_enabled, cache_images, host_power_action, host_maintenance_mode. */
export function hostMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const refuse: RpcHandler = () => Promise.reject(notImplemented());
  return new Map<string, RpcHandler>([
    ['get_host_uptime', () => Promise.resolve(uptimeText())],
    ['set_host_enabled', (request) => setEnabled(host, request)],
    ['cache_images', (request) => cacheImages(host, request)],
    ['host_power_action', refuse],
    ['host_maintenance_mode', refuse],
  ]);
}

async function setEnabled(host: ComputeHost, request: RpcRequest): Promise<string> {
  const isEnabled = request.args['enabled'] === true;
  try {
    await host.tracker.setDisabled(request.context, !isEnabled);
  } catch (err) {
    // As in Nova: the record says it already, and the next report of the host makes the trait follow.
    host.log.warn('Placement was not told that this host is enabled or disabled', {
      enabled: isEnabled,
      error: describeChain(err),
    });
  }
  host.log.info('this host was enabled or disabled', { enabled: isEnabled, req_id: request.requestId });
  return isEnabled ? 'enabled' : 'disabled';
}

type CacheResult = 'cached' | 'existing' | 'unsupported' | 'error';

/** One after the other: the network is the narrow place, and builds want it too. */
async function cacheImages(host: ComputeHost, request: RpcRequest): Promise<Record<string, CacheResult>> {
  const ids = request.args['image_ids'];
  const results: Record<string, CacheResult> = {};
  if (!Array.isArray(ids)) return results;
  for (const id of ids) {
    if (typeof id === 'string') results[id] = await cacheImage(host, request, id);
  }
  return results;
}

async function cacheImage(host: ComputeHost, request: RpcRequest, id: string): Promise<CacheResult> {
  const call = callContext(request.context, host.signal);
  try {
    const image = await host.cloud.glance.show(call, id);
    const { isFetched } = await host.images.ensure(call, image);
    return isFetched ? 'cached' : 'existing';
  } catch (err) {
    host.log.warn('an image was not cached', { image: id, error: describeChain(err) });
    return err instanceof ImageFault ? 'unsupported' : 'error';
  }
}
