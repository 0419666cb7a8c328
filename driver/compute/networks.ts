/**
 * The networks of instances: ports at Neutron, and what Nova's database keeps
 * of them (VirtualInterface, InstanceInfoCache).
 *
 * The cache is read, changed and written in one lane per instance, as in Nova:
 * a build and an event of Neutron's come to it at the same time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeChain } from '../../process/fault.ts';
import { Lanes } from '../../process/lanes.ts';
import type { Log } from '../../process/log.ts';
import { callContext, type CallContext } from '../cloud/call-context.ts';
import type { Cloud } from '../cloud/cloud.ts';
import { readRequests, type PortWanted } from '../cloud/network-choice.ts';
import { buildNetworkInfo, type InfoRequest } from '../cloud/network-info.ts';
import {
  PortAllocation,
  type AllocatedPort,
  type PortOwner,
  type PreparedPorts,
} from '../cloud/port-allocation.ts';
import { readNetworkInfo, type NetworkInfo, type Vif } from '../cloud/vif.ts';
import type { Conductor } from '../nova/conductor.ts';
import { loadFields } from '../nova/instances.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import type { InterfaceWanted, Networks, NetworksWanted } from './host.ts';

export interface NetworksParts {
  readonly conductor: Conductor;
  readonly cloud: Pick<Cloud, 'neutron'>;
  readonly log: Log;
  /** Name of this host at Neutron, that of the service. */
  readonly host: string;
  /** `[neutron] ovs_bridge`. */
  readonly ovsBridge: string;
  /** `network_allocate_retries`. */
  readonly allocateRetries: number;
  /** Aborts when the service is stopping for good. */
  readonly signal: AbortSignal;
}

const LONGEST_PAUSE_S = 30;

export function createNetworks(parts: NetworksParts): Networks {
  return new InstanceNetworks(parts);
}

class InstanceNetworks implements Networks {
  private readonly parts: NetworksParts;
  private readonly ports: PortAllocation;
  private readonly lanes = new Lanes();
  /** What was looked up ahead, by what it was looked up for. */
  private readonly prepared = new WeakMap<NetworksWanted, Promise<PreparedPorts>>();

  constructor(parts: NetworksParts) {
    this.parts = parts;
    this.ports = new PortAllocation(parts.cloud.neutron, parts.log);
  }

  prepare(context: RpcContext, instance: NovaObject, wanted: NetworksWanted): void {
    const requests = readRequests(wanted.requests);
    if (requests === null) return;
    const work = this.lookUp(this.call(context), instance, requests, wanted.securityGroups);
    // Whoever allocates is told.
    work.catch(() => undefined);
    this.prepared.set(wanted, work);
  }

  async allocate(context: RpcContext, instance: NovaObject, wanted: NetworksWanted): Promise<NetworkInfo> {
    const requests = readRequests(wanted.requests);
    if (requests === null) return [];
    for (let tries = 0; ; tries += 1) {
      try {
        const work = this.prepared.get(wanted);
        this.prepared.delete(wanted);
        const call = this.call(context);
        const found = await (work ?? this.lookUp(call, instance, requests, wanted.securityGroups));
        return await this.take(context, instance, found);
      } catch (err) {
        if (tries >= this.parts.allocateRetries) throw err;
        this.parts.log.warn('networks were not allocated; trying again', {
          instance: instance.text('uuid'),
          error: describeChain(err),
        });
      }
      const pauseS = Math.min(2 ** tries, LONGEST_PAUSE_S);
      await sleep(pauseS * 1000, undefined, { signal: this.parts.signal });
    }
  }

  async deallocate(context: RpcContext, instance: NovaObject, requests: unknown = null): Promise<void> {
    const brought = (readRequests(requests) ?? []).flatMap((one) => one.portId ?? []);
    const vifs = await this.cached(context, instance);
    const kept = vifs.filter((vif) => vif.preserve_on_delete).map((vif) => vif.id);
    await this.ports.deallocate(this.call(context), this.owner(instance), [...brought, ...kept]);
    await this.parts.conductor.classCall(context, {
      object: 'VirtualInterface',
      method: 'delete_by_instance_uuid',
      args: [instance.text('uuid')],
    });
    await this.inLane(instance, async () => {
      try {
        await this.write(context, instance, []);
      } catch (err) {
        // The row of an instance that is gone took its cache with it.
        if (!isNovaError(err, 'InstanceNotFound', 'InstanceInfoCacheNotFound')) throw err;
      }
    });
  }

  async rebind(context: RpcContext, instance: NovaObject): Promise<NetworkInfo> {
    await this.ports.rebind(this.call(context), this.owner(instance));
    return this.refresh(context, instance);
  }

  refresh(context: RpcContext, instance: NovaObject, portId?: string): Promise<NetworkInfo> {
    return this.inLane(instance, async () => {
      const before = await this.read(context, instance);
      const vifs = await this.ask(context, instance, {
        before,
        ...(portId === undefined ? {} : { only: portId }),
      });
      await this.write(context, instance, vifs);
      return vifs;
    });
  }

  async cached(context: RpcContext, instance: NovaObject): Promise<NetworkInfo> {
    await loadFields(this.parts.conductor, context, instance, ['info_cache']);
    return readNetworkInfo(instance.objectOrNull('info_cache')?.textOrNull('network_info') ?? null);
  }

  async attach(context: RpcContext, instance: NovaObject, wanted: InterfaceWanted): Promise<Vif> {
    const { networkId, portId, requestedIp, tag } = wanted;
    // Nothing named: the project's only network.
    const isOpen = networkId === null && portId === null;
    const requests = isOpen ? [] : [{ networkId, portId, address: requestedIp, tag }];
    const found = await this.lookUp(this.call(context), instance, requests, []);
    if (found.chosen.length === 0) {
      throw novaError('InterfaceAttachFailedNoNetwork', { project_id: instance.text('project_id') });
    }
    const known = new Set((await this.cached(context, instance)).map((vif) => vif.id));
    const vifs = await this.take(context, instance, found);
    const vif = vifs.find((one) => one.id === portId) ?? vifs.findLast((one) => !known.has(one.id));
    if (vif === undefined) {
      throw novaError('InterfaceAttachFailed', { instance_uuid: instance.text('uuid') });
    }
    return vif;
  }

  async detach(context: RpcContext, instance: NovaObject, vif: Vif): Promise<void> {
    await this.ports.release(this.call(context), vif);
    await this.dropInterface(context, vif.id);
    await this.forget(context, instance, vif.id);
  }

  async forget(context: RpcContext, instance: NovaObject, portId: string): Promise<void> {
    await this.inLane(instance, async () => {
      const before = await this.read(context, instance);
      const left = before.filter((vif) => vif.id !== portId);
      if (left.length < before.length) await this.write(context, instance, left);
    });
  }

  private async lookUp(
    call: CallContext,
    instance: NovaObject,
    requests: readonly PortWanted[],
    securityGroups: readonly string[],
  ): Promise<PreparedPorts> {
    return await this.ports.prepare(call, this.owner(instance), requests, securityGroups);
  }

  /** Ports, their records, the cache; all of it or nothing. */
  private async take(context: RpcContext, instance: NovaObject, found: PreparedPorts): Promise<NetworkInfo> {
    const ports = await this.ports.create(this.call(context), this.owner(instance), found);
    if (ports.length === 0) return [];
    try {
      return await this.inLane(instance, async () => {
        const [before] = await Promise.all([
          this.read(context, instance),
          ...ports.map((port) => this.createInterface(context, instance, port)),
        ]);
        const vifs = await this.ask(context, instance, { before, added: ports });
        await this.write(context, instance, vifs);
        return vifs;
      });
    } catch (err) {
      await this.giveBack(context, instance, ports);
      throw err;
    }
  }

  private async giveBack(
    context: RpcContext,
    instance: NovaObject,
    ports: readonly AllocatedPort[],
  ): Promise<void> {
    // What was given up must be cleaned up all the same.
    const call = { ...this.call(context), signal: undefined };
    const work = ports.flatMap((port) => [
      this.ports.release(call, { id: port.id, preserve_on_delete: port.isPreserved }),
      this.dropInterface(context, port.id),
    ]);
    for (const ended of await Promise.allSettled(work)) {
      if (ended.status === 'fulfilled') continue;
      this.parts.log.warn('undo of a port failed', {
        instance: instance.text('uuid'),
        error: describeChain(ended.reason),
      });
    }
  }

  private async createInterface(
    context: RpcContext,
    instance: NovaObject,
    port: AllocatedPort,
  ): Promise<void> {
    const record = NovaObject.create('VirtualInterface', {
      uuid: port.id,
      // The port makes it unique: MAC addresses need not be.
      address: `${port.mac}/${port.id}`,
      instance_uuid: instance.text('uuid'),
      tag: port.tag,
    });
    await this.parts.conductor.objectCall(context, record, { method: 'create' });
  }

  private async dropInterface(context: RpcContext, portId: string): Promise<void> {
    const { conductor } = this.parts;
    const call = { object: 'VirtualInterface', method: 'get_by_uuid', args: [portId] };
    const record = await conductor.classObjectOrNull(context, call);
    if (record !== null) await conductor.objectCall(context, record, { method: 'destroy' });
  }

  private ask(context: RpcContext, instance: NovaObject, asked: Asked): Promise<NetworkInfo> {
    const { before, only, added } = asked;
    const request: InfoRequest = {
      instance: instance.text('uuid'),
      project: instance.text('project_id'),
      before,
      ovsBridge: this.parts.ovsBridge,
      ...(only === undefined ? {} : { only }),
    };
    const { neutron } = this.parts.cloud;
    const call = this.call(context);
    return added === undefined
      ? buildNetworkInfo(neutron, call, request)
      : withAdded(added, before, (known) =>
          buildNetworkInfo(neutron, call, {
            ...request,
            before: before.filter((vif) => added.some((port) => port.id === vif.id)),
            preserved: added.filter((port) => port.isPreserved).map((port) => port.id),
            known,
          }),
        );
  }

  /** What the database has of the cache now. */
  private async read(context: RpcContext, instance: NovaObject): Promise<NetworkInfo> {
    const known = instance.objectOrNull('info_cache');
    const cache = known?.clone() ?? NovaObject.create('InstanceInfoCache', { network_info: null });
    cache.set('instance_uuid', instance.text('uuid')).resetChanges();
    try {
      await this.parts.conductor.objectCall(context, cache, { method: 'refresh' });
    } catch (err) {
      if (!isNovaError(err, 'InstanceInfoCacheNotFound')) throw err;
    }
    return readNetworkInfo(cache.textOrNull('network_info'));
  }

  private async write(context: RpcContext, instance: NovaObject, vifs: NetworkInfo): Promise<void> {
    const cache = NovaObject.create('InstanceInfoCache', {
      instance_uuid: instance.text('uuid'),
      network_info: JSON.stringify(vifs),
    });
    await this.parts.conductor.objectCall(context, cache, { method: 'save' });
    // Changed, so that no answer to an older save puts the old one back; Nova's saves carry it too.
    instance.set('info_cache', cache);
  }

  private inLane<T>(instance: NovaObject, work: () => Promise<T>): Promise<T> {
    return this.lanes.run(instance.text('uuid'), work);
  }

  private owner(instance: NovaObject): PortOwner {
    return {
      instance: instance.text('uuid'),
      project: instance.text('project_id'),
      hostname: instance.textOrNull('hostname') ?? '',
      availabilityZone: instance.textOrNull('availability_zone'),
      host: this.parts.host,
    };
  }

  private call(context: RpcContext): CallContext {
    return callContext(context, this.parts.signal);
  }
}

interface Asked {
  readonly before: NetworkInfo;
  readonly only?: string;
  /** Ports that were made just now: the others stay as they were. */
  readonly added?: readonly AllocatedPort[];
}

type Known = NonNullable<InfoRequest['known']>;

/** The VIFs there were, in their order, with those of the new ports behind them. */
async function withAdded(
  added: readonly AllocatedPort[],
  before: NetworkInfo,
  build: (known: Known) => Promise<NetworkInfo>,
): Promise<NetworkInfo> {
  const known = { ports: added.map((one) => one.port), networks: added.map((one) => one.network) };
  const vifs = await build(known);
  const old = before.filter((vif) => !added.some((port) => port.id === vif.id));
  return [...old, ...vifs];
}
