/**
 * The tracker of this host: which instances count, what its ComputeNode and
 * its resource provider say. All writes of the ComputeNode go through one lane.
 *
 * A change of an instance is counted at once in memory and written to the
 * ComputeNode shortly after, several changes together: the figures there only
 * inform, Placement is what schedules.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ComputeOptions } from '../../config/options/compute.ts';
import { describeChain } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import { callContext } from '../cloud/call-context.ts';
import { adminContext, elevated, withDeleted } from '../nova/context.ts';
import type { Conductor } from '../nova/conductor.ts';
import { createNode, findNodeByUuid, nodesOfHost, updateNode } from '../nova/host-records.ts';
import { instancesOfNode, saveInstance } from '../nova/instances.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import type { Placement } from '../cloud/placement.ts';
import type { Capacity, Guests, Tracker } from './host.ts';
import { refuseOtherIdentity, refuseRename, type Identity } from './identity.ts';
import { firstFields, hostFields, laterFields, type NodeNames } from './node-fields.ts';
import type { NodeReport } from './node-report.ts';
import { dropStrayAllocations } from './stray-allocations.ts';
import { trackedOf, usageFields, type Tracked } from './usage.ts';

export interface TrackerParts {
  readonly conductor: Conductor;
  readonly guests: Pick<Guests, 'capacity'>;
  readonly placement: Placement;
  readonly report: NodeReport;
  readonly options: ComputeOptions;
  readonly names: NodeNames;
  readonly identity: Identity;
  /** Id of the service record, for control planes that tie nodes to it; null for older ones. */
  readonly serviceId: () => number | null;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Fields of an instance that the tracker needs, as nova-compute asks for them. */
const INSTANCE_FIELDS = ['system_metadata', 'numa_topology', 'flavor', 'migration_context', 'resources'];
/** Changes within this time are written together. */
const TOGETHER_MS = 250;
const LANE = 'node';

export class HostTracker implements Tracker {
  private readonly parts: TrackerParts;
  private readonly lanes = new Lanes();
  private readonly tracked = new Map<string, Tracked>();
  /** Counted by word of a method since the last reading of the database began: newer than it. */
  private readonly fresh = new Set<string>();
  private record: NovaObject | null = null;
  private capacity: Capacity | null = null;
  private failedBuilds = 0;
  private flushing: Promise<void> | null = null;

  constructor(parts: TrackerParts) {
    this.parts = parts;
  }

  get node(): Tracker['node'] {
    const { identity, names } = this.parts;
    return { uuid: identity.uuid, id: this.record?.numberOrNull('id') ?? 0, name: names.node };
  }

  async claim(context: RpcContext, instance: NovaObject): Promise<void> {
    const { names, conductor } = this.parts;
    if (this.record === null) {
      throw novaError('ComputeResourcesUnavailable', { reason: 'this host has not reported itself yet' });
    }
    instance
      .set('host', names.host)
      .set('node', names.node)
      .set('launched_on', names.host)
      .set('numa_topology', null);
    if (knowsComputeId(instance)) instance.set('compute_id', this.node.id);
    await saveInstance(conductor, context, instance);
    this.count(instance);
  }

  async abort(context: RpcContext, instance: NovaObject): Promise<void> {
    this.forget(instance.text('uuid'));
    instance.set('numa_topology', null).set('host', null).set('node', null);
    if (knowsComputeId(instance)) instance.set('compute_id', null);
    await saveInstance(this.parts.conductor, context, instance);
  }

  note(_context: RpcContext, instance: NovaObject): Promise<void> {
    const host = instance.has('host') ? instance.textOrNull('host') : this.parts.names.host;
    if (host === this.parts.names.host) this.count(instance);
    return Promise.resolve();
  }

  drop(_context: RpcContext, uuid: string): Promise<void> {
    this.forget(uuid);
    return Promise.resolve();
  }

  buildEnded(isGood: boolean): void {
    this.failedBuilds = isGood ? 0 : this.failedBuilds + 1;
    this.flushSoon();
  }

  update(context: RpcContext, isStart = false): Promise<void> {
    return this.lanes.run(LANE, () => this.report(context, isStart));
  }

  async setDisabled(context: RpcContext, isDisabled: boolean): Promise<void> {
    const call = callContext(context, this.parts.signal);
    await this.lanes.run(LANE, () => this.parts.report.setDisabled(call, this.node, isDisabled));
  }

  /** Resolves when all changes that were counted are written, or could not be. */
  async settled(): Promise<void> {
    await this.flushing;
    await this.lanes.settled();
  }

  private count(instance: NovaObject): void {
    const uuid = instance.text('uuid');
    const now = trackedOf(instance);
    if (now === null) {
      this.forget(uuid);
      return;
    }
    const before = this.tracked.get(uuid);
    // An instance that came without its flavor still has the one it was counted with.
    const sized = instance.has('flavor') || before === undefined;
    this.fresh.add(uuid);
    this.tracked.set(uuid, sized ? now : { ...now, ...sizeOf(before) });
    this.flushSoon();
  }

  private forget(uuid: string): void {
    this.fresh.add(uuid);
    if (this.tracked.delete(uuid)) this.flushSoon();
  }

  private flushSoon(): void {
    this.flushing ??= sleep(TOGETHER_MS, undefined, { ref: false }).then(() => {
      this.flushing = null;
      return this.flush();
    });
  }

  private async flush(): Promise<void> {
    try {
      await this.lanes.run(LANE, () => this.saveUsage(adminContext()));
    } catch (err) {
      this.parts.log.warn('usage of this host was not written', { error: describeChain(err) });
    }
  }

  private async report(context: RpcContext, isStart: boolean): Promise<void> {
    const { conductor, guests, names, signal, log } = this.parts;
    const admin = elevated(context);
    const call = callContext(admin, signal);
    const capacity = await guests.capacity(call);
    this.capacity = capacity;
    await this.ensureRecord(admin, capacity, isStart);
    this.fresh.clear();
    const instances = await instancesOfNode(
      conductor,
      admin,
      { host: names.host, node: names.node },
      INSTANCE_FIELDS,
    );
    const migrations = await conductor.classList(admin, {
      object: 'MigrationList',
      method: 'get_in_progress_and_error',
      args: [names.host, names.node],
    });
    this.recount(instances);
    await this.saveUsage(admin);
    const isDisabled = await this.isDisabled(admin);
    const totals = { vcpus: capacity.cpus, memoryMb: capacity.memoryMb, diskGb: capacity.diskGb };
    try {
      await this.parts.report.report(call, this.node, totals, isDisabled);
      const known = new Set([...this.tracked.keys(), ...migrations.map((one) => one.text('uuid'))]);
      await dropStrayAllocations(this.parts, { context: admin, call, node: this.node.uuid, known });
    } catch (err) {
      // The instances that are here go on; the next report tries again.
      log.error('Placement does not know what this host has: it may get no instances', {
        error: describeChain(err),
      });
    }
  }

  /** What the database says, but for instances that were claimed or dropped while it was read. */
  private recount(instances: readonly NovaObject[]): void {
    const now = new Map<string, Tracked>();
    for (const instance of instances) {
      const one = trackedOf(instance);
      if (one !== null) now.set(instance.text('uuid'), one);
    }
    for (const uuid of this.fresh) {
      const mine = this.tracked.get(uuid);
      if (mine === undefined) now.delete(uuid);
      else now.set(uuid, mine);
    }
    this.tracked.clear();
    for (const [uuid, one] of now) this.tracked.set(uuid, one);
  }

  /** The ComputeNode of this identity: known, taken back after a deletion, or made. */
  private async ensureRecord(context: RpcContext, capacity: Capacity, isStart: boolean): Promise<void> {
    const { conductor, names, identity, options, log } = this.parts;
    const nodes = await nodesOfHost(conductor, context, names.host);
    const isThere = nodes.some((node) => node.text('uuid') === identity.uuid);
    if (!isStart && this.record !== null && isThere) return;
    refuseOtherIdentity(nodes, identity, names.node);
    for (const other of nodes.filter((node) => node.text('uuid') !== identity.uuid)) {
      // Differs: nova-compute of Zed destroys such records; they may be of the driver this host had before.
      log.warn('Nova has another node of this host', {
        node: other.text('hypervisor_hostname'),
        uuid: other.text('uuid'),
      });
    }
    const found = await findNodeByUuid(conductor, context, identity.uuid);
    refuseRename(found, names.host, names.node, identity.file);
    if (found === null) {
      const service = this.parts.serviceId();
      this.record = await createNode(conductor, context, {
        uuid: identity.uuid,
        ...(service === null ? {} : { service_id: service }),
        ...hostFields(capacity, names),
        ...firstFields(options.DEFAULT),
      });
      log.info('compute node made', { node: names.node, uuid: identity.uuid });
      return;
    }
    this.record = found;
    if (found.flag('deleted')) {
      // Only a context that sees deleted rows may write one. Differs: discovery of hosts is to look at it again,
      // since the mapping of the host to its cell went with the service.
      const revived = { deleted: false, deleted_at: null, mapped: 0 };
      await updateNode(conductor, withDeleted(context), found, revived);
      log.info('compute node taken back', { node: names.node, uuid: identity.uuid });
    }
    const service = this.parts.serviceId();
    if (service !== null) found.assign({ service_id: service });
  }

  /** Writes the fields of the ComputeNode that differ. */
  private async saveUsage(context: RpcContext): Promise<void> {
    const { record, capacity } = this;
    const { conductor, names, options } = this.parts;
    if (record === null || capacity === null) return;
    await updateNode(conductor, context, record, {
      ...hostFields(capacity, names),
      ...laterFields(options.DEFAULT),
      ...usageFields(this.tracked.values(), capacity, options.DEFAULT, this.failedBuilds),
    });
  }

  private async isDisabled(context: RpcContext): Promise<boolean> {
    try {
      const service = await this.parts.conductor.classObject(context, {
        object: 'Service',
        method: 'get_by_compute_host',
        args: [this.parts.names.host],
      });
      return service.flag('disabled');
    } catch (err) {
      if (isNovaError(err, 'ComputeHostNotFound', 'NotFound')) return false;
      throw err;
    }
  }
}

/** From 2.8 on instances say which ComputeNode they are on. */
function knowsComputeId(instance: NovaObject): boolean {
  return instance.isAtLeast(8);
}

function sizeOf(one: Tracked): Pick<Tracked, 'vcpus' | 'memoryMb' | 'diskGb'> {
  return { vcpus: one.vcpus, memoryMb: one.memoryMb, diskGb: one.diskGb };
}
