/**
 * This host at Placement: its resource provider with inventories and traits.
 *
 * Placement is read again when the answers are older than
 * `resource_provider_association_refresh`, and written when what is there is
 * not what should be. Traits and classes that operators or others added stay.
 */
import type { ComputeOptions } from '../../config/options/compute.ts';
import type { Log } from '../../process/log.ts';
import type { CallContext } from '../cloud/call-context.ts';
import { hostInventories, hostTraits, type HostTotals } from '../cloud/host-inventory.ts';
import type { Placement } from '../cloud/placement.ts';
import type { ProviderExtras } from './provider-config.ts';

export interface NodeReportParts {
  readonly placement: Placement;
  readonly options: Pick<ComputeOptions, 'DEFAULT' | 'compute'>;
  /** What operators add by files. */
  readonly extras: ProviderExtras;
  readonly log: Log;
  readonly now?: () => number;
}

export interface ReportedNode {
  readonly uuid: string;
  readonly name: string;
}

const SHARED = 'DISK_GB';

export class NodeReport {
  private readonly parts: NodeReportParts;
  private readonly now: () => number;
  /** What was written last, and when Placement was last read; null: read it. */
  private last: { readonly readAt: number; readonly told: string } | null = null;
  /** DISK_GB comes from a provider that several hosts share. */
  private isDiskShared = false;
  private isDisabled = false;

  constructor(parts: NodeReportParts) {
    this.parts = parts;
    this.now = parts.now ?? Date.now;
  }

  /** Fault already_exists when another provider has the host's name; CloudFault and others when Placement is away. */
  async report(
    context: CallContext,
    node: ReportedNode,
    totals: HostTotals,
    isDisabled: boolean,
  ): Promise<void> {
    this.isDisabled = isDisabled;
    const told = JSON.stringify([node, totals, isDisabled]);
    const { last } = this;
    if (last !== null && !this.isOld(last.readAt) && last.told === told) return;
    // Whatever fails below is done whole at the next report.
    this.last = null;
    await this.parts.placement.ensureProvider(context, node.uuid, node.name);
    await this.readAggregates(context, node);
    await this.writeInventories(context, node, totals);
    await this.writeTraits(context, node);
    this.last = { readAt: this.now(), told };
  }

  /** COMPUTE_STATUS_DISABLED on or off the provider, at once. */
  async setDisabled(context: CallContext, node: ReportedNode, isDisabled: boolean): Promise<void> {
    this.isDisabled = isDisabled;
    this.last = null;
    await this.writeTraits(context, node);
  }

  private isOld(readAt: number): boolean {
    const { resource_provider_association_refresh: refreshS } = this.parts.options.compute;
    return refreshS > 0 && this.now() - readAt >= refreshS * 1000;
  }

  private async readAggregates(context: CallContext, node: ReportedNode): Promise<void> {
    const { placement, log } = this.parts;
    const aggregates = await placement.aggregates(context, node.uuid);
    const sharing = aggregates.length === 0 ? [] : await placement.sharingProviders(context, aggregates);
    let isShared = false;
    for (const provider of sharing.filter((one) => one.uuid !== node.uuid)) {
      const { inventories } = await placement.inventories(context, provider.uuid);
      isShared ||= inventories[SHARED] !== undefined;
    }
    if (isShared !== this.isDiskShared) log.info('disk of this host is shared', { shared: isShared });
    this.isDiskShared = isShared;
  }

  private async writeInventories(
    context: CallContext,
    node: ReportedNode,
    totals: HostTotals,
  ): Promise<void> {
    const offered = this.isDiskShared ? { ...totals, diskGb: 0 } : totals;
    const { placement, options, extras } = this.parts;
    await placement.setInventories(context, node.uuid, (now) => ({
      ...hostInventories(offered, options.DEFAULT, now),
      ...extras.inventories,
    }));
  }

  private async writeTraits(context: CallContext, node: ReportedNode): Promise<void> {
    const { image_type_exclude_list: excluded } = this.parts.options.compute;
    const traits = hostTraits(this.isDisabled, this.parts.extras.traits, excluded);
    const unknown = await this.parts.placement.setTraits(context, node.uuid, traits);
    if (unknown.length > 0) this.parts.log.debug('traits that Placement does not know', { traits: unknown });
  }
}
