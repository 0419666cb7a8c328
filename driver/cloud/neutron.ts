/** The calls nova-compute makes at Neutron; flows over several of them are in port-allocation.ts and network-info.ts. */
import { type CallContext } from './call-context.ts';
import { query } from './catalog.ts';
import { answered, recordOf, recordsOf, textOf, type Json } from './json.ts';
import { type Identity, type ServiceClient } from './service-client.ts';

/** Pairs of a query; the order and repeated keys are kept. */
export type Filter = readonly (readonly [string, string])[];

/** Extensions are looked up again after this time, as in Nova. */
const EXTENSIONS_MS = 600_000;

export interface NeutronParts {
  readonly client: ServiceClient;
  readonly now?: () => number;
}

export class Neutron {
  private readonly client: ServiceClient;
  private readonly now: () => number;
  private known: { readonly aliases: ReadonlySet<string>; readonly atMs: number } | null = null;

  constructor(parts: NeutronParts) {
    this.client = parts.client;
    this.now = parts.now ?? Date.now;
  }

  /** Fault not_found. `fields` restricts the answer. */
  async port(
    context: CallContext,
    id: string,
    as: Identity = 'service',
    fields: readonly string[] = [],
  ): Promise<Json> {
    const what = `show port ${id} at Neutron`;
    const suffix = fields.length === 0 ? '' : `?${query(fields.map((field) => ['fields', field] as const))}`;
    const answer = await this.client.call(context, {
      what,
      method: 'GET',
      path: `/ports/${id}${suffix}`,
      as,
    });
    return answered(answer.body, 'port', what);
  }

  ports(context: CallContext, filter: Filter, as: Identity = 'service'): Promise<Json[]> {
    return this.list(context, 'ports', filter, as);
  }

  /** Faults of Neutron's kinds: IpAddressInUse, OverQuota, IpAddressGenerationFailure, … */
  async createPort(context: CallContext, port: Json, as: Identity = 'user'): Promise<Json> {
    const what = `create a port on network ${textOf(port['network_id'])} at Neutron`;
    const answer = await this.client.call(context, {
      what,
      method: 'POST',
      path: '/ports',
      as,
      body: { port },
    });
    return answered(answer.body, 'port', what);
  }

  async updatePort(context: CallContext, id: string, port: Json, as: Identity = 'service'): Promise<Json> {
    const what = `change port ${id} at Neutron`;
    const answer = await this.client.call(context, {
      what,
      method: 'PUT',
      path: `/ports/${id}`,
      as,
      body: { port },
    });
    return answered(answer.body, 'port', what);
  }

  /** Harmless when it is gone. */
  async deletePort(context: CallContext, id: string, as: Identity = 'user'): Promise<void> {
    const what = `delete port ${id} at Neutron`;
    await this.client.call(context, { what, method: 'DELETE', path: `/ports/${id}`, as, accept: [404] });
  }

  networks(context: CallContext, filter: Filter, as: Identity = 'user'): Promise<Json[]> {
    return this.list(context, 'networks', filter, as);
  }

  /** Id of the network Neutron makes for a project that has none, made now or before. */
  async autoNetwork(context: CallContext, project: string): Promise<string> {
    const what = `make a network for project ${project} at Neutron`;
    const path = `/auto-allocated-topology/${project}`;
    const answer = await this.client.call(context, { what, method: 'GET', path, as: 'user' });
    return textOf(answered(answer.body, 'auto_allocated_topology', what)['id']);
  }

  /** Some fields of a network; an empty object when Neutron has none of them. */
  async networkFields(
    context: CallContext,
    id: string,
    fields: readonly string[],
    as: Identity = 'service',
  ): Promise<Json> {
    const what = `show network ${id} at Neutron`;
    const path = `/networks/${id}?${query(fields.map((field) => ['fields', field] as const))}`;
    return answered(
      (await this.client.call(context, { what, method: 'GET', path, as })).body,
      'network',
      what,
    );
  }

  subnets(context: CallContext, ids: readonly string[], as: Identity = 'service'): Promise<Json[]> {
    return this.list(
      context,
      'subnets',
      ids.map((id) => ['id', id] as const),
      as,
    );
  }

  floatingIps(
    context: CallContext,
    fixedIp: string,
    port: string,
    as: Identity = 'service',
  ): Promise<Json[]> {
    const filter = [
      ['fixed_ip_address', fixedIp],
      ['port_id', port],
    ] as const;
    return this.list(context, 'floatingips', filter, as);
  }

  /** Id and name of each security group of a project. */
  securityGroups(context: CallContext, project: string): Promise<Json[]> {
    const filter = [
      ['fields', 'id'],
      ['fields', 'name'],
      ['tenant_id', project],
    ] as const;
    return this.list(context, 'security-groups', filter, 'user');
  }

  /** Limits of a project: `{port: 500, …}`; -1 is none. */
  async quota(context: CallContext, project: string): Promise<Json> {
    const what = `show the quota of project ${project} at Neutron`;
    const answer = await this.client.call(context, {
      what,
      method: 'GET',
      path: `/quotas/${project}`,
      as: 'user',
    });
    return answered(answer.body, 'quota', what);
  }

  /** Aliases of the extensions; kept for ten minutes. */
  async extensions(context: CallContext): Promise<ReadonlySet<string>> {
    const now = this.now();
    if (this.known === null || now - this.known.atMs > EXTENSIONS_MS) {
      const found = await this.list(context, 'extensions', [], 'user');
      this.known = { aliases: new Set(found.map((one) => textOf(one['alias']))), atMs: now };
    }
    return this.known.aliases;
  }

  /** The binding of a port to a host; null when there is none. */
  async binding(context: CallContext, port: string, host: string): Promise<Json | null> {
    const path = `/ports/${port}/bindings/${host}`;
    const what = `show the binding of port ${port} to ${host} at Neutron`;
    const answer = await this.client.call(context, {
      what,
      method: 'GET',
      path,
      as: 'service',
      accept: [404],
    });
    return answer.status === 404 ? null : recordOf(recordOf(answer.body)['binding']);
  }

  /** Harmless when it is active already. */
  async activateBinding(context: CallContext, port: string, host: string): Promise<void> {
    const path = `/ports/${port}/bindings/${host}/activate`;
    const what = `activate the binding of port ${port} to ${host} at Neutron`;
    await this.client.call(context, { what, method: 'PUT', path, as: 'service', accept: [409] });
  }

  /** Harmless when it is gone. */
  async deleteBinding(context: CallContext, port: string, host: string): Promise<void> {
    const path = `/ports/${port}/bindings/${host}`;
    const what = `delete the binding of port ${port} to ${host} at Neutron`;
    await this.client.call(context, { what, method: 'DELETE', path, as: 'service', accept: [404] });
  }

  private async list(context: CallContext, kind: string, filter: Filter, as: Identity): Promise<Json[]> {
    const path = filter.length === 0 ? `/${kind}` : `/${kind}?${query(filter)}`;
    const answer = await this.client.call(context, {
      what: `list ${kind} at Neutron`,
      method: 'GET',
      path,
      as,
    });
    // The key has an underscore where the path has a dash.
    return recordsOf(recordOf(answer.body)[kind.replace('-', '_')]);
  }
}
