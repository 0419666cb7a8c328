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
import type { FileTree } from '../lxd/config-drive.ts';
import type { Caller } from '../lxd/client.ts';
import type { NovaInstance } from '../lxd/nova-instance.ts';
import type { Conductor } from '../nova/conductor.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcClient } from '../rpc/client.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { Notifier } from '../rpc/notifier.ts';

/** Nova's power_state numbers; the gaps are Nova's. */
export const POWER = {
  noState: 0,
  running: 1,
  paused: 3,
  shutdown: 4,
  crashed: 6,
  suspended: 7,
} as const;

export type PowerState = (typeof POWER)[keyof typeof POWER];

export interface Guest {
  readonly uuid: string;
  /** On this host: `instance-00000001`. */
  readonly name: string;
  readonly power: PowerState;
}

export interface SpawnRequest {
  readonly instance: NovaInstance;
  /** Image of the daemon it is made from. */
  readonly fingerprint: string;
  readonly vifs: NetworkInfo;
  /** Null when it gets no config drive. */
  readonly drive: FileTree | null;

  /** False leaves it made and off. */
  readonly start: boolean;
  /** Set in the guest after its start; null for none. */
  readonly adminPassword: string | null;
}

export interface RescueRequest {
  readonly instance: NovaInstance;
  readonly fingerprint: string;
  readonly vifs: NetworkInfo;
  readonly drive: FileTree | null;
  readonly password: string | null;
}

export type Diagnostics = Readonly<{
  uptimeS: number;
  cpus: readonly { readonly id: number; readonly timeNs: number }[];
  nics: readonly {
    readonly mac: string;
    readonly device: string;
    readonly rx: {
      readonly octets: number;
      readonly packets: number;
      readonly drop: number;
      readonly errors: number;
    };
    readonly tx: {
      readonly octets: number;
      readonly packets: number;
      readonly drop: number;
      readonly errors: number;
    };
  }[];
  disks: readonly {
    readonly device: string;
    readonly readBytes: number;
    readonly readRequests: number;
    readonly writeBytes: number;
    readonly writeRequests: number;
  }[];
  memory: { readonly maximumMiB: number; readonly usedMiB: number };
}>;

/**
 * What is done to containers; Nova's virt driver. Only instances with Nova's
 * marker are ever seen or touched. By uuid; a guest that is not there is
 * NovaError InstanceNotFound, but destroying it is success.
 */
export interface Guests {
  list(caller: Caller): Promise<readonly Guest[]>;
  /** POWER.noState when it is not there. */
  power(caller: Caller, uuid: string): Promise<PowerState>;
  /** Makes and starts it. After a failure nothing of it is left. */
  spawn(caller: Caller, request: SpawnRequest): Promise<void>;
  /** Harmless when it is gone, or half made. Also what rescue kept of it. */
  destroy(caller: Caller, uuid: string): Promise<void>;
  /** Starts it with these interfaces, which may differ from those it had. Harmless when it runs. */
  powerOn(caller: Caller, uuid: string, vifs: NetworkInfo): Promise<void>;
  /** Clean within `timeoutS`, then by force; 0: by force at once. Harmless when it is off. */
  powerOff(caller: Caller, uuid: string, timeoutS: number): Promise<void>;
  /** Soft: as powerOff with the timeout and start again. Hard: by force, and its definition is made anew. */
  reboot(caller: Caller, instance: NovaInstance, options: RebootOptions): Promise<void>;
  pause(caller: Caller, uuid: string): Promise<void>;
  unpause(caller: Caller, uuid: string): Promise<void>;
  /** Frozen too; told apart from a pause by a key of its own, so that each shows as what Nova asked for. */
  suspend(caller: Caller, uuid: string): Promise<void>;
  resume(caller: Caller, uuid: string): Promise<void>;
  /** Boots another root; the old one is at /mnt/rescued inside. */
  rescue(caller: Caller, request: RescueRequest): Promise<void>;
  unrescue(caller: Caller, uuid: string): Promise<void>;
  /** Running or not. */
  attachInterface(caller: Caller, instance: NovaInstance, vif: Vif): Promise<void>;
  /** Harmless when it is gone. */
  detachInterface(caller: Caller, uuid: string, vif: Pick<Vif, 'id' | 'devname'>): Promise<void>;
  rename(caller: Caller, uuid: string, displayName: string): Promise<void>;
  consoleLog(caller: Caller, uuid: string): Promise<Buffer>;
  /** NovaError InstancePasswordSetFailed when the guest refuses it. */
  setPassword(caller: Caller, uuid: string, password: string): Promise<void>;
  diagnostics(caller: Caller, uuid: string): Promise<Diagnostics>;
  /** Totals of this host, for its ComputeNode and Placement. */
  capacity(caller: Caller): Promise<Capacity>;
}

export interface RebootOptions {
  readonly hard: boolean;
  readonly timeoutS: number;
  readonly vifs: NetworkInfo;
}

export interface Capacity {
  readonly cpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  readonly diskUsedGb: number;
  /** Text of /proc/cpuinfo's kind: shown by the API. */
  readonly cpu: {
    readonly arch: string;
    readonly model: string;
    readonly vendor: string;
    readonly sockets: number;
    readonly cores: number;
    readonly threads: number;
  };
  /** liblxc's: "5.0.2". */
  readonly lxcVersion: string;
}

/** Usage of this host: what is claimed for whom, and what is reported of it. */
export interface Tracker {
  /** Uuid and integer id of the ComputeNode. */
  readonly node: { readonly uuid: string; readonly id: number; readonly name: string };
  /**
   * Puts the instance on this host: sets host, node, launched_on (and
   * compute_id where the object knows it), saves it, adds its usage.
   */
  claim(context: RpcContext, instance: NovaObject): Promise<void>;
  /** Takes a claim back: host, node, launched_on null and saved, usage removed. */
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
  /** Ports made or taken for a build; the cache is saved. */
  allocate(context: RpcContext, instance: NovaObject, wanted: NetworksWanted): Promise<NetworkInfo>;
  /** Ports deleted, or given back to their users. Harmless when there are none. */
  deallocate(context: RpcContext, instance: NovaObject): Promise<void>;
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
