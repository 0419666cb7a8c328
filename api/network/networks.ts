/**
 * The managed networks: rows in memory, bridges on the host.
 *
 * Changes run one after the other in one lane. A row is `Pending` until its
 * bridge is up for the first time: a start that finds such a row undoes it.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { Fault, describeChain, isFault } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import { Undo } from '../../process/undo.ts';
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
import { ManagedBridge } from './managed-bridge.ts';
import { renderLeases } from './network-leases.ts';
import { isInterfaceName, validateNetworkConfig, validateNetworkName } from './network-keys.ts';
import { etagParts, renderInterface, renderNetwork } from './network-views.ts';
import { validateAddresses, validateFilters } from './nic-addresses.ts';
import { NicPlugs, hostFile } from './nic-plugs.ts';
import type { NetworkParts } from './parts.ts';
import { rejectVolatile, visible, volatileOf, withoutEmpty } from './stored-config.ts';
import type { BridgedNic, ManagedNetwork, NetworkAdmin, Networks, NicOwnerKey } from './types.ts';

const LANE = 'networks';
const UNAVAILABLE = 'Network unavailable';

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
  private readonly firewall: Firewall;
  private readonly plugs: NicPlugs;
  private readonly lanes = new Lanes();
  private readonly rows = new Map<string, NetworkRow>();
  private readonly bridges = new Map<string, ManagedBridge>();
  /** Names of bridges that could not be brought up. */
  private readonly broken = new Set<string>();
  private isPruned = false;

  constructor(parts: NetworkParts) {
    this.parts = parts;
    this.firewall = new Firewall(parts.runTool, parts.log);
    this.plugs = new NicPlugs({
      ...parts,
      firewall: this.firewall,
      bridge: (name) => this.bridges.get(name) ?? null,
      managed: (name) => this.managed(name),
    });
  }

  async open(): Promise<void> {
    for (const row of await this.parts.db.tables.networks.all()) this.put(row);
    await this.removeStrays();
    for (const row of [...this.rows.values()]) {
      if (row.status === 'Pending') await this.erase(row.name);
      else await this.bringUpOrWarn(row);
    }
    await this.plugs.load();
  }

  /** Folders without a row: a rename or a delete was cut short by a crash. */
  private async removeStrays(): Promise<void> {
    for (const name of await readdir(this.parts.paths.networks)) {
      if (this.rows.has(name) || !isInterfaceName(name)) continue;
      this.parts.log.warn('removing what a crash left of a network', { network: name });
      const stray = this.newBridge(name);
      await stray.takeDown();
      await stray.removeFiles();
    }
  }

  managed(name: string): ManagedNetwork | null {
    const row = this.rows.get(name);
    return row === undefined || row.status === 'Pending' ? null : row;
  }

  async plug(nic: BridgedNic): Promise<void> {
    if (nic.network !== null && this.broken.has(nic.network)) {
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
    const bridges = [...this.bridges.values()].flatMap((bridge): [ManagedBridge, ManagedNetwork][] => {
      const network = this.managed(bridge.name);
      return network === null ? [] : [[bridge, network]];
    });
    await this.plugs.forget(project, instance, bridges);
  }

  async list(): Promise<NetworkWire[]> {
    const rows = [...this.rows.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const interfaces = await hostInterfaces(this.parts);
    const others = interfaces.filter((one) => !this.rows.has(one.name));
    return [
      ...rows.map((row) => this.render(row)),
      ...(await Promise.all(others.map((one) => renderInterface(one, this.parts.users(one.name))))),
    ];
  }

  async get(name: string): Promise<NetworkWire> {
    const row = this.rows.get(name);
    if (row !== undefined) return this.render(row);
    const one = (await hostInterfaces(this.parts)).find((candidate) => candidate.name === name);
    if (one === undefined) throw missing();
    return renderInterface(one, this.parts.users(name));
  }

  private render(row: NetworkRow): NetworkWire {
    return renderNetwork(row, this.parts.users(row.name), this.broken.has(row.name));
  }

  etagParts(network: NetworkWire): unknown {
    return etagParts(network);
  }

  create(request: NetworksPost, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const { name } = request;
      const type = (request.type ?? '') === '' ? 'bridge' : (request.type ?? 'bridge');
      validateNetworkName(name);
      if (this.rows.has(name)) throw taken();
      let config = withoutEmpty(request.config ?? {});
      rejectVolatile(config);
      validateNetworkConfig(type, config);
      if (type === 'bridge') {
        if ((await linkKind(name)) !== 'none') {
          throw new Fault('bad_request', `network "${name}": an interface of that name exists on the host`);
        }
        config = await withRealAddresses(this.parts, withDefaults(config), this.otherConfigs(name));
        validateNetworkConfig(type, config);
        config = { ...config, 'volatile.bridge.hwaddr': newHwaddr() };
      }
      await this.make({ name, type, description: request.description ?? '', config, status: 'Pending' });
      this.tell('created', name, requestor);
    });
  }

  replace(name: string, request: NetworkPut, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const row = this.ownRow(name);
      await this.change(row, request.config ?? {}, request.description ?? '', requestor);
    });
  }

  merge(name: string, request: NetworkPut, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const row = this.ownRow(name);
      const config = { ...visible(row.config), ...request.config };
      await this.change(row, config, request.description ?? row.description, requestor);
    });
  }

  rename(name: string, to: string, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      const row = this.ownRow(name);
      validateNetworkName(to);
      this.refuseUsed(name);
      if (this.rows.has(to)) throw taken();
      if (row.type === 'bridge' && (await linkKind(to)) !== 'none') {
        throw new Fault(
          'bad_request',
          `rename network to "${to}": an interface of that name exists on the host`,
        );
      }
      await this.renameBridge(row, to);
      this.tell('renamed', to, requestor, { old_name: name });
    });
  }

  remove(name: string, requestor: Requestor): Promise<void> {
    return this.lanes.run(LANE, async () => {
      this.ownRow(name);
      this.refuseUsed(name);
      await this.erase(name);
      await this.parts.warnings.resolve(UNAVAILABLE, urlOf(name));
      this.tell('deleted', name, requestor);
    });
  }

  async state(name: string): Promise<NetworkStateWire> {
    const row = this.rows.get(name);
    return interfaceState(
      this.parts,
      row === undefined || row.type === 'bridge' ? name : (row.config['parent'] ?? name),
    );
  }

  async leases(name: string, project: string): Promise<NetworkLeaseWire[]> {
    const row = this.ownRow(name);
    const bridge = this.bridges.get(name);
    if (bridge === undefined) return [];
    return renderLeases(row, project, this.parts.reservations(name), await bridge.leases());
  }

  tend(): Promise<void> {
    return this.lanes.run(LANE, async () => {
      if (!this.isPruned) await this.prune();
      for (const row of [...this.rows.values()]) {
        const bridge = this.bridges.get(row.name);
        if (bridge === undefined || (await bridge.isUp(row.config))) continue;
        if (!this.broken.has(row.name))
          this.parts.log.warn('network is down, bringing it up again', { network: row.name });
        await this.bringUpOrWarn(row);
      }
    });
  }

  /** Once, when all instances are known: names that a crash has left behind go. */
  private async prune(): Promise<void> {
    this.isPruned = true;
    for (const [name, bridge] of this.bridges) {
      const known = new Set(this.parts.reservations(name).map((one) => hostFile(one)));
      const gone = bridge.hosts.entries().filter(([file]) => !known.has(file));
      for (const [file] of gone) await bridge.hosts.remove(file);
      if (gone.length > 0) bridge.reload();
    }
  }

  private ownRow(name: string): NetworkRow {
    const row = this.rows.get(name);
    if (row === undefined) throw missing();
    return row;
  }

  private put(row: NetworkRow, bridge?: ManagedBridge): void {
    this.rows.set(row.name, Object.freeze({ ...row, config: Object.freeze({ ...row.config }) }));
    if (row.type === 'bridge' && !this.bridges.has(row.name)) {
      this.bridges.set(row.name, bridge ?? this.newBridge(row.name));
    }
  }

  private newBridge(name: string): ManagedBridge {
    return new ManagedBridge({ ...this.parts, firewall: this.firewall }, name);
  }

  private drop(name: string): void {
    this.rows.delete(name);
    this.bridges.delete(name);
    this.broken.delete(name);
  }

  private otherConfigs(name: string): StringMap[] {
    return [...this.rows.values()].filter((row) => row.name !== name).map((row) => row.config);
  }

  private refuseUsed(name: string): void {
    if (this.parts.users(name).length > 0) throw new Fault('bad_request', 'The network is currently in use');
  }

  /** Row, bridge, then the row's status: a crash between leaves a row that says so. */
  private async make(row: NetworkRow): Promise<void> {
    const undo = new Undo();
    try {
      undo.add('remove the network', () => this.erase(row.name));
      await this.parts.db.tables.networks.insert(row);
      this.put(row);
      await this.bringUp(row, {});
      await this.parts.db.tables.networks.update({ name: row.name }, { status: 'Created' });
      this.put({ ...row, status: 'Created' });
      undo.keep();
    } catch (err) {
      await this.rollBack(undo, row.name);
      throw isFault(err, 'already_exists') ? taken() : err;
    }
  }

  /** Harmless for what is half there, or not there. */
  private async erase(name: string): Promise<void> {
    const bridge = this.bridges.get(name);
    if (bridge !== undefined) {
      await bridge.takeDown();
      await bridge.removeFiles();
    }
    await this.parts.db.tables.networks.remove({ name });
    this.drop(name);
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
        ...(await withRealAddresses(this.parts, config, this.otherConfigs(row.name))),
        ...volatileOf(row.config),
      };
      validateNetworkConfig(row.type, config);
    }
    const next: NetworkRow = { ...row, config, description };
    const undo = new Undo();
    try {
      undo.add('bring back the former configuration', () => this.bringUp(row, next.config));
      await this.bringUp(next, row.config);
      await this.parts.db.tables.networks.update({ name: row.name }, { config, description });
      this.put(next);
      undo.keep();
    } catch (err) {
      await this.rollBack(undo, row.name);
      throw err;
    }
    this.tell('updated', row.name, requestor);
  }

  private async renameBridge(row: NetworkRow, to: string): Promise<void> {
    const bridge = this.bridges.get(row.name);
    const moved = bridge === undefined ? undefined : this.newBridge(to);
    const undo = new Undo();
    try {
      if (bridge !== undefined && moved !== undefined) {
        undo.add('bring the network up again', () => this.bringUp(row, {}));
        await bridge.takeDown();
        undo.add('name the folder back', async () => {
          await moved.takeDown();
          await moved.renameFiles(row.name);
        });
        await bridge.renameFiles(to);
        await moved.bringUp(row.config);
      }
      await this.parts.db.tables.networks.update({ name: row.name }, { name: to });
      this.drop(row.name);
      this.put({ ...row, name: to }, moved);
      undo.keep();
    } catch (err) {
      await this.rollBack(undo, row.name);
      throw err;
    }
  }

  private async bringUp(row: NetworkRow, before: StringMap): Promise<void> {
    const failed = await this.bridges.get(row.name)?.bringUp(row.config, before);
    this.broken.delete(row.name);
    if (failed === undefined || failed.length === 0) return;
    await this.parts.warnings.raise({
      type: 'Firewall rules left out',
      severity: 'moderate',
      message: failed.join('; '),
      entityUrl: urlOf(row.name),
    });
  }

  private async bringUpOrWarn(row: NetworkRow): Promise<void> {
    try {
      await this.bringUp(row, {});
      await this.parts.warnings.resolve(UNAVAILABLE, urlOf(row.name));
    } catch (err) {
      if (this.broken.has(row.name)) return;
      this.broken.add(row.name);
      this.parts.log.error('network could not be brought up', { network: row.name, error: err });
      await this.parts.warnings.raise({
        type: UNAVAILABLE,
        severity: 'high',
        message: describeChain(err),
        entityUrl: urlOf(row.name),
      });
    }
  }

  private async rollBack(undo: Undo, network: string): Promise<void> {
    await undo.rollBack((what, err) => {
      this.parts.log.error('undo step failed', { network, what, error: err });
    });
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

function urlOf(name: string): string {
  return `/1.0/networks/${encodeURIComponent(name)}`;
}

function missing(): Fault {
  return new Fault('not_found', 'Network not found');
}

function taken(): Fault {
  return new Fault('already_exists', 'The network already exists');
}
