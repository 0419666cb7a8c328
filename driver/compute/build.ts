/** Building, deleting, and what Neutron tells of an instance's ports. */
import { notImplemented } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';

/** build_and_run_instance, terminate_instance, external_instance_event. */
export function buildMethods(_host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const no: RpcHandler = () => Promise.reject(notImplemented());
  return new Map([
    ['build_and_run_instance', no],
    ['terminate_instance', no],
    ['external_instance_event', no],
  ]);
}
