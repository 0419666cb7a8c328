/**
 * The rows of the managed networks in memory with the bridges they stand for.
 * What is here changes the database and the host together, or neither. A row
 * is `Pending` until its bridge is up for the first time: a start that finds
 * such a row undoes it.
 */
import { readdir } from 'node:fs/promises';
import { Fault, describeChain, isFault } from '../../process/fault.ts';
import { faultPoint } from '../../process/fault-points.ts';
import { Undo } from '../../process/undo.ts';
import type { NetworkRow, StringMap } from '../db/rows.ts';
import type { Firewall } from './firewall.ts';
import { ManagedBridge } from './managed-bridge.ts';
import { isInterfaceName } from './network-keys.ts';
import type { NetworkParts } from './parts.ts';

const UNAVAILABLE = 'Network unavailable';

/** The caller sees to it that changes come one after the other. */
export class NetworkTable {
  readonly rows = new Map<string, NetworkRow>();
  readonly bridges = new Map<string, ManagedBridge>();
  /** Names of bridges that could not be brought up. */
  readonly broken = new Set<string>();
  private readonly parts: NetworkParts;
  private readonly firewall: Firewall;

  constructor(parts: NetworkParts, firewall: Firewall) {
    this.parts = parts;
    this.firewall = firewall;
  }

  /** Reads the rows, undoes what a crash left half made, and brings up the rest. */
  async open(): Promise<void> {
    for (const row of await this.parts.db.tables.networks.all()) this.put(row);
    await this.removeStrays();
    for (const row of [...this.rows.values()]) {
      if (row.status === 'Pending') await this.erase(row.name);
      else await this.bringUpOrWarn(row);
    }
  }

  /** Fault not_found. */
  get(name: string): NetworkRow {
    const row = this.rows.get(name);
    if (row === undefined) throw missing();
    return row;
  }

  otherConfigs(name: string): StringMap[] {
    return [...this.rows.values()].filter((row) => row.name !== name).map((row) => row.config);
  }

  /** Row, bridge, then the row's status: a crash between leaves a row that says so. */
  async make(row: NetworkRow): Promise<void> {
    const undo = new Undo();
    try {
      undo.add('remove the network', () => this.erase(row.name));
      await this.parts.db.tables.networks.insert(row);
      faultPoint('network-create.row-stored');
      this.put(row);
      await this.bringUp(row, {});
      await this.parts.db.tables.networks.update({ name: row.name }, { status: 'Created' });
      faultPoint('network-create.row-created');
      this.put({ ...row, status: 'Created' });
      undo.keep();
    } catch (err) {
      await this.rollBack(undo, row.name);
      throw isFault(err, 'already_exists') ? taken() : err;
    }
  }

  /** Harmless for what is half there, or not there. */
  async erase(name: string): Promise<void> {
    const bridge = this.bridges.get(name);
    if (bridge !== undefined) {
      await bridge.takeDown();
      await bridge.removeFiles();
    }
    faultPoint('network-delete.files-removed');
    await this.parts.db.tables.networks.remove({ name });
    faultPoint('network-delete.row-removed');
    this.drop(name);
    await this.parts.warnings.resolve(UNAVAILABLE, urlOf(name));
  }

  /** The new configuration on the host and in the database, or the old one on both. */
  async change(row: NetworkRow, next: NetworkRow): Promise<void> {
    const undo = new Undo();
    try {
      undo.add('bring back the former configuration', () => this.bringUp(row, next.config));
      await this.bringUp(next, row.config);
      const { config, description } = next;
      await this.parts.db.tables.networks.update({ name: row.name }, { config, description });
      this.put(next);
      undo.keep();
    } catch (err) {
      await this.rollBack(undo, row.name);
      throw err;
    }
  }

  /** The bridge is down for a moment: only for networks that nothing uses. */
  async rename(row: NetworkRow, to: string): Promise<void> {
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

  /** Brings up what is down; a failure is reported once and tried again at the next call. */
  async bringUpOrWarn(row: NetworkRow): Promise<void> {
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

  private async rollBack(undo: Undo, network: string): Promise<void> {
    await undo.rollBack((what, err) => {
      this.parts.log.error('undo step failed', { network, what, error: err });
    });
  }
}

export function urlOf(name: string): string {
  return `/1.0/networks/${encodeURIComponent(name)}`;
}

export function missing(): Fault {
  return new Fault('not_found', 'Network not found');
}

export function taken(): Fault {
  return new Fault('already_exists', 'The network already exists');
}
