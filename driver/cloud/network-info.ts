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
  /** This port's VIF alone is made anew; the others stay as they were. */
  readonly only?: string;
  /** Ports and networks as Neutron has just answered them: they are not asked for again. */
  readonly known?: { readonly ports: readonly Json[]; readonly networks: readonly Json[] };
}

/** The instance's VIFs as Neutron has them now: those that were known in their order, then new ones. */
export async function buildNetworkInfo(
  neutron: Neutron,
  context: CallContext,
  request: InfoRequest,
): Promise<NetworkInfo> {
  const all = request.known?.ports ?? (await portsOf(neutron, context, request));
  const { only, before } = request;
  // With nothing known before, one VIF would be all there is.
  if (only === undefined || before.length === 0) return buildVifs(neutron, context, request, all);
  const port = all.filter((one) => one['id'] === only);
  const [vif] = await buildVifs(neutron, context, request, port);
  if (vif === undefined) return before.filter((one) => one.id !== only);
  const isNew = !before.some((one) => one.id === only);
  return isNew ? [...before, vif] : before.map((one) => (one.id === only ? vif : one));
}

function portsOf(neutron: Neutron, context: CallContext, request: InfoRequest): Promise<Json[]> {
  return neutron.ports(context, [
    ['tenant_id', request.project],
    ['device_id', request.instance],
  ]);
}

async function buildVifs(
  neutron: Neutron,
  context: CallContext,
  request: InfoRequest,
  ports: readonly Json[],
): Promise<Vif[]> {
  if (ports.length === 0) return [];
  const ids = ports.map((port) => textOf(port['network_id']));
  const filter = [...new Set(ids)].map((id) => ['id', id] as const);
  const networks = request.known?.networks ?? (await neutron.networks(context, filter, 'service'));
  const order = request.before.map((vif) => vif.id);
  const rank = (port: Json): number => {
    const at = order.indexOf(textOf(port['id']));
    return at < 0 ? order.length : at;
  };
  const shared = new Map<string, Promise<NetworkFacts>>();
  const factsOf = (network: string): Promise<NetworkFacts> => {
    const facts = shared.get(network) ?? networkFacts(neutron, context, network);
    shared.set(network, facts);
    return facts;
  };
  const vifs = ports
    .toSorted((a, b) => rank(a) - rank(b))
    .flatMap((port) => {
      const network = networks.find((one) => one['id'] === port['network_id']);
      // A network that was deleted in the meantime takes its ports with it.
      return network === undefined ? [] : [oneVif(neutron, context, request, { port, network, factsOf })];
    });
  return Promise.all(vifs);
}

interface OnePort {
  readonly port: Json;
  readonly network: Json;
  readonly factsOf: (network: string) => Promise<NetworkFacts>;
}

interface NetworkFacts {
  readonly dhcpServers: ReadonlyMap<string, string>;
  readonly physicalNetwork: string | null;
  readonly isTunneled: boolean;
}

async function networkFacts(neutron: Neutron, context: CallContext, network: string): Promise<NetworkFacts> {
  const [servers, wires] = await Promise.all([
    dhcpServers(neutron, context, network),
    provider(neutron, context, network),
  ]);
  return { dhcpServers: servers, ...wires };
}

async function oneVif(
  neutron: Neutron,
  context: CallContext,
  request: InfoRequest,
  one: OnePort,
): Promise<Vif> {
  const { port, network } = one;
  const id = textOf(port['id']);
  const fixed = recordsOf(port['fixed_ips']);
  const subnetIds = [...new Set(fixed.map((each) => textOf(each['subnet_id'])))];
  const [floating, subnets, facts] = await Promise.all([
    floatingIps(neutron, context, id, fixed),
    subnetIds.length === 0 ? [] : neutron.subnets(context, subnetIds),
    one.factsOf(textOf(network['id'])),
  ]);
  const isPreserved =
    request.preserved?.includes(id) === true ||
    request.before.some((vif) => vif.id === id && vif.preserve_on_delete);
  return buildVif({ port, network, subnets, floating, ...facts, isPreserved }, request.ovsBridge);
}

async function floatingIps(
  neutron: Neutron,
  context: CallContext,
  port: string,
  fixed: readonly Json[],
): Promise<Map<string, string[]>> {
  const found = fixed.map(async (one): Promise<[string, string[]]> => {
    const address = textOf(one['ip_address']);
    const ips = await neutron.floatingIps(context, address, port);
    return [address, ips.map((each) => textOf(each['floating_ip_address']))];
  });
  return new Map(await Promise.all(found));
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
