/** Network information in Nova's database is asked for anew, one instance in each run. */
import { describeChain } from '../../process/fault.ts';
import { serviceContext } from '../cloud/call-context.ts';
import { adminContext, requestIdOf } from '../nova/context.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { ComputeHost } from './host.ts';

const UNBOUND = ['unbound', 'binding_failed'];

export class HealInfoCache {
  private readonly host: ComputeHost;
  /** Uuids that are still to come in this round. */
  private round: string[] = [];

  constructor(host: ComputeHost) {
    this.host = host;
  }

  async run(): Promise<void> {
    const { host } = this;
    const context = adminContext();
    const instance = this.round.length === 0 ? await this.begin(context) : await this.next(context);
    if (instance === null) return;
    try {
      await this.heal(context, instance);
    } catch (err) {
      if (isNovaError(err, 'InstanceNotFound')) return;
      host.log.warn('network information was not refreshed', {
        instance: instance.text('uuid'),
        error: describeChain(err),
      });
    }
  }

  private async heal(context: RpcContext, instance: NovaObject): Promise<void> {
    const { host } = this;
    const mayRebind = instance.textOrNull('task_state') === null;
    if (mayRebind && (await this.isElsewhere(context, instance))) {
      host.log.warn('ports of an instance are bound elsewhere or not at all; they are bound again', {
        instance: instance.text('uuid'),
      });
      await host.networks.rebind(context, instance);
      return;
    }
    await host.networks.refresh(context, instance);
  }

  /** After an evacuation that failed the ports may be bound to the host it went to. */
  private async isElsewhere(context: RpcContext, instance: NovaObject): Promise<boolean> {
    const { host } = this;
    const call = serviceContext(requestIdOf(context), host.signal);
    const ports = await host.cloud.neutron.ports(call, [
      ['device_id', instance.text('uuid')],
      ['fields', 'binding:host_id'],
      ['fields', 'binding:vif_type'],
    ]);
    return ports.some(
      (port) =>
        port['binding:host_id'] !== host.name || UNBOUND.some((type) => port['binding:vif_type'] === type),
    );
  }

  /** The first of a new round. */
  private async begin(context: RpcContext): Promise<NovaObject | null> {
    const all = await this.host.conductor.classList(context, {
      object: 'InstanceList',
      method: 'get_by_host',
      args: [this.host.name],
      kwargs: { expected_attrs: [], use_slave: true },
    });
    const [first, ...rest] = all.filter(isAtRest);
    this.round = rest.map((one) => one.text('uuid'));
    return first ?? null;
  }

  /** The next one of the round that is still here. */
  private async next(context: RpcContext): Promise<NovaObject | null> {
    for (let uuid = this.round.shift(); uuid !== undefined; uuid = this.round.shift()) {
      try {
        const instance = await this.host.conductor.classObject(context, {
          object: 'Instance',
          method: 'get_by_uuid',
          args: [uuid],
          kwargs: { expected_attrs: ['system_metadata', 'info_cache', 'flavor'], use_slave: true },
        });
        if (instance.textOrNull('host') === this.host.name && isAtRest(instance)) return instance;
      } catch (err) {
        if (!isNovaError(err, 'InstanceNotFound')) throw err;
      }
    }
    return null;
  }
}

/** Neither being built nor being deleted. */
function isAtRest(instance: NovaObject): boolean {
  return instance.text('vm_state') !== 'building' && instance.textOrNull('task_state') !== 'deleting';
}
