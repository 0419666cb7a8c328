/**
 * Nics of type `ovs`: their ports, and what becomes of these when the daemon
 * or Open vSwitch was away.
 *
 * A note on disk is written before a port is made and goes after it. While Open
 * vSwitch cannot be asked, ports and notes of nics that are gone stay, and tidy()
 * takes them away later: stopping a container must not depend on it.
 */
import { Fault, describeChain, isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import type { StringMap } from '../db/rows.ts';
import { containerName } from '../paths.ts';
import { linkKind } from './bridge-link.ts';
import type { NicNote } from './nic-link.ts';
import { rateOf } from './nic-rules.ts';
import type { OvsBridge, OvsPort, OvsPorts } from './ovs-ports.ts';
import type { BridgedNic } from './types.ts';

const EXTERNAL_ID = 'ovs.external_ids.';

export interface Notes {
  get(hostName: string): NicNote | null;
  all(): readonly NicNote[];
  put(note: NicNote): Promise<void>;
  drop(hostName: string): Promise<void>;
}

export interface OvsNicParts {
  readonly ports: OvsPorts;
  readonly notes: Notes;
  readonly log: Log;
}

export function isOvs(nic: BridgedNic): boolean {
  return nic.network === null && nic.config['nictype'] === 'ovs';
}

/** The port of a nic. Pure. */
export function portOf(nic: BridgedNic): OvsPort {
  const externalIds: Record<string, string> = {};
  for (const [key, value] of Object.entries(nic.config)) {
    if (key.startsWith(EXTERNAL_ID) && value !== '') externalIds[key.slice(EXTERNAL_ID.length)] = value;
  }
  return {
    name: nic.hostName,
    bridge: nic.parent,
    instance: containerName(nic.project, nic.instance),
    externalIds,
    mtu: mtuOf(nic.config),
    ingressBits: rateOf(nic.config, 'limits.ingress'),
    egressBits: rateOf(nic.config, 'limits.egress'),
  };
}

function mtuOf(config: StringMap): number | null {
  const text = config['mtu'] ?? '';
  return text === '' ? null : Number(text);
}

/** Fault bad_request for a limit that nothing would keep. */
function refuseLostLimit(nic: BridgedNic, bridge: OvsBridge): void {
  if (bridge.limitsEgress || rateOf(nic.config, 'limits.egress') === 0) return;
  throw new Fault(
    'bad_request',
    `device "${nic.device}": limits.egress cannot be kept on OVS bridge "${nic.parent}", whose frames pass through a program (datapath_type=netdev); use a QoS policy of Neutron`,
  );
}

export class OvsNics {
  private readonly parts: OvsNicParts;
  /** One lane for each link: tidying must not meet a start. */
  private readonly lanes = new Lanes();

  constructor(parts: OvsNicParts) {
    this.parts = parts;
  }

  /** As Networks.needsChecksums(). */
  async needsChecksums(nic: BridgedNic): Promise<boolean> {
    const bridge = await this.parts.ports.bridge(nic.parent);
    refuseLostLimit(nic, bridge);
    return bridge.needsChecksums;
  }

  /** The link must be there. Faults as OvsPorts.add(), and bad_request for a limit that cannot be kept. */
  add(nic: BridgedNic, plain: NicNote): Promise<void> {
    return this.lanes.run(nic.hostName, async () => {
      const port = portOf(nic);
      // A change of limits comes here alone.
      if (port.egressBits > 0) refuseLostLimit(nic, await this.parts.ports.bridge(nic.parent));
      await this.parts.notes.put({ ...plain, port });
      await this.parts.ports.add(port);
    });
  }

  /** Never fails because of Open vSwitch: what it cannot do now is done later. */
  remove(note: NicNote): Promise<void> {
    return this.lanes.run(note.hostName, () => this.removeNow(note.hostName));
  }

  /**
   * Takes away ports whose nics are gone, and puts back those that vanished
   * from the database. `all`: also ports of ours without a note.
   */
  async tidy(all: boolean): Promise<void> {
    const noted = this.parts.notes.all().filter((note) => note.port !== null);
    if (noted.length === 0 && !all) return;
    let ours: readonly string[];
    try {
      ours = await this.parts.ports.ours();
    } catch (err) {
      if (!isFault(err)) throw err;
      const facts = { ports: noted.length, error: describeChain(err) };
      if (noted.length > 0) this.parts.log.warn('Open vSwitch cannot be asked about its ports', facts);
      return;
    }
    const names = new Set([...noted.map((note) => note.hostName), ...(all ? ours : [])]);
    for (const name of names) await this.lanes.run(name, () => this.tidyOne(name, ours.includes(name)));
  }

  private async tidyOne(hostName: string, isThere: boolean): Promise<void> {
    const port = this.parts.notes.get(hostName)?.port ?? null;
    if ((await linkKind(hostName)) === 'none') {
      await this.removeNow(hostName);
    } else if (port !== null && !isThere) {
      this.parts.log.warn('a port has vanished from Open vSwitch and is put back', { port: hostName });
      await this.putBack(port);
    }
  }

  private async putBack(port: OvsPort): Promise<void> {
    try {
      await this.parts.ports.add(port);
    } catch (err) {
      if (!isFault(err)) throw err;
      const facts = { port: port.name, bridge: port.bridge, error: describeChain(err) };
      this.parts.log.warn('a port could not be put back into Open vSwitch', facts);
    }
  }

  private async removeNow(hostName: string): Promise<void> {
    try {
      await this.parts.ports.remove(hostName);
    } catch (err) {
      if (!isFault(err)) throw err;
      this.parts.log.warn('a port stays in Open vSwitch until it can be asked again', {
        port: hostName,
        error: describeChain(err),
      });
      return;
    }
    await this.parts.notes.drop(hostName);
  }
}
