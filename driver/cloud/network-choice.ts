/** Which networks and ports an instance gets: Nova's rules for what was asked for and for what was not. */
import { type CallContext } from './call-context.ts';
import { CloudFault } from './cloud-fault.ts';
import { textOf, textOrNull, recordOf, recordsOf, type Json } from './json.ts';
import { NetworkFault, networkFault } from './network-fault.ts';
import { type Neutron } from './neutron.ts';

/** A NetworkRequest. */
export interface PortWanted {
  readonly networkId: string | null;
  readonly portId: string | null;
  readonly address: string | null;
  readonly tag: string | null;
}

interface Who {
  readonly instance: string;
  readonly project: string;
  readonly hostname: string;
}

/** What one interface of an instance is made of. */
export interface Choice {
  readonly wanted: PortWanted;
  readonly network: Json;
  /** The user's own port; null: one is made. */
  readonly port: Json | null;
}

/** Reads the NetworkRequestList of build_and_run_instance; null for "none" (`--nic none`). */
export function readRequests(primitive: unknown): PortWanted[] | null {
  const data = recordOf(recordOf(primitive)['nova_object.data']);
  const wanted = recordsOf(data['objects']).map((one) => {
    const fields = recordOf(one['nova_object.data']);
    return {
      networkId: textOrNull(fields['network_id']),
      portId: textOrNull(fields['port_id']),
      address: textOrNull(fields['address']),
      tag: textOrNull(fields['tag']),
    };
  });
  if (wanted.some((one) => one.networkId === 'none')) return null;
  return wanted;
}

/** Nova's word for: the project's only network, or one that Neutron makes for it. */
const AUTO = 'auto';

/** The network, and the port if the user has one, of each interface. Empty: the project has no network. */
export async function chooseNetworks(
  neutron: Neutron,
  context: CallContext,
  who: Who,
  all: readonly PortWanted[],
): Promise<Choice[]> {
  const requests = all.filter((one) => one.networkId !== AUTO);
  const ports = await Promise.all(
    requests.map((one) =>
      one.portId === null ? Promise.resolve(null) : usablePort(neutron, context, who, one.portId),
    ),
  );
  const ids = requests.map((one, i) => textOrNull(ports[i]?.['network_id']) ?? one.networkId ?? '');
  const networks = await available(neutron, context, who.project, [...new Set(ids)]);
  if (requests.length === 0) {
    const isNew = networks.length === 0 && all.length > 0;
    return onlyNetwork(isNew ? await madeNetwork(neutron, context, who.project) : networks, context);
  }
  return requests.map((wanted, i) => {
    const network = networks.find((one) => one['id'] === ids[i]);
    if (network === undefined) {
      throw new NetworkFault('not_found', 'NetworkNotFound', `find network ${ids[i] ?? ''}: there is none`);
    }
    const port = ports[i] ?? null;
    if (port === null) refuseExternal(network, context);
    return { wanted, network, port };
  });
}

function onlyNetwork(networks: readonly Json[], context: CallContext): Choice[] {
  const [network] = networks;
  if (network === undefined) return [];
  if (networks.length > 1) {
    throw new NetworkFault(
      'conflict',
      'NetworkAmbiguous',
      'choose a network: the project can use several; say which the server shall be on',
    );
  }
  refuseExternal(network, context);
  return [{ wanted: { networkId: null, portId: null, address: null, tag: null }, network, port: null }];
}

/** The network Neutron makes for a project that has none. */
async function madeNetwork(neutron: Neutron, context: CallContext, project: string): Promise<Json[]> {
  try {
    const id = await neutron.autoNetwork(context, project);
    return await neutron.networks(context, [['id', id]]);
  } catch (err) {
    const what = `make a network for project ${project}: Neutron cannot; see "openstack network auto allocated topology"`;
    if (!(err instanceof CloudFault) || err.status >= 500) throw err;
    throw new NetworkFault('conflict', 'UnableToAutoAllocateNetwork', what, err);
  }
}

async function available(
  neutron: Neutron,
  context: CallContext,
  project: string,
  ids: readonly string[],
): Promise<Json[]> {
  if (ids.length > 0)
    return neutron.networks(
      context,
      ids.map((id) => ['id', id] as const),
    );
  const [own, shared] = await Promise.all([
    neutron.networks(context, [
      ['tenant_id', project],
      ['shared', 'False'],
    ]),
    neutron.networks(context, [['shared', 'True']]),
  ]);
  return [...own, ...shared];
}

async function usablePort(neutron: Neutron, context: CallContext, who: Who, id: string): Promise<Json> {
  let port: Json;
  try {
    port = await neutron.port(context, id);
  } catch (err) {
    const fault = networkFault(err, `use port ${id}`);
    throw fault;
  }
  const refuse = (problem: 'PortNotUsable' | 'PortInUse' | 'PortBindingFailed', why: string): NetworkFault =>
    new NetworkFault('conflict', problem, `use port ${id} for instance ${who.instance}: ${why}`);
  if (port['tenant_id'] !== who.project) throw refuse('PortNotUsable', 'it belongs to another project');
  const device = textOf(port['device_id']);
  if (device !== '' && device !== who.instance) throw refuse('PortInUse', 'another device uses it');
  if (port['binding:vif_type'] === 'binding_failed')
    throw refuse('PortBindingFailed', 'its binding failed before');
  const dnsName = textOf(port['dns_name']);
  if (dnsName !== '' && dnsName !== who.hostname) {
    throw refuse('PortNotUsable', `its dns_name is ${dnsName}, the server is called ${who.hostname}`);
  }
  return port;
}

function refuseExternal(network: Json, context: CallContext): void {
  if (network['router:external'] !== true || network['shared'] === true || context.isAdmin) return;
  throw new NetworkFault(
    'forbidden',
    'ExternalNetworkAttachForbidden',
    `use network ${textOf(network['id'])}: it is external; put the server on another one and give it a floating ip`,
  );
}
