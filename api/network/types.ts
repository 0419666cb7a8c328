/** What instances see of the network side. */
import type { StringMap } from '../db/rows.ts';

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

export interface Networks {
  /** null when there is no managed network of that name. */
  managed(name: string): ManagedNetwork | null;
  /** Before start: lease files and filters of the nic (nftables knows it by host name). */
  plug(nic: BridgedNic): Promise<void>;
  /** After start: what needs the link to exist (traffic limits, isolation, vlan, routes). */
  plugged(nic: BridgedNic): Promise<void>;
  /** After stop or removal. Harmless when there is nothing. */
  unplug(nic: BridgedNic): Promise<void>;
  /** Fault bad_request for an address outside the network, a taken one, an unknown key. Pure checks only. */
  validateNic(config: StringMap): void;
  /** Names an instance in DNS before it asks for a lease; called at create, rename and delete of its nics. */
  forget(project: string, instance: string): Promise<void>;
}
