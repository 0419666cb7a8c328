/**
 * The host side of bridged and p2p nics: names and addresses for dnsmasq,
 * spoof filters, limits, isolation, vlans and routes.
 *
 * What was set beyond a plain link is noted in a small file per nic before it
 * is done, so that it can be taken back after a crash of the daemon. A plain
 * nic costs one look into memory, and one small file at its first start.
 */
import { mkdir, readFile, readdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../../process/fault.ts';
import { containerName } from '../paths.ts';
import { listOf } from './addresses.ts';
import { linkKind } from './bridge-link.ts';
import { isMissing } from './dnsmasq.ts';
import type { HostEntry } from './host-files.ts';
import type { BridgeParts, ManagedBridge } from './managed-bridge.ts';
import { chooseIpv4, staticAddress } from './nic-addresses.ts';
import type { NicNote } from './nic-link.ts';
import { applyLink, clearLimits } from './nic-link.ts';
import type { NicFilter } from './nic-rules.ts';
import { rateOf, slaacAddress, wantsFilter } from './nic-rules.ts';
import { bridgeSubnet, isInterfaceName, isOn } from './network-keys.ts';
import { OvsNics, isOvs } from './ovs-nics.ts';
import type { OvsPorts } from './ovs-ports.ts';
import type { Reservation } from './parts.ts';
import type { PortBridges } from './port-bridges.ts';
import type { BridgedNic, ManagedNetwork } from './types.ts';

export interface PlugParts extends BridgeParts {
  readonly ovs: OvsPorts;
  readonly portBridges: PortBridges;
  readonly bridge: (network: string) => ManagedBridge | null;
  readonly managed: (network: string) => ManagedNetwork | null;
  readonly reservations: (network: string) => readonly Reservation[];
}

export class NicPlugs {
  private readonly parts: PlugParts;
  private readonly folder: string;
  private readonly notes = new Map<string, NicNote>();
  readonly ovs: OvsNics;

  constructor(parts: PlugParts) {
    this.parts = parts;
    this.ovs = new OvsNics({
      ...parts,
      ports: parts.ovs,
      notes: {
        get: (hostName) => this.notes.get(hostName) ?? null,
        all: () => [...this.notes.values()],
        put: (note) => this.note(note),
        drop: (hostName) => this.forgetNote(hostName),
      },
    });
    // No network can have this name.
    this.folder = join(parts.paths.networks, '.nics');
  }

  /** Reads the notes of an earlier run; nics whose link is gone are cleaned up. */
  async load(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    for (const file of await readdir(this.folder)) {
      const note = parseNote(await readFile(join(this.folder, file), 'utf8'));
      if (note === null) await this.dropFile(file);
      else this.notes.set(note.hostName, note);
    }
    for (const note of [...this.notes.values()]) {
      // Open vSwitch may not be up yet: its ports are tidied later.
      if (note.port === null && (await linkKind(note.hostName)) === 'none') await this.takeBack(note);
    }
  }

  async plug(nic: BridgedNic): Promise<void> {
    if (!isInterfaceName(nic.hostName)) {
      throw new Fault('bad_request', `"${nic.hostName.slice(0, 40)}" is not a name of an interface`);
    }
    if (isOvs(nic)) return;
    if (makesParent(nic)) await this.parts.portBridges.hold(nic.parent, nic.hostName);
    const addresses = await this.addressesOf(nic);
    await this.writeHost(nic, addresses);
    if (isAlone(nic)) return;
    const before = this.notes.get(nic.hostName);
    if (wantsFilter(nic.config)) {
      await this.note({ ...noteOf(nic), ...pick(before), hasFilter: true });
      await this.parts.firewall.applyNic(filterOf(nic, addresses));
    } else if (before?.hasFilter === true) {
      await this.parts.firewall.removeNic(nic.hostName, this.isLastFilter(nic.hostName));
      await this.note({ ...before, hasFilter: false });
    }
  }

  async plugged(nic: BridgedNic): Promise<void> {
    if (isOvs(nic)) {
      await this.ovs.add(nic, noteOf(nic));
      return;
    }
    if (isAlone(nic)) await this.limitAlone(nic);
    const before = this.notes.get(nic.hostName) ?? noteOf(nic);
    const routes4 = [...listOf(nic.config['ipv4.routes']), ...listOf(nic.config['ipv4.routes.external'])];
    const routes6 = [...listOf(nic.config['ipv6.routes']), ...listOf(nic.config['ipv6.routes.external'])];
    const hasLimit = rateOf(nic.config, 'limits.ingress') > 0;
    const hasVlan = (nic.config['vlan'] ?? nic.config['vlan.tagged'] ?? '') !== '';
    const next: NicNote = { ...before, hasLimit, hasVlan, routes4, routes6 };
    // Both the old and the new routes until the change is through.
    await this.note({
      ...next,
      routes4: union(before.routes4, routes4),
      routes6: union(before.routes6, routes6),
    });
    if (before.hasLimit) await clearLimits(this.parts, nic.hostName);
    await applyLink(this.parts, nic, before, next);
    await this.note(next);
  }

  /** The link is going or gone; the dnsmasq entry stays as long as the instance has the device. */
  async unplug(nic: BridgedNic): Promise<void> {
    const note = this.notes.get(nic.hostName);
    if (note !== undefined) await this.takeBack(note);
    if (makesParent(nic)) await this.parts.portBridges.release(nic.parent, nic.hostName);
  }

  /** Everything of an instance in every network. */
  async forget(
    project: string,
    instance: string,
    bridges: Iterable<[ManagedBridge, ManagedNetwork]>,
  ): Promise<void> {
    const container = containerName(project, instance);
    for (const note of [...this.notes.values()]) {
      if (note.container === container) await this.takeBack(note);
    }
    for (const [bridge, network] of bridges) {
      const files = bridge.hosts.ofInstance(container);
      const hwaddrs = files.flatMap((file) => bridge.hosts.get(file)?.hwaddr ?? []);
      for (const file of files) await bridge.hosts.remove(file);
      if (files.length > 0) bridge.reload();
      await bridge.release(network.config, hwaddrs);
    }
  }

  /** The table of bridges sees nothing of a link that is in none. */
  private async limitAlone(nic: BridgedNic): Promise<void> {
    const bits = rateOf(nic.config, 'limits.egress');
    const before = this.notes.get(nic.hostName);
    if (bits > 0) {
      await this.note({ ...noteOf(nic), ...pick(before), hasFilter: true });
      await this.parts.firewall.applyAlone(nic.hostName, bits);
    } else if (before?.hasFilter === true) {
      await this.parts.firewall.removeAlone(nic.hostName);
      await this.note({ ...before, hasFilter: false });
    }
  }

  private async writeHost(nic: BridgedNic, addresses: NicAddresses): Promise<void> {
    const bridge = nic.network === null ? null : this.parts.bridge(nic.network);
    const network = nic.network === null ? null : this.parts.managed(nic.network);
    if (bridge === null || network === null || nic.hwaddr === '') return;
    const mode = network.config['dns.mode'] ?? '';
    const entry: HostEntry = {
      hwaddr: nic.hwaddr.toLowerCase(),
      ipv4: addresses.ipv4,
      ipv6: addresses.ipv6Lease,
      name: mode === 'dynamic' ? null : dnsName(nic),
      isIgnored: [4, 6].every((family) => nic.config[`ipv${String(family)}.address`] === 'none'),
    };
    if ((await bridge.hosts.write(hostFile(nic), entry)) === 'changed') bridge.reload();
  }

  /** Static addresses, or for a filter the ones the nic is going to get. */
  private async addressesOf(nic: BridgedNic): Promise<NicAddresses> {
    const [text4, text6] = [staticAddress(nic.config, 4), staticAddress(nic.config, 6)];
    const network = nic.network === null ? null : this.parts.managed(nic.network);
    let ipv4 = text4 === 'none' ? null : text4;
    const ipv6 = text6 === 'none' ? null : text6;
    if (text4 === null && network !== null && isOn(nic.config['security.ipv4_filtering'], false)) {
      ipv4 = await this.expectedIpv4(nic, network);
    }
    const subnet6 = network === null ? null : bridgeSubnet(network.config, 6);
    const guessed = text6 === null && subnet6 !== null ? slaacAddress(subnet6, nic.hwaddr) : null;
    const isStateful = network !== null && isOn(network.config['ipv6.dhcp.stateful'], false);
    const isFiltered = isOn(nic.config['security.ipv6_filtering'], false);
    return { ipv4, ipv6: ipv6 ?? guessed, ipv6Lease: ipv6 ?? (isStateful && isFiltered ? guessed : null) };
  }

  private async expectedIpv4(nic: BridgedNic, network: ManagedNetwork): Promise<string | null> {
    const bridge = this.parts.bridge(network.name);
    if (bridge === null || bridgeSubnet(network.config, 4) === null) return null;
    const kept = bridge.hosts.get(hostFile(nic));
    if (kept !== null && kept.hwaddr === nic.hwaddr && kept.ipv4 !== null) return kept.ipv4;
    const leases = await bridge.leases();
    const lease = leases.find((one) => one.hwaddr === nic.hwaddr && !one.address.includes(':'));
    if (lease !== undefined) return lease.address;
    const taken = new Set(leases.map((one) => one.address));
    for (const one of this.parts.reservations(network.name)) if (one.ipv4 !== null) taken.add(one.ipv4);
    for (const [, entry] of bridge.hosts.entries()) if (entry.ipv4 !== null) taken.add(entry.ipv4);
    const chosen = chooseIpv4(network, nic.hwaddr, taken);
    if (chosen === null)
      throw new Fault('conflict', `network "${network.name}" has no free IPv4 address for a filtered nic`);
    return chosen;
  }

  private isLastFilter(hostName: string): boolean {
    return [...this.notes.values()].every(
      (note) => !note.hasFilter || note.hostName === hostName || note.routeDev === note.hostName,
    );
  }

  private async takeBack(note: NicNote): Promise<void> {
    if (note.port !== null) {
      await this.ovs.remove(note);
      return;
    }
    if (note.hasFilter) await this.dropFilter(note);
    const nothing = { ...note, routes4: [], routes6: [] };
    try {
      await applyLink(this.parts, null, note, nothing);
    } catch (err) {
      // The device may be gone, and its routes with it.
      if (!isFault(err)) throw err;
      this.parts.log.debug('routes of a nic not removed', { interface: note.hostName, error: err });
    }
    await this.forgetNote(note.hostName);
  }

  private async dropFilter(note: NicNote): Promise<void> {
    const { firewall } = this.parts;
    if (note.routeDev === note.hostName) await firewall.removeAlone(note.hostName);
    else await firewall.removeNic(note.hostName, this.isLastFilter(note.hostName));
  }

  private async forgetNote(hostName: string): Promise<void> {
    this.notes.delete(hostName);
    await this.dropFile(hostName);
  }

  /** Remembers, in memory and on disk; nothing is kept of a plain nic. */
  private async note(note: NicNote): Promise<void> {
    const isPlain =
      note.port === null &&
      !note.hasFilter &&
      !note.hasLimit &&
      !note.hasVlan &&
      note.routes4.length + note.routes6.length === 0;
    const known = this.notes.get(note.hostName);
    if (isPlain) {
      if (known !== undefined) await this.forgetNote(note.hostName);
      return;
    }
    const text = JSON.stringify(note);
    if (known !== undefined && JSON.stringify(known) === text) return;
    await writeFile(join(this.folder, note.hostName), text, { mode: 0o600 });
    this.notes.set(note.hostName, note);
  }

  private async dropFile(file: string): Promise<void> {
    try {
      await unlink(join(this.folder, file));
    } catch (err) {
      if (!isMissing(err)) throw err;
    }
  }
}

interface NicAddresses {
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  /** Only what DHCPv6 shall hand out. */
  readonly ipv6Lease: string | null;
}

/** Device names are free text. */
export function hostFile(nic: Pick<BridgedNic, 'project' | 'instance' | 'device'>): string {
  const device = encodeURIComponent(nic.device).replaceAll('~', '%7E');
  return `${containerName(nic.project, nic.instance)}.${device}`;
}

/**
 * Differs: LXD writes `<name>.<project>`, from which dnsmasq takes the first
 * part: an instance would answer to the name of one in another project.
 */
function dnsName(nic: Pick<BridgedNic, 'project' | 'instance'>): string {
  return nic.project === 'default' ? nic.instance : `${nic.instance}--${nic.project}`;
}

function filterOf(nic: BridgedNic, addresses: NicAddresses): NicFilter {
  const on = (key: string): boolean => isOn(nic.config[`security.${key}`], false);
  const [v4, v6] = [on('ipv4_filtering'), on('ipv6_filtering')];
  return {
    hostName: nic.hostName,
    hwaddr: nic.hwaddr.toLowerCase(),
    // A forged MAC would walk around the other two.
    mac: on('mac_filtering') || v4 || v6,
    egressBits: rateOf(nic.config, 'limits.egress'),
    ...(v4 ? { ipv4: addresses.ipv4 } : {}),
    ...(v6 ? { ipv6: addresses.ipv6 } : {}),
  };
}

function noteOf(nic: BridgedNic): NicNote {
  return {
    container: containerName(nic.project, nic.instance),
    device: nic.device,
    hostName: nic.hostName,
    routeDev: nic.parent === '' ? nic.hostName : nic.parent,
    hasFilter: false,
    hasLimit: false,
    hasVlan: false,
    routes4: [],
    routes6: [],
    port: null,
  };
}

/** True for a nic of type p2p: its end on the host is in no bridge. */
function isAlone(nic: BridgedNic): boolean {
  return nic.parent === '';
}

/** True for a nic whose bridge is made when nobody else has. */
function makesParent(nic: BridgedNic): boolean {
  return nic.network === null && isOn(nic.config['parent.create'], false);
}

/** What a second plug must not forget. */
function pick(note: NicNote | undefined): Partial<NicNote> {
  return note ?? {};
}

function union(a: readonly string[], b: readonly string[]): string[] {
  return [...new Set([...a, ...b])];
}

/** null for a file cut short by a crash: what it announced was not done yet. */
function parseNote(text: string): NicNote | null {
  try {
    // Written by this class alone; earlier versions knew no ports.
    const note = { port: null, ...(JSON.parse(text) as Omit<NicNote, 'port'>) };
    return isInterfaceName(note.hostName) ? note : null;
  } catch (err) {
    if (err instanceof SyntaxError) return null;
    throw err;
  }
}
