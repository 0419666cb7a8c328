/** Placement's providers on a fake cloud, with generations as the real one keeps them. */
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import type { Asked, FakeCloud, Scripted } from './fake-cloud.ts';

export interface FakeProvider {
  readonly uuid: string;
  readonly name: string;
  generation: number;
  inventories: Json;
  traits: string[];
  aggregates: string[];
  allocations: Json;
}

const CONFLICT = {
  errors: [{ code: 'placement.concurrent_update', detail: 'resource provider generation conflict' }],
};

export class FakePlacement {
  readonly providers: FakeProvider[] = [];
  /** Traits this Placement has heard of; custom ones are made. */
  readonly known: Set<string>;
  /** Consumers whose allocations were deleted. */
  readonly dropped: string[] = [];

  constructor(cloud: FakeCloud, known: readonly string[]) {
    this.known = new Set(known);
    cloud
      .on('GET', /^\/placement\/resource_providers\?in_tree=/, (asked) =>
        this.list((one) => asked.path.endsWith(one.uuid)),
      )
      .on('GET', /^\/placement\/resource_providers\?name=/, (asked) =>
        this.list((one) => asked.path.endsWith(one.name)),
      )
      .on('POST', /^\/placement\/resource_providers$/, (asked) => this.create(asked))
      .on('GET', /\/inventories$/, (asked) => this.read(asked, (one) => ({ inventories: one.inventories })))
      .on('PUT', /\/inventories$/, (asked) =>
        this.write(asked, (one, body) => {
          one.inventories = isRecord(body['inventories']) ? body['inventories'] : {};
        }),
      )
      .on('GET', /\/traits$/, (asked) => this.read(asked, (one) => ({ traits: one.traits })))
      .on('PUT', /\/traits$/, (asked) =>
        this.write(asked, (one, body) => {
          // A list of texts, or the test fails elsewhere.
          one.traits = body['traits'] as string[];
        }),
      )
      .on('GET', /\/placement\/traits\?name=in:/, (asked) => {
        const names = asked.path.split('in:')[1]?.split(',') ?? [];
        return { body: { traits: names.filter((name) => this.known.has(name)) } };
      })
      .on('GET', /\/aggregates$/, (asked) => this.read(asked, (one) => ({ aggregates: one.aggregates })))
      .on('GET', /resource_providers\/[^/]+\/allocations$/, (asked) =>
        this.read(asked, (one) => ({ allocations: one.allocations })),
      )
      .on('DELETE', /\/allocations\//, (asked) => {
        this.dropped.push(asked.path.split('/').at(-1) ?? '');
        return { status: 204 };
      });
  }

  add(given: Partial<FakeProvider> & Pick<FakeProvider, 'uuid' | 'name'>): FakeProvider {
    const made = { generation: 0, inventories: {}, traits: [], aggregates: [], allocations: {}, ...given };
    this.providers.push(made);
    return made;
  }

  get only(): FakeProvider {
    const [provider] = this.providers;
    if (provider === undefined) throw new Error('there is no provider');
    return provider;
  }

  private list(is: (one: FakeProvider) => boolean): Scripted {
    const found = this.providers.filter(is).map(({ uuid, name, generation }) => ({ uuid, name, generation }));
    return { body: { resource_providers: found } };
  }

  private create(asked: Asked): Scripted {
    const { uuid, name } = isRecord(asked.body) ? asked.body : {};
    if (typeof uuid !== 'string' || typeof name !== 'string') return { status: 400 };
    if (this.providers.some((one) => one.name === name)) {
      return {
        status: 409,
        body: { errors: [{ detail: `Conflicting resource provider name: ${name} already exists.` }] },
      };
    }
    this.add({ uuid, name });
    return { body: { uuid, name, generation: 0 } };
  }

  private find(asked: Asked): FakeProvider | undefined {
    return this.providers.find((one) => asked.path.includes(`/resource_providers/${one.uuid}/`));
  }

  private read(asked: Asked, of: (one: FakeProvider) => Json): Scripted {
    const one = this.find(asked);
    if (one === undefined) return { status: 404 };
    return { body: { ...of(one), resource_provider_generation: one.generation } };
  }

  private write(asked: Asked, change: (one: FakeProvider, body: Json) => void): Scripted {
    const one = this.find(asked);
    if (one === undefined || !isRecord(asked.body)) return { status: 404 };
    if (asked.body['resource_provider_generation'] !== one.generation) return { status: 409, body: CONFLICT };
    change(one, asked.body);
    one.generation += 1;
    return { body: { resource_provider_generation: one.generation } };
  }
}
