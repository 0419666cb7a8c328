/**
 * The parts every method of the compute service works with. Made once by
 * service.ts; methods get all of it as one value.
 */
import type { ComputeOptions } from '../../config/options/compute.ts';
import type { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import type { Cloud } from '../cloud/cloud.ts';
import type { ImageCache } from '../cloud/image-cache.ts';
import type { NetworkInfo, Vif } from '../cloud/vif.ts';
import type { Conductor } from '../nova/conductor.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { Guests } from '../lxd/guest-types.ts';
import type { RpcClient } from '../rpc/client.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { Notifier } from '../rpc/notifier.ts';

export {
  POWER,
  type Capacity,
  type ConsoleAddress,
  type Diagnostics,
  type Guest,
  type Guests,
  type PowerState,
  type RebootOptions,
  type RescueRequest,
  type SpawnRequest,
} from '../lxd/guest-types.ts';

/** Usage of this host: what is claimed for whom, and what is reported of it. */
export interface Tracker {
  /** Uuid and integer id of the ComputeNode. */
  readonly node: { readonly uuid: string; readonly id: number; readonly name: string };
  /**
   * Puts the instance on this host: sets host, node, launched_on (and
   * compute_id where the object knows it), saves it, adds its usage.
   */
  claim(context: RpcContext, instance: NovaObject): Promise<void>;
  /** Takes a claim back: host and node (and compute_id) null and saved, usage removed. */
  abort(context: RpcContext, instance: NovaObject): Promise<void>;
  /** Counts the instance as it is now: its states changed. */
  note(context: RpcContext, instance: NovaObject): Promise<void>;
  /** Counts it no more. */
  drop(context: RpcContext, uuid: string): Promise<void>;
  buildEnded(isGood: boolean): void;
  /** A whole report of the host: ComputeNode, Placement. */
  update(context: RpcContext, isStart?: boolean): Promise<void>;
  /** COMPUTE_STATUS_DISABLED on or off. */
  setDisabled(context: RpcContext, isDisabled: boolean): Promise<void>;
}

/** The networks of instances: ports at Neutron and the info cache in Nova's database. */
export interface Networks {
  /** Looks up what allocate() of the same `wanted` needs, beside other work; allocate() tells what was wrong. */
  prepare(context: RpcContext, instance: NovaObject, wanted: NetworksWanted): void;
  /** Ports made or taken for a build; the cache is saved. */
  allocate(context: RpcContext, instance: NovaObject, wanted: NetworksWanted): Promise<NetworkInfo>;
  /**
   * Ports deleted, or given back to their users. Harmless when there are none.
   * `requests`: those of a build that failed; ports the cache knows nothing of may be its user's.
   */
  deallocate(context: RpcContext, instance: NovaObject, requests?: unknown): Promise<void>;
  /** Existing ports bound to this host: after a reschedule, before a start on another host. */
  rebind(context: RpcContext, instance: NovaObject): Promise<NetworkInfo>;
  /** Asks Neutron anew and saves the cache. With `portId`, that VIF alone. */
  refresh(context: RpcContext, instance: NovaObject, portId?: string): Promise<NetworkInfo>;
  /** What the cache says; read from the database when the instance came without it. */
  cached(context: RpcContext, instance: NovaObject): Promise<NetworkInfo>;
  attach(context: RpcContext, instance: NovaObject, wanted: InterfaceWanted): Promise<Vif>;
  detach(context: RpcContext, instance: NovaObject, vif: Vif): Promise<void>;
  /** The VIF is gone at Neutron: it goes from the cache. */
  forget(context: RpcContext, instance: NovaObject, portId: string): Promise<void>;
}

export interface NetworksWanted {
  /** Primitive of NetworkRequestList, or null. */
  readonly requests: unknown;
  readonly securityGroups: readonly string[];
}

export interface InterfaceWanted {
  readonly networkId: string | null;
  readonly portId: string | null;
  readonly requestedIp: string | null;
  readonly tag: string | null;
}

export interface ExternalEvent {
  readonly name: string;
  readonly tag: string;
}

/** Waiting for events that Neutron sends through nova-api. */
export interface EventWaiters {
  /** Register before what triggers them; then wait or give up. */
  expect(instance: string, events: readonly ExternalEvent[]): ExpectedEvents;
  /** True when somebody waited for it. */
  deliver(instance: string, event: ExternalEvent & { readonly status: string }): boolean;
  /** All who wait for this instance fail now. */
  cancel(instance: string): void;
  cancelAll(): void;
}

export interface ExpectedEvents {
  /** Resolves when all came as completed. Fault timeout, or conflict when one came as failed. */
  wait(timeoutMs: number): Promise<void>;
  /** Stops waiting; harmless afterwards. */
  forget(): void;
}

export interface ComputeHost {
  /** The service's name in Nova. */
  readonly name: string;
  readonly options: ComputeOptions;
  readonly log: Log;
  readonly conductor: Conductor;
  /** Casts to ourselves and to peers. */
  readonly client: RpcClient;
  readonly notifier: Notifier;
  readonly cloud: Cloud;
  readonly images: ImageCache;
  readonly guests: Guests;
  readonly tracker: Tracker;
  readonly networks: Networks;
  readonly events: EventWaiters;
  /** One lane per instance uuid. */
  readonly lanes: Lanes;
  /** Aborts when the service is stopping for good. */
  readonly signal: AbortSignal;
}
