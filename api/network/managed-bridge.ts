/** One managed bridge while it is up: link, firewall, dnsmasq and its host files. */
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { faultPoint } from '../../process/fault-points.ts';
import type { Log } from '../../process/log.ts';
import type { StringMap } from '../db/rows.ts';
import { formatAddress } from './addresses.ts';
import { bringLinkUp, linkKind, takeLinkDown } from './bridge-link.ts';
import { Dnsmasq, readOrEmpty } from './dnsmasq.ts';
import type { Firewall } from './firewall.ts';
import { HostFiles } from './host-files.ts';
import type { Lease } from './leases.ts';
import { parseLeases, releaseLease } from './leases.ts';
import { bridgeSubnet } from './network-keys.ts';
import type { NetworkParts } from './parts.ts';

export type BridgeParts = Pick<NetworkParts, 'native' | 'runTool' | 'paths'> & {
  readonly log: Log;
  readonly firewall: Firewall;
};

export class ManagedBridge {
  readonly name: string;
  readonly hosts: HostFiles;
  private readonly parts: BridgeParts;
  private readonly folder: string;
  private readonly dnsmasq: Dnsmasq;
  private isLoaded = false;

  constructor(parts: BridgeParts, name: string) {
    this.parts = parts;
    this.name = name;
    this.folder = join(parts.paths.networks, name);
    this.dnsmasq = new Dnsmasq(parts, name, this.folder);
    this.hosts = new HostFiles(this.dnsmasq.files.hosts);
  }

  /**
   * Makes everything fit the configuration; may be called at any time again.
   * Returns what the kernel's firewall could not do.
   */
  async bringUp(config: StringMap, before: StringMap = {}): Promise<string[]> {
    await mkdir(this.folder, { recursive: true, mode: 0o711 });
    if (!this.isLoaded) await this.hosts.load();
    this.isLoaded = true;
    faultPoint('network-create.folder-made');
    await bringLinkUp(this.parts, this.name, config, before);
    faultPoint('network-create.link-up');
    const failed = await this.parts.firewall.applyBridge(this.name, config);
    faultPoint('network-create.rules-set');
    await this.dnsmasq.start(config);
    faultPoint('network-create.dnsmasq-up');
    return failed;
  }

  /** Ends and removes everything but the files. Harmless when there is nothing. */
  async takeDown(): Promise<void> {
    await this.dnsmasq.stop();
    faultPoint('network-delete.dnsmasq-gone');
    await this.parts.firewall.removeBridge(this.name);
    faultPoint('network-delete.rules-removed');
    await takeLinkDown(this.parts, this.name);
    faultPoint('network-delete.link-removed');
  }

  async removeFiles(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** The folder goes with the name; the bridge must be down. */
  async renameFiles(name: string): Promise<void> {
    // The pid of the process that ended says nothing; dnsmasq writes all of these anew.
    await this.dnsmasq.removeFiles();
    await rename(this.folder, join(this.parts.paths.networks, name));
  }

  /** False when the link or a needed dnsmasq is gone. */
  async isUp(config: StringMap): Promise<boolean> {
    if ((await linkKind(this.name)) !== 'bridge') return false;
    const needed = bridgeSubnet(config, 4) !== null || bridgeSubnet(config, 6) !== null;
    return !needed || (await this.dnsmasq.isRunning());
  }

  /** Has dnsmasq read changed or removed host files, soon. */
  reload(): void {
    this.dnsmasq.reload();
  }

  async leases(): Promise<Lease[]> {
    return parseLeases(await readOrEmpty(this.dnsmasq.files.leases));
  }

  /** Gives back the IPv4 leases of these MACs. A failure is logged: the leases end by themselves. */
  async release(config: StringMap, hwaddrs: readonly string[]): Promise<void> {
    const subnet = bridgeSubnet(config, 4);
    if (subnet === null || hwaddrs.length === 0) return;
    const server = formatAddress(4, subnet.address);
    for (const lease of await this.leases()) {
      if (lease.address.includes(':') || !hwaddrs.includes(lease.hwaddr)) continue;
      try {
        await releaseLease(lease, server);
      } catch (err) {
        this.parts.log.warn('lease not given back', {
          network: this.name,
          address: lease.address,
          error: err,
        });
      }
    }
  }
}
