/** The method table of compute 6.x. */
import type { RpcHandler } from '../rpc/server.ts';
import { buildMethods } from './build.ts';
import { consoleMethods } from './consoles.ts';
import { hostMethods } from './host-calls.ts';
import type { ComputeHost } from './host.ts';
import { interfaceMethods } from './interfaces.ts';
import { lifeMethods } from './life.ts';
import { powerMethods } from './power.ts';
import { refusalMethods } from './refusals.ts';

/** Name of each method and what does it. */
export function computeMethods(host: ComputeHost): ReadonlyMap<string, RpcHandler> {
  const methods = new Map<string, RpcHandler>();
  const families = [
    hostMethods(host),
    consoleMethods(host),
    buildMethods(host),
    interfaceMethods(host),
    powerMethods(host),
    lifeMethods(host),
  ];
  for (const family of families) {
    for (const [name, handler] of family) {
      if (methods.has(name)) throw new Error(`method ${name} is in two families`);
      methods.set(name, handler);
    }
  }
  for (const [name, handler] of refusalMethods(host)) {
    if (!methods.has(name)) methods.set(name, handler);
  }
  return methods;
}
