/**
 * The flows at Neutron over several calls: ports for a build, for one more
 * interface, their end, and their move to this host.
 */
import { Fault } from '../../process/fault.ts';
import { type Log } from '../../process/log.ts';
import { Undo } from '../../process/undo.ts';
import { type CallContext } from './call-context.ts';
import { recordOf, textOf, textsOf, type Json } from './json.ts';
import { NetworkFault, networkFault } from './network-fault.ts';
import { type Neutron } from './neutron.ts';
import { chooseNetworks, type Choice, type PortWanted } from './network-choice.ts';
import { type Vif } from './vif.ts';

/** The instance as ports see it. */
export interface PortOwner {
  readonly instance: string;
  readonly project: string;
  readonly hostname: string;
  /** null is written as Python formats it: `compute:None`. */
  readonly availabilityZone: string | null;
  /** Name under which the agent of this machine reports to Neutron. */
  readonly host: string;
}

export interface AllocatedPort {
  readonly id: string;
  readonly mac: string;
  /** True for a port of the user's, which is unbound and not deleted in the end. */
  readonly isPreserved: boolean;
  readonly tag: string | null;
  /** Port and network as Neutron answered them. */
  readonly port: Json;
  readonly network: Json;
}

/** What was looked up for an allocation; nothing has been made yet. */
export interface PreparedPorts {
  readonly chosen: readonly Choice[];
  readonly groups: readonly string[];
}

const BOUND_ELSEWHERE = [
  'migrating_to',
  'pci_slot',
  'pci_vendor_info',
  'physical_network',
  'allocation',
  'arq_uuid',
];

export class PortAllocation {
  private readonly neutron: Neutron;
  private readonly log: Log;

  constructor(neutron: Neutron, log: Log) {
    this.neutron = neutron;
    this.log = log;
  }

  /** Everything that is only read for allocate(). NetworkFault. */
  async prepare(
    context: CallContext,
    owner: PortOwner,
    requests: readonly PortWanted[],
    securityGroups: readonly string[],
  ): Promise<PreparedPorts> {
    const [chosen, groups] = await Promise.all([
      chooseNetworks(this.neutron, context, owner, requests),
      this.groupIds(context, owner.project, securityGroups),
      // Kept for the time when they are needed; what is wrong with them is said then.
      this.neutron.extensions(context).catch(() => null),
    ]);
    return { chosen, groups };
  }

  /**
   * Makes, or takes, one port for each request and binds it to this host. After
   * a failure nothing is left at Neutron. NetworkFault, with Nova's name of the
   * problem. No ports when the project has no network at all.
   */
  async allocate(
    context: CallContext,
    owner: PortOwner,
    requests: readonly PortWanted[],
    securityGroups: readonly string[],
  ): Promise<AllocatedPort[]> {
    return this.create(context, owner, await this.prepare(context, owner, requests, securityGroups));
  }

  /** The second half of allocate(). */
  async create(context: CallContext, owner: PortOwner, prepared: PreparedPorts): Promise<AllocatedPort[]> {
    const undo = new Undo();
    const { chosen, groups } = prepared;
    try {
      const ids = await all(chosen.map((one) => this.ensurePort(context, owner, one, groups, undo)));
      return await all(chosen.map((one, at) => this.bind(context, owner, one, ids[at] ?? '', undo)));
    } catch (err) {
      await undo.rollBack((what, cause) => {
        this.log.warn('undo of a port failed', { what, instance: owner.instance, error: cause });
      });
      throw networkFault(err, `allocate ports of instance ${owner.instance}`);
    }
  }

  /**
   * Deletes the ports of an instance; those in `preserved` are given back to
   * their user. All are tried; the first failure is thrown.
   */
  async deallocate(context: CallContext, owner: PortOwner, preserved: readonly string[]): Promise<void> {
    const ports = await this.neutron.ports(context, [['device_id', owner.instance]]);
    const failed: unknown[] = [];
    const release = async (id: string): Promise<void> => {
      try {
        if (preserved.includes(id)) await this.unbind(context, id);
        else await this.neutron.deletePort(context, id);
      } catch (err) {
        this.log.warn('port was not released', { port: id, instance: owner.instance, error: err });
        failed.push(err);
      }
    };
    await Promise.all(ports.map((port) => release(textOf(port['id']))));
    if (failed.length > 0) {
      const [cause] = failed;
      const what = `release ports of instance ${owner.instance}: ${String(failed.length)} were not`;
      throw new Fault('unavailable', what, { cause });
    }
  }

  /** Releases one port: for detach_interface. */
  async release(context: CallContext, vif: Pick<Vif, 'id' | 'preserve_on_delete'>): Promise<void> {
    if (vif.preserve_on_delete) await this.unbind(context, vif.id);
    else await this.neutron.deletePort(context, vif.id);
  }

  /** Binds ports to this host that are bound to another or to none: reschedule, unshelve, rebuild, revert. */
  async rebind(context: CallContext, owner: PortOwner): Promise<void> {
    const ports = await this.neutron.ports(context, [
      ['device_id', owner.instance],
      ['tenant_id', owner.project],
    ]);
    for (const port of ports) {
      const isHere = port['binding:host_id'] === owner.host;
      if (isHere && !['unbound', 'binding_failed'].includes(textOf(port['binding:vif_type']))) continue;
      const { migrating_to: _gone, ...profile } = recordOf(port['binding:profile']);
      const bound = await this.neutron.updatePort(context, textOf(port['id']), {
        'binding:host_id': owner.host,
        device_owner: deviceOwner(owner),
        'binding:profile': profile,
      });
      refuseFailedBinding(bound, owner);
    }
  }

  /** Gives a port back to its user; harmless when it is gone. */
  async unbind(context: CallContext, id: string): Promise<void> {
    let profile: Json = {};
    try {
      const port = await this.neutron.port(context, id, 'service', ['binding:profile', 'network_id']);
      profile = recordOf(port['binding:profile']);
      const kept = Object.entries(profile).filter(([key]) => !BOUND_ELSEWHERE.includes(key));
      await this.neutron.updatePort(context, id, {
        device_id: '',
        device_owner: '',
        'binding:host_id': null,
        'binding:profile': Object.fromEntries(kept),
        ...((await this.neutron.extensions(context)).has('dns-integration') ? { dns_name: '' } : {}),
      });
    } catch (err) {
      if (!(err instanceof Fault && err.code === 'not_found')) throw err;
    }
  }

  private async ensurePort(
    context: CallContext,
    owner: PortOwner,
    one: Choice,
    groups: readonly string[],
    undo: Undo,
  ): Promise<string> {
    if (one.port !== null) return textOf(one.port['id']);
    const { network, wanted } = one;
    if (network['port_security_enabled'] !== false && textsOf(network['subnets']).length === 0) {
      throw new NetworkFault(
        'bad_request',
        'SecurityGroupCannotBeApplied',
        `create a port on network ${textOf(network['id'])}: security groups need a subnet, and it has none`,
      );
    }
    const made = await this.neutron.createPort(context, {
      device_id: owner.instance,
      network_id: textOf(network['id']),
      admin_state_up: true,
      tenant_id: owner.project,
      ...(groups.length === 0 ? {} : { security_groups: groups }),
      ...(wanted.address === null ? {} : { fixed_ips: [{ ip_address: wanted.address }] }),
    });
    const id = textOf(made['id']);
    // What was given up must be cleaned up all the same.
    undo.add(`delete port ${id}`, () => this.neutron.deletePort({ ...context, signal: undefined }, id));
    return id;
  }

  private async bind(
    context: CallContext,
    owner: PortOwner,
    one: Choice,
    id: string,
    undo: Undo,
  ): Promise<AllocatedPort> {
    const dnsDomain = textOf(one.network['dns_domain']);
    const hasDns = (await this.neutron.extensions(context)).has('dns-integration');
    if (one.port !== null) {
      undo.add(`unbind port ${id}`, () => this.unbind({ ...context, signal: undefined }, id));
    }
    const profile = recordOf(one.port?.['binding:profile']);
    const bound = await this.neutron.updatePort(context, id, {
      device_id: owner.instance,
      device_owner: deviceOwner(owner),
      'binding:host_id': owner.host,
      ...(Object.keys(profile).length === 0 ? {} : { 'binding:profile': profile }),
      ...(hasDns && dnsDomain === '' ? { dns_name: owner.hostname } : {}),
    });
    refuseFailedBinding(bound, owner);
    // Only the owner of the network may name ports in its domain.
    if (hasDns && dnsDomain !== '') {
      await this.neutron.updatePort(context, id, { dns_name: owner.hostname }, 'user');
    }
    return {
      id,
      mac: textOf(bound['mac_address']),
      isPreserved: one.port !== null,
      tag: one.wanted.tag,
      port: bound,
      network: one.network,
    };
  }

  /** Ids of security groups given by name or id; `default` alone is what Neutron takes anyway. */
  private async groupIds(
    context: CallContext,
    project: string,
    wanted: readonly string[],
  ): Promise<string[]> {
    if (wanted.length === 0 || (wanted.length === 1 && wanted[0] === 'default')) return [];
    const known = await this.neutron.securityGroups(context, project);
    return wanted.map((one) => {
      const byId = known.find((group) => group['id'] === one);
      if (byId !== undefined) return one;
      const named = known.filter((group) => group['name'] === one);
      const [first] = named;
      if (named.length === 1 && first !== undefined) return textOf(first['id']);
      const problem = named.length === 0 ? 'is none' : 'are several; name it by its id';
      throw new NetworkFault(
        'not_found',
        'SecurityGroupNotFound',
        `find security group "${one}": there ${problem}`,
      );
    });
  }
}

/** As Promise.all(), but all have ended before it fails: what one of them made late would be left behind. */
async function all<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

function deviceOwner(owner: PortOwner): string {
  return `compute:${owner.availabilityZone ?? 'None'}`;
}

function refuseFailedBinding(port: Json, owner: PortOwner): void {
  if (port['binding:vif_type'] !== 'binding_failed') return;
  throw new NetworkFault(
    'conflict',
    'PortBindingFailed',
    `bind port ${textOf(port['id'])} to host ${owner.host}: Neutron has no agent there that can; compare "openstack ` +
      'network agent list" with the option host',
  );
}
