/** What changes an instance as a whole: RPC methods of compute 6.x. */
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';
import { lifeHandlers } from './outcome.ts';
import { rebuildInstance } from './rebuild.ts';
import { rescueInstance, unrescueInstance } from './rescue.ts';
import { restoreInstance, softDeleteInstance } from './soft-delete.ts';

export function lifeMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  return lifeHandlers(host, {
    soft_delete_instance: softDeleteInstance,
    restore_instance: restoreInstance,
    rescue_instance: rescueInstance,
    unrescue_instance: unrescueInstance,
    rebuild_instance: rebuildInstance,
  });
}
