/** Consoles, diagnostics and the admin password. */
import type { RpcHandler } from '../rpc/server.ts';
import type { ComputeHost } from './host.ts';

export function consoleMethods(_host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  return new Map();
}
