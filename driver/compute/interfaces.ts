/** Interfaces that come and go while an instance is there. */
import { notImplemented } from '../rpc/nova-error.ts';
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';

/** attach_interface, detach_interface, add_fixed_ip_to_instance, remove_fixed_ip_from_instance. */
export function interfaceMethods(_host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const no: RpcHandler = () => Promise.reject(notImplemented());
  return new Map([
    ['attach_interface', no],
    ['detach_interface', no],
    ['add_fixed_ip_to_instance', no],
    ['remove_fixed_ip_from_instance', no],
  ]);
}
