/** What changes an instance as a whole: RPC methods of compute 6.x. */
import { notImplemented } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { instanceMethod, LIFE_CYCLE } from './method.ts';

export function lifeMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  return new Map<string, RpcHandler>([
    ['rebuild_instance', instanceMethod(host, LIFE_CYCLE, () => Promise.reject(notImplemented()))],
  ]);
}
