/** Neutron on a fake cloud: networks are given, ports come and go. */
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import type { Asked, FakeCloud, Scripted } from './fake-cloud.ts';

export interface FakePort {
  readonly id: string;
  readonly mac_address: string;
  /** Made by its user before the server. */
  readonly isUsers: boolean;
  readonly fields: Json;
}

interface Failure {
  readonly method: string;
  readonly path: RegExp;
  readonly answer: Scripted;
}

export class FakeNeutron {
  readonly ports = new Map<string, FakePort>();
  readonly networks: Json[] = [];
  /** Ports that will be made are these, in order; then made-up ones. */
  readonly next: { readonly id: string; readonly mac_address: string; readonly ip: string }[] = [];
  readonly securityGroups = [{ id: 'sg-1', name: 'open' }];
  vifType = 'ovs';
  status = 'DOWN';
  private readonly failures: Failure[] = [];
  private made = 0;

  constructor(cloud: FakeCloud) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      cloud.on(method, /^\/network\/v2\.0\//, (asked) => this.answer(asked));
    }
  }

  /** The next request that matches is refused. */
  fail(method: string, path: RegExp, status: number, type: string): void {
    const body = { NeutronError: { type, message: `${type} was scripted`, detail: '' } };
    this.failures.push({ method, path, answer: { status, body } });
  }

  addNetwork(id: string, fields: Json = {}): void {
    this.networks.push({
      id,
      name: 'private',
      tenant_id: 'p1',
      mtu: 1450,
      subnets: [`subnet-of-${id}`],
      port_security_enabled: true,
      shared: false,
      'router:external': false,
      ...fields,
    });
  }

  /** A port its user made. */
  addPort(id: string, network: string, fields: Json = {}): void {
    const given = { device_id: '', device_owner: '', network_id: network, ...fields };
    this.put({ id, mac_address: 'fa:16:3e:00:00:99', ip: '10.0.0.99' }, true, given);
  }

  /** Ids of the ports that belong to a server. */
  portsOf(instance: string): string[] {
    return [...this.ports.values()]
      .filter((port) => port.fields['device_id'] === instance)
      .map(({ id }) => id);
  }

  private answer(asked: Asked): Scripted {
    const at = this.failures.findIndex((one) => one.method === asked.method && one.path.test(asked.path));
    const [failure] = at < 0 ? [] : this.failures.splice(at, 1);
    if (failure !== undefined) return failure.answer;
    const url = new URL(asked.path, 'http://fake');
    const [kind = '', id = ''] = url.pathname.replace('/network/v2.0/', '').split('/');
    const query = url.searchParams;
    switch (kind) {
      case 'ports':
        return id === '' ? this.portList(asked, query) : this.onePort(asked, id);
      case 'networks':
        return this.network(id, query);
      case 'subnets':
        return { body: { subnets: query.getAll('id').map(subnet) } };
      case 'floatingips':
        return { body: { floatingips: [] } };
      case 'security-groups':
        return { body: { security_groups: this.securityGroups } };
      case 'auto-allocated-topology':
        this.addNetwork('auto-1', { tenant_id: id });
        return { body: { auto_allocated_topology: { id: 'auto-1' } } };
      case 'extensions':
        return { body: { extensions: [{ alias: 'dns-integration' }] } };
      default:
        return { status: 404 };
    }
  }

  /** All ports become ACTIVE, without an event that says so. */
  wire(): void {
    for (const port of this.ports.values()) port.fields['status'] = 'ACTIVE';
  }

  private network(id: string, query: URLSearchParams): Scripted {
    if (id !== '') {
      return { body: { network: { 'provider:network_type': 'geneve', 'provider:physical_network': null } } };
    }
    const ids = query.getAll('id');
    const shared = query.get('shared');
    const found = this.networks.filter((one) =>
      ids.length > 0
        ? ids.includes(String(one['id']))
        : shared === null || String(one['shared']) === shared.toLowerCase(),
    );
    return { body: { networks: found } };
  }

  private portList(asked: Asked, query: URLSearchParams): Scripted {
    if (asked.method === 'POST') {
      const fields = isRecord(asked.body) && isRecord(asked.body['port']) ? asked.body['port'] : {};
      this.made += 1;
      const number = String(this.made).padStart(2, '0');
      const facts = this.next.shift() ?? {
        id: `port-${number}`,
        mac_address: `fa:16:3e:00:00:${number}`,
        ip: `10.0.0.${number}`,
      };
      return { status: 201, body: { port: this.put(facts, false, fields) } };
    }
    const device = query.get('device_id');
    const owner = query.get('device_owner');
    const ports = [...this.ports.values()]
      .map((port) => port.fields)
      .filter((port) => device === null || port['device_id'] === device)
      .filter((port) => owner === null || port['device_owner'] === owner);
    return { body: { ports } };
  }

  private onePort(asked: Asked, id: string): Scripted {
    const port = this.ports.get(id);
    if (port === undefined)
      return { status: 404, body: { NeutronError: { type: 'PortNotFound', message: id } } };
    if (asked.method === 'DELETE') {
      this.ports.delete(id);
      return { status: 204 };
    }
    if (asked.method === 'PUT' && isRecord(asked.body) && isRecord(asked.body['port'])) {
      const change = asked.body['port'];
      const binding = change['binding:host_id'];
      const bound = binding === undefined ? {} : this.binding(binding);
      this.ports.set(id, { ...port, fields: { ...port.fields, ...change, ...bound } });
    }
    return { body: { port: this.ports.get(id)?.fields } };
  }

  private binding(host: unknown): Json {
    if (host === null) return { 'binding:vif_type': 'unbound', 'binding:vif_details': {} };
    return { 'binding:vif_type': this.vifType, 'binding:vif_details': { connectivity: 'l2' } };
  }

  private put(
    facts: { readonly id: string; readonly mac_address: string; readonly ip: string },
    isUsers: boolean,
    given: Json,
  ): Json {
    const { id, mac_address, ip } = facts;
    const fields = {
      id,
      mac_address,
      status: this.status,
      admin_state_up: true,
      tenant_id: 'p1',
      'binding:vif_type': 'unbound',
      'binding:vnic_type': 'normal',
      'binding:vif_details': {},
      'binding:profile': {},
      ...given,
      fixed_ips: [{ subnet_id: `subnet-of-${String(given['network_id'])}`, ip_address: ip }],
    };
    this.ports.set(id, { id, mac_address, isUsers, fields });
    return fields;
  }
}

function subnet(id: string): Json {
  return {
    id,
    cidr: '10.0.0.0/24',
    ip_version: 4,
    gateway_ip: '10.0.0.1',
    enable_dhcp: true,
    dns_nameservers: [],
    host_routes: [],
  };
}
