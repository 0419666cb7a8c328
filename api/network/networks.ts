/**
 * `/1.0/networks` and what instances see of networks. Changes run one after
 * the other in one lane.
 */
import { mkdir } from 'node:fs/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { NetworkRow, StringMap } from '../db/rows.ts';
import type { Requestor } from '../events/events.ts';
import type {
  NetworkLeaseWire,
  NetworkPut,
  NetworkStateWire,
  NetworkWire,
  NetworksPost,
} from '../wire/networks.ts';
import { newHwaddr, withDefaults, withRealAddresses } from './auto-addresses.ts';
import { linkKind } from './bridge-link.ts';
import { Firewall } from './firewall.ts';
import { hostInterfaces, interfaceState } from './host-interfaces.ts';
import type { ManagedBridge } from './managed-bridge.ts';
import { renderLeases } from './network-leases.ts';
import { validateNetworkConfig, validateNetworkName } from './network-keys.ts';
import { NetworkTable, missing, taken, urlOf } from './network-table.ts';
import { etagParts, renderInterface, renderNetwork } from './network-views.ts';
import { validateAddresses, validateFilters } from './nic-addresses.ts';
import { NicPlugs, hostFile } from './nic-plugs.ts';
import { isOvs } from './ovs-nics.ts';
import { OvsPorts } from './ovs-ports.ts';
import { Ovsdb } from './ovsdb.ts';
import type { NetworkParts } from './parts.ts';
import { PortBridges } from './port-bridges.ts';
import { rejectVolatile, visible, volatileOf, withoutEmpty } from './stored-config.ts';
import type {
  BridgedNic,
  ManagedNetwork,
  NetworkAdmin,
  NetworkCheck,
  Networks,
  NicOwnerKey,
} from './types.ts';

const LANE = 'networks';

/**
 * Reads the networks and brings them up. One that cannot be brought up is
 * reported as a warning and shown as Unavailable; the others go on.
 */
export async function openNetworks(parts: NetworkParts): Promise<Networks & NetworkAdmin> {
  await mkdir(parts.paths.networks, { recursive: true, mode: 0o711 });
  const networks = new HostNetworks(parts);
  await networks.open();
  return networks;
}

class HostNetworks implements Networks, NetworkAdmin {
  private readonly parts: NetworkParts;
  private readonly plugs: NicPlugs;
  private readonly lanes = new Lanes();
  private readonly table: NetworkTable;
  private readonly portBridges: PortBridges;
  private isPruned = false;

  constructor(parts: NetworkParts) {
    this.parts = parts;
    const firewall = new Firewall(parts.runTool, parts.log);
    this.table = new NetworkTable(parts, firewall);
    this.portBridges = new PortBridges(parts.runTool, parts.paths.state);
    this.plugs = new NicPlugs({
      ...parts,
      ovs: new OvsPorts(new Ovsdb({ address: parts.ovsConnection }), parts.paths.state),
      portBridges: this.portBridges,
      firewall,
      bridge: (name) => this.table.bridges.get(name) ?? null,
      managed: (name) => this.managed(name),
    });
  }

  async open(): Promise<void> {
    await this.table.open();
    await this.plugs.load();
  }

  managed(name: string): ManagedNetwork | null {
    const row = this.table.rows.get(name);
    return row === undefined || row.status === 'Pending' ? null : row;
  }

  async needsChecksums(nic: BridgedNic): Promise<boolean> {
    return isOvs(nic) && (await this.plugs.ovs.needsChecksums(nic));
  }

  async plug(nic: BridgedNic): Promise<void> {
    if (nic.network !== null && this.table.broken.has(nic.network)) {
      throw new Fault('unavailable', `network "${nic.network}" is not up; see lxc warning list`);
    }
    await this.plugs.plug(nic);
  }

  plugged(nic: BridgedNic): Promise<void> {
    return this.plugs.plugged(nic);
  }

  unplug(nic: BridgedNic): Promise<void> {
    return this.plugs.unplug(nic);
  }

  validateNic(config: StringMap, self?: NicOwnerKey): void {
    const name = config['network'] ?? '';
    if (name === '') {
      if (config['nictype'] === 'bridged') validateFilters(config);
      return;
    }
    const network = this.managed(name);
    if (network === null)
      throw new Fault('bad_request', `Failed loading network "${name}": Network not found`);
    validateAddresses(network, config, () => this.parts.reservations(name), self ?? null);
  }

  async forget(project: string, instance: string): Promise<void> {
    const bridges = [...this.table.bridges.values()].flatMap((bridge): [ManagedBridge, ManagedNetwork][] => {
      const network = this.managed(bridge.name);
      return network === null ? [] : [[bridge, network]];
    });
    await this.plugs.forget(project, instance, bridges);
  }

  async list(): Promise<NetworkWire[]> {
    const rows = [...this.table.rows.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const interfaces = await hostInterfaces(this.parts);
    const others = interfaces.filter((one) => !this.table.rows.has(one.name));
    return [
      ...rows.map((row) => this.render(row)),
      ...(await Promise.all(others.map((one) => renderInterface(one, this.parts.users(one.name))))),
    ];
  }

  async get(name: string): Promise<NetworkWire> {
    const row = this.table.rows.get(name);
    if (row !== undefined) return this.render(row);
    const one = (await hostInterfaces(this.parts)).find((candidate) => candidate.name === name);
    if (one === undefined) throw missing();
    return renderInterface(one, this.parts.users(name));
  }

  private render(row: NetworkRow): NetworkWire {
    return renderNetwork(row, this.parts.users(row.name), this.table.broken.has(row.name));
  }

  etagParts(network: NetworkWire): unknown {
    return etagParts(network);
  }

  create(request: NetworksPost, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const { name } = request;
      const type = (request.type ?? '') === '' ? 'bridge' : (request.type ?? 'bridge');
      validateNetworkName(name);
      if (this.table.rows.has(name)) throw taken();
      let config = withoutEmpty(request.config ?? {});
      rejectVolatile(config);
      validateNetworkConfig(type, config);
      if (type === 'bridge') {
        if ((await linkKind(name)) !== 'none') {
          throw new Fault('bad_request', `network "${name}": an interface of that name exists on the host`);
        }
        config = await withRealAddresses(this.parts, withDefaults(config), this.table.otherConfigs(name));
        validateNetworkConfig(type, config);
        config = { ...config, 'volatile.bridge.hwaddr': newHwaddr() };
      }
      const description = request.description ?? '';
      await broughtUp(name, () => this.table.make({ name, type, description, config, status: 'Pending' }));
      this.tell('created', name, requestor);
    });
  }

  replace(name: string, request: NetworkPut, requestor: Requestor, check?: NetworkCheck): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const row = this.table.get(name);
      check?.(this.render(row));
      await this.change(row, request.config ?? {}, request.description ?? '', requestor);
    });
  }

  merge(name: string, request: NetworkPut, requestor: Requestor, check?: NetworkCheck): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const row = this.table.get(name);
      check?.(this.render(row));
      const config = { ...visible(row.config), ...request.config };
      await this.change(row, config, request.description ?? row.description, requestor);
    });
  }

  rename(name: string, to: string, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const row = this.table.get(name);
      validateNetworkName(to);
      this.refuseUsed(name);
      if (this.table.rows.has(to)) throw taken();
      if (row.type === 'bridge' && (await linkKind(to)) !== 'none') {
        throw new Fault(
          'bad_request',
          `rename network to "${to}": an interface of that name exists on the host`,
        );
      }
      await this.table.rename(row, to);
      this.tell('renamed', to, requestor, { old_name: name });
    });
  }

  remove(name: string, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      this.table.get(name);
      this.refuseUsed(name);
      await this.table.erase(name);
      this.tell('deleted', name, requestor);
    });
  }

  async state(name: string): Promise<NetworkStateWire> {
    const row = this.table.rows.get(name);
    return interfaceState(
      this.parts,
      row === undefined || row.type === 'bridge' ? name : (row.config['parent'] ?? name),
    );
  }

  async leases(name: string, project: string): Promise<NetworkLeaseWire[]> {
    const row = this.table.get(name);
    const bridge = this.table.bridges.get(name);
    if (bridge === undefined) return [];
    return renderLeases(row, project, this.parts.reservations(name), await bridge.leases());
  }

  tend(): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const isFirst = !this.isPruned;
      if (isFirst) await this.prune();
      await this.plugs.ovs.tidy(isFirst);
      for (const row of [...this.table.rows.values()]) {
        const bridge = this.table.bridges.get(row.name);
        if (bridge === undefined || (await bridge.isUp(row.config))) continue;
        if (!this.table.broken.has(row.name))
          this.parts.log.warn('network is down, bringing it up again', { network: row.name });
        await this.table.bringUpOrWarn(row);
      }
    });
  }

  /** Once, when all instances are known: names that a crash has left behind go. */
  private async prune(): Promise<void> {
    this.isPruned = true;
    await this.portBridges.sweep();
    for (const [name, bridge] of this.table.bridges) {
      const known = new Set(this.parts.reservations(name).map((one) => hostFile(one)));
      const gone = bridge.hosts.entries().filter(([file]) => !known.has(file));
      for (const [file] of gone) await bridge.hosts.remove(file);
      if (gone.length > 0) bridge.reload();
    }
  }

  private refuseUsed(name: string): void {
    if (this.parts.users(name).length > 0) throw new Fault('bad_request', 'The network is currently in use');
  }

  private async change(
    row: NetworkRow,
    given: StringMap,
    description: string,
    requestor: Requestor,
  ): Promise<void> {
    let config = withoutEmpty(given);
    // A client that read the network before it was hidden may send it back.
    delete config['volatile.bridge.hwaddr'];
    rejectVolatile(config);
    validateNetworkConfig(row.type, config);
    if (row.type === 'bridge') {
      config = {
        ...(await withRealAddresses(this.parts, config, this.table.otherConfigs(row.name))),
        ...volatileOf(row.config),
      };
      validateNetworkConfig(row.type, config);
    }
    await broughtUp(row.name, () => this.table.change(row, { ...row, config, description }));
    this.tell('updated', row.name, requestor);
  }

  private tell(
    what: string,
    name: string,
    requestor: Requestor,
    context?: Readonly<Record<string, unknown>>,
  ): void {
    this.parts.events.lifecycle(`network-${what}`, urlOf(name), {
      project: 'default',
      requestor,
      ...(context === undefined ? {} : { context }),
    });
  }
}

/** What a tool does not take is what was asked for: a line of raw.dnsmasq, an interface that cannot be bridged. */
async function broughtUp(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (err) {
    if (!isFault(err, 'tool_failed')) throw err;
    throw new Fault('bad_request', `network "${name}" cannot be brought up like this`, { cause: err });
  }
}
