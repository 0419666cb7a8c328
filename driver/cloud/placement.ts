/** The calls nova-compute makes at Placement: its provider, inventories, traits, and allocations. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../../process/fault.ts';
import { type CallContext } from './call-context.ts';
import { isCloudFault } from './cloud-fault.ts';
import { numberOrNull, recordOf, recordsOf, textOf, textsOf } from './json.ts';
import {
  generationOf,
  inventoryOf,
  isCustom,
  isInUse,
  isRaceLost,
  providerOf,
  resourcesOf,
  sameInventories,
  writable,
  type Allocations,
  type Inventories,
  type Inventory,
  type Provider,
  type ProviderAllocations,
} from './placement-wire.ts';
import { type HttpAnswer } from './session.ts';
import { type Asked, type ServiceClient } from './service-client.ts';

const TRIES = 4;
/** Placement's text for a provider of the same name and another uuid. */
const NAME_TAKEN = 'Conflicting resource provider name';

export class Placement {
  private readonly client: ServiceClient;
  /** Longest wait before a second try, milliseconds times its number. */
  private readonly pauseMs: number;

  constructor(client: ServiceClient, pauseMs = 2000) {
    this.client = client;
    this.pauseMs = pauseMs;
  }

  /** The provider of a node; null when there is none. */
  async provider(context: CallContext, uuid: string): Promise<Provider | null> {
    const answer = await this.ask(context, 'look up the resource provider at Placement', {
      method: 'GET',
      path: `/resource_providers?in_tree=${uuid}`,
      version: '1.14',
    });
    const found = recordsOf(recordOf(answer.body)['resource_providers']).find((one) => one['uuid'] === uuid);
    return found === undefined ? null : providerOf(found);
  }

  /**
   * The provider, made when it is not there. Fault already_exists when another
   * host has its name: an operator must delete that one.
   */
  async ensureProvider(context: CallContext, uuid: string, name: string): Promise<Provider> {
    const known = await this.provider(context, uuid);
    if (known !== null) return known;
    try {
      const answer = await this.ask(context, 'create the resource provider at Placement', {
        method: 'POST',
        path: '/resource_providers',
        version: '1.20',
        body: { uuid, name },
      });
      return providerOf(recordOf(answer.body));
    } catch (err) {
      if (!isCloudFault(err, 409)) throw err;
      if (err.detail.includes(NAME_TAKEN)) {
        const other = await this.providerByName(context, name);
        throw new Fault(
          'already_exists',
          `create the resource provider ${uuid}: Placement has another one with the name ${name}; no instance can ` +
            `be scheduled here until it is deleted: openstack resource provider delete ${other?.uuid ?? name}`,
          { cause: err },
        );
      }
    }
    const made = await this.provider(context, uuid);
    if (made === null)
      throw new Fault(
        'conflict',
        `create the resource provider ${uuid}: it is neither there nor can be made`,
      );
    return made;
  }

  /** The provider of this name, whatever its uuid; null when there is none. */
  private async providerByName(context: CallContext, name: string): Promise<Provider | null> {
    const { body } = await this.ask(context, 'look up the resource provider at Placement', {
      method: 'GET',
      path: `/resource_providers?name=${encodeURIComponent(name)}`,
      version: '1.14',
    });
    const [found] = recordsOf(recordOf(body)['resource_providers']);
    return found === undefined ? null : providerOf(found);
  }

  /** The aggregates the provider is in; they are the API's to manage, not the host's. */
  async aggregates(context: CallContext, uuid: string): Promise<string[]> {
    const { body } = await this.ask(context, 'read the aggregates at Placement', {
      method: 'GET',
      path: `/resource_providers/${uuid}/aggregates`,
      version: '1.19',
    });
    return textsOf(recordOf(body)['aggregates']);
  }

  /** Providers that share what they have with all others of these aggregates. */
  async sharingProviders(context: CallContext, aggregates: readonly string[]): Promise<Provider[]> {
    const { body } = await this.ask(context, 'look up sharing providers at Placement', {
      method: 'GET',
      path: `/resource_providers?member_of=in:${aggregates.join(',')}&required=MISC_SHARES_VIA_AGGREGATE`,
      version: '1.18',
    });
    return recordsOf(recordOf(body)['resource_providers']).map(providerOf);
  }

  async deleteProvider(context: CallContext, uuid: string): Promise<void> {
    await this.ask(context, 'delete the resource provider at Placement', {
      method: 'DELETE',
      path: `/resource_providers/${uuid}`,
      accept: [404],
    });
  }

  async inventories(
    context: CallContext,
    uuid: string,
  ): Promise<{ generation: number; inventories: Inventories }> {
    const { body } = await this.ask(context, 'read the inventories at Placement', {
      method: 'GET',
      path: `/resource_providers/${uuid}/inventories`,
    });
    const inventories: Record<string, Inventory> = {};
    for (const [name, one] of Object.entries(recordOf(recordOf(body)['inventories']))) {
      inventories[name] = inventoryOf(recordOf(one));
    }
    return { generation: generationOf(body), inventories };
  }

  /**
   * Makes the inventories these, if they are not yet. `wanted` is made from what
   * there is, again for each try: with another writer at work, 4 times. A class
   * that instances still use is kept as it was.
   */
  async setInventories(
    context: CallContext,
    uuid: string,
    wanted: (now: Inventories) => Inventories,
  ): Promise<void> {
    let kept: Inventories = {};
    await this.retried(context, async () => {
      const { generation, inventories: now } = await this.inventories(context, uuid);
      const next = { ...kept, ...wanted(now) };
      if (sameInventories(now, next)) return;
      try {
        await this.ask(context, 'write the inventories at Placement', {
          method: 'PUT',
          path: `/resource_providers/${uuid}/inventories`,
          version: '1.26',
          body: { resource_provider_generation: generation, inventories: next },
        });
      } catch (err) {
        if (isInUse(err)) kept = now;
        throw err;
      }
    });
  }

  async traits(context: CallContext, uuid: string): Promise<{ generation: number; traits: string[] }> {
    const { body } = await this.ask(context, 'read the traits at Placement', {
      method: 'GET',
      path: `/resource_providers/${uuid}/traits`,
      version: '1.6',
    });
    return { generation: generationOf(body), traits: textsOf(recordOf(body)['traits']) };
  }

  /**
   * Puts `own` on the provider and takes `not` off; what operators added stays.
   * Custom traits are made; others that this Placement does not know are left
   * out and returned (OWNER_NOVA is younger than some clouds).
   */
  async setTraits(
    context: CallContext,
    uuid: string,
    change: { readonly own: readonly string[]; readonly not: readonly string[] },
  ): Promise<string[]> {
    const unknown = change.own.length === 0 ? [] : await this.ensureTraits(context, change.own);
    await this.retried(context, async () => {
      const { generation, traits: now } = await this.traits(context, uuid);
      const next = new Set(now);
      for (const trait of change.own) if (!unknown.includes(trait)) next.add(trait);
      for (const trait of change.not) next.delete(trait);
      if (next.size === now.length && now.every((trait) => next.has(trait))) return;
      await this.ask(context, 'write the traits at Placement', {
        method: 'PUT',
        path: `/resource_providers/${uuid}/traits`,
        version: '1.6',
        body: { resource_provider_generation: generation, traits: [...next].sort() },
      });
    });
    return unknown;
  }

  /** What every consumer on the provider holds; nothing when there is no such provider (yet). */
  async providerAllocations(context: CallContext, uuid: string): Promise<ProviderAllocations> {
    const { body } = await this.ask(context, 'read the allocations of the host at Placement', {
      method: 'GET',
      path: `/resource_providers/${uuid}/allocations`,
      accept: [404],
    });
    const out = new Map<string, Record<string, number>>();
    for (const [consumer, one] of Object.entries(recordOf(recordOf(body)['allocations']))) {
      out.set(consumer, resourcesOf(one));
    }
    return out;
  }

  /** What an instance or a migration holds; no allocations when it is not known. */
  async allocations(context: CallContext, consumer: string): Promise<Allocations> {
    const { body } = await this.ask(context, 'read the allocations at Placement', {
      method: 'GET',
      path: `/allocations/${consumer}`,
      version: '1.28',
    });
    const data = recordOf(body);
    const allocations: Record<string, { resources: Record<string, number> }> = {};
    for (const [provider, one] of Object.entries(recordOf(data['allocations']))) {
      allocations[provider] = { resources: resourcesOf(one) };
    }
    return {
      allocations,
      projectId: textOf(data['project_id']),
      userId: textOf(data['user_id']),
      consumerGeneration: numberOrNull(data['consumer_generation']),
    };
  }

  /** Drops the allocations of a consumer whatever its generation; harmless when there are none. */
  async deleteAllocations(context: CallContext, consumer: string): Promise<void> {
    await this.retried(context, async () => {
      await this.ask(context, 'delete the allocations at Placement', {
        method: 'DELETE',
        path: `/allocations/${consumer}`,
        accept: [404],
      });
    });
  }

  /**
   * Changes what a consumer holds (to nothing: `{}`), if nobody else changed it.
   * Fault conflict when the consumer itself was changed meanwhile.
   */
  async putAllocations(
    context: CallContext,
    consumer: string,
    change: (now: Allocations) => Allocations['allocations'],
  ): Promise<void> {
    await this.retried(context, async () => {
      const now = await this.allocations(context, consumer);
      if (now.consumerGeneration === null) return;
      await this.ask(context, 'write the allocations at Placement', {
        method: 'PUT',
        path: `/allocations/${consumer}`,
        version: '1.28',
        body: writable(now, change(now)),
      });
    });
  }

  /** Gives all that `from` holds to `to`, in one step (revert of a resize, failed prep_resize). False: it held nothing. */
  async moveAllocations(context: CallContext, from: string, to: string): Promise<boolean> {
    let isMoved = false;
    await this.retried(context, async () => {
      const source = await this.allocations(context, from);
      isMoved = source.consumerGeneration !== null && Object.keys(source.allocations).length > 0;
      if (!isMoved) return;
      const target = await this.allocations(context, to);
      await this.ask(context, 'move the allocations at Placement', {
        method: 'POST',
        path: '/allocations',
        version: '1.28',
        body: {
          [from]: writable(source, {}),
          [to]: {
            ...writable(source, source.allocations),
            consumer_generation: target.consumerGeneration,
          },
        },
      });
    });
    return isMoved;
  }

  /** Makes the custom traits that are missing; returns the others Placement does not know. */
  private async ensureTraits(context: CallContext, names: readonly string[]): Promise<string[]> {
    const { body } = await this.ask(context, 'look up traits at Placement', {
      method: 'GET',
      path: `/traits?name=in:${names.join(',')}`,
      version: '1.6',
    });
    const known = textsOf(recordOf(body)['traits']);
    const missing = names.filter((name) => !known.includes(name));
    for (const name of missing.filter(isCustom)) {
      await this.ask(context, `create the trait ${name} at Placement`, {
        method: 'PUT',
        path: `/traits/${name}`,
        version: '1.6',
      });
    }
    return missing.filter((name) => !isCustom(name));
  }

  /** Work that reads first and then writes with the generation it read; again when another writer came between. */
  private async retried(context: CallContext, work: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await work();
        return;
      } catch (err) {
        if (tries >= TRIES || !isRaceLost(err)) throw err;
      }
      await sleep(Math.random() * this.pauseMs * tries, undefined, { signal: context.signal });
    }
  }

  private ask(context: CallContext, what: string, asked: Asked): Promise<HttpAnswer> {
    return this.client.ask(context, { what, as: 'service', type: 'placement' }, asked);
  }
}
