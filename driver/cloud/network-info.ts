/** Asks Neutron for everything an instance's network information is made of. */
import { type CallContext } from './call-context.ts';
import { recordsOf, textOf, textOrNull, type Json } from './json.ts';
import { type Neutron } from './neutron.ts';
import { buildVif, isTunnel, type NetworkInfo, type Vif } from './vif.ts';

export interface InfoRequest {
  readonly instance: string;
  readonly project: string;
  /** What was known before: gives the order, and which ports were there before the instance. */
  readonly before: NetworkInfo;
  /** Ports the user brought along in this request. */
  readonly preserved?: readonly string[];
  /** `[neutron] ovs_bridge`. */
  readonly ovsBridge: string;
}

/** The instance's VIFs as Neutron has them now: those that were known in their order, then new ones. */
export async function buildNetworkInfo(
  neutron: Neutron,
  context: CallContext,
  request: InfoRequest,
): Promise<NetworkInfo> {
  const ports = await neutron.ports(context, [
    ['tenant_id', request.project],
    ['device_id', request.instance],
  ]);
  if (ports.length === 0) return [];
  const ids = ports.map((port) => textOf(port['network_id']));
  const filter = [...new Set(ids)].map((id) => ['id', id] as const);
  const networks = await neutron.networks(context, filter, 'service');
  const order = request.before.map((vif) => vif.id);
  const rank = (port: Json): number => {
    const at = order.indexOf(textOf(port['id']));
    return at < 0 ? order.length : at;
  };
  const vifs: Vif[] = [];
  for (const port of ports.toSorted((a, b) => rank(a) - rank(b))) {
    const network = networks.find((one) => one['id'] === port['network_id']);
    // A network that was deleted in the meantime takes its ports with it.
    if (network !== undefined) vifs.push(await oneVif(neutron, context, request, port, network));
  }
  return vifs;
}

async function oneVif(
  neutron: Neutron,
  context: CallContext,
  request: InfoRequest,
  port: Json,
  network: Json,
): Promise<Vif> {
  const id = textOf(port['id']);
  const fixed = recordsOf(port['fixed_ips']);
  const floating = new Map<string, string[]>();
  for (const one of fixed) {
    const address = textOf(one['ip_address']);
    const found = await neutron.floatingIps(context, address, id);
    floating.set(
      address,
      found.map((each) => textOf(each['floating_ip_address'])),
    );
  }
  const subnetIds = [...new Set(fixed.map((one) => textOf(one['subnet_id'])))];
  const subnets = subnetIds.length === 0 ? [] : await neutron.subnets(context, subnetIds);
  const isPreserved =
    request.preserved?.includes(id) === true ||
    request.before.some((vif) => vif.id === id && vif.preserve_on_delete);
  return buildVif(
    {
      port,
      network,
      subnets,
      dhcpServers:
        subnets.length === 0 ? new Map() : await dhcpServers(neutron, context, textOf(network['id'])),
      floating,
      ...(await provider(neutron, context, textOf(network['id']))),
      isPreserved,
    },
    request.ovsBridge,
  );
}

async function dhcpServers(
  neutron: Neutron,
  context: CallContext,
  network: string,
): Promise<Map<string, string>> {
  const ports = await neutron.ports(context, [
    ['network_id', network],
    ['device_owner', 'network:dhcp'],
  ]);
  const out = new Map<string, string>();
  for (const one of ports.flatMap((port) => recordsOf(port['fixed_ips']))) {
    const subnet = textOf(one['subnet_id']);
    if (!out.has(subnet)) out.set(subnet, textOf(one['ip_address']));
  }
  return out;
}

/** Where the network meets the wires; of several segments the first that has a physical network counts. */
async function provider(
  neutron: Neutron,
  context: CallContext,
  network: string,
): Promise<{ physicalNetwork: string | null; isTunneled: boolean }> {
  const extensions = await neutron.extensions(context);
  if (extensions.has('multi-provider')) {
    const segments = recordsOf((await neutron.networkFields(context, network, ['segments']))['segments']);
    const [first] = segments;
    if (first !== undefined) {
      const wired = segments.find((one) => textOrNull(one['provider:physical_network']) !== null);
      return {
        physicalNetwork: textOrNull(wired?.['provider:physical_network']),
        isTunneled: wired === undefined && isTunnel(first['provider:network_type']),
      };
    }
  }
  const fields = ['provider:physical_network', 'provider:network_type'];
  const found = await neutron.networkFields(context, network, fields);
  return {
    physicalNetwork: textOrNull(found['provider:physical_network']),
    isTunneled: isTunnel(found['provider:network_type']),
  };
}
