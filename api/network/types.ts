/** What instances see of the network side. */
import type { StringMap } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import type {
  NetworkLeaseWire,
  NetworkPut,
  NetworkStateWire,
  NetworkWire,
  NetworksPost,
} from '../wire/networks.ts';

/** A nic device after its network has been looked up. */
export interface BridgedNic {
  readonly project: string;
  readonly instance: string;
  readonly device: string;
  /** Managed network, or null for a bridge that is not ours. */
  readonly network: string | null;
  /** The bridge interface on the host. */
  readonly parent: string;
  readonly hostName: string;
  readonly hwaddr: string;
  readonly config: StringMap;
}

export interface ManagedNetwork {
  readonly name: string;
  readonly type: string;
  readonly config: StringMap;
}

/** Names one nic; its own addresses are not taken. */
export interface NicOwnerKey {
  readonly project: string;
  readonly instance: string;
  readonly device: string;
}

export interface Networks {
  /** null when there is no managed network of that name. */
  managed(name: string): ManagedNetwork | null;
  /**
   * True when the guest must compute the checksums of what it sends, since what
   * its frames pass through does not. Faults bad_request and unavailable of a
   * nic whose OVS bridge is not there. Costs nothing for nics of other types.
   */
  needsChecksums(nic: BridgedNic): Promise<boolean>;
  /**
   * Before start: lease files and filters of the nic (nftables knows it by host
   * name). Called again with other settings for a live change, `plugged` after it.
   */
  plug(nic: BridgedNic): Promise<void>;
  /** After start: what needs the link to exist (traffic limits, isolation, vlan, routes, ports of OVS bridges). */
  plugged(nic: BridgedNic): Promise<void>;
  /** After stop or removal. Harmless when there is nothing. */
  unplug(nic: BridgedNic): Promise<void>;
  /**
   * Fault bad_request for an address outside the network or a taken one, for an
   * unknown network and for filters that cannot be. Pure checks only.
   */
  validateNic(config: StringMap, self?: NicOwnerKey): void;
  /** At delete, rename (old name) and removal of the nics of an instance: names, leases and filters go. */
  forget(project: string, instance: string): Promise<void>;
}

export type NetworkCheck = (network: NetworkWire) => void;

/** The administrator's side (`/1.0/networks`). Changes are done, in the database and on the host, when they resolve. */
export interface NetworkAdmin {
  /** Managed networks by name, then the host's other interfaces. */
  list(): Promise<NetworkWire[]>;
  /** Fault not_found. */
  get(name: string): Promise<NetworkWire>;
  /** What the entity tag is made of. */
  etagParts(network: NetworkWire): unknown;
  /** Faults bad_request, already_exists, not_implemented. */
  create(request: NetworksPost, requestor: Requestor): Promise<void>;
  /**
   * PUT: these keys and no others. `check` is shown the network when its turn
   * has come, and may refuse (an entity tag).
   */
  replace(name: string, request: NetworkPut, requestor: Requestor, check?: NetworkCheck): Promise<void>;
  /** PATCH: these keys, the others as they are; '' removes one. */
  merge(name: string, request: NetworkPut, requestor: Requestor, check?: NetworkCheck): Promise<void>;
  /** Fault bad_request while it is used. */
  rename(name: string, to: string, requestor: Requestor): Promise<void>;
  /** Fault bad_request while it is used. */
  remove(name: string, requestor: Requestor): Promise<void>;
  /** Of managed networks and of any interface of the host. */
  state(name: string): Promise<NetworkStateWire>;
  leases(name: string, project: string): Promise<NetworkLeaseWire[]>;
  /** Brings up what should be up and is not (a dead dnsmasq, a removed link); call it now and then. */
  tend(): Promise<void>;
}
