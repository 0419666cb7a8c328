/** The networks of instances: ports at Neutron, and what Nova's database keeps of them. */
import type { Log } from '../../process/log.ts';
import type { Cloud } from '../cloud/cloud.ts';
import type { Conductor } from '../nova/conductor.ts';
import { notImplemented } from '../rpc/nova-error.ts';
import type { Networks } from './host.ts';

export interface NetworksParts {
  readonly conductor: Conductor;
  readonly cloud: Pick<Cloud, 'neutron'>;
  readonly log: Log;
  /** Name of this host at Neutron, that of the service. */
  readonly host: string;
  /** `[neutron] ovs_bridge`. */
  readonly ovsBridge: string;
  /** `network_allocate_retries`. */
  readonly allocateRetries: number;
  /** Aborts when the service is stopping for good. */
  readonly signal: AbortSignal;
}

export function createNetworks(_parts: NetworksParts): Networks {
  const no = (): never => {
    throw notImplemented();
  };
  return {
    allocate: no,
    deallocate: no,
    rebind: no,
    refresh: no,
    cached: no,
    attach: no,
    detach: no,
    forget: no,
  };
}
