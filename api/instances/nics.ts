/**
 * The nic devices of an instance as links of the container. Pure.
 *
 * `volatile.<device>.*` keeps what was chosen once: MAC, name in the guest,
 * name on the host. Devices are taken in the order of their names, so that
 * eth0 comes before eth1 in the guest as well.
 */
import { Fault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import type { BridgedNic, ManagedNetwork } from '../network/types.ts';
import type { NicLink } from './lxc-config.ts';
import type { Expanded } from './types.ts';

export interface NicPlan {
  readonly device: string;
  readonly link: NicLink;
  /** Given to the network side; null for kinds it has nothing to do with. */
  readonly bridged: BridgedNic | null;
  /** volatile.* keys to keep. */
  readonly volatile: StringMap;
}

export interface NicNames {
  /** A fresh host interface name. */
  readonly hostName: () => string;
  readonly hwaddr: () => string;
}

export function planNics(
  expanded: Expanded,
  managed: (name: string) => ManagedNetwork | null,
  names: NicNames,
): NicPlan[] {
  const nics = Object.entries(expanded.devices)
    .filter(([, device]) => device['type'] === 'nic')
    .sort(([a], [b]) => (a < b ? -1 : 1));
  // The kept ones too: a new nic may come before the one that has had its name for long.
  const named = nics.map(
    ([name, device]) => device['name'] ?? expanded.row.config[`volatile.${name}.name`] ?? '',
  );
  const taken = new Set(named.filter((name) => name !== ''));
  return nics.map(([device, config]) => planNic(expanded, device, config, managed, names, taken));
}

/** Plan of one nic; `taken` holds the guest names in use and gains this one's. */
export function planNic(
  expanded: Expanded,
  device: string,
  config: StringMap,
  managed: (name: string) => ManagedNetwork | null,
  names: NicNames,
  taken: Set<string>,
): NicPlan {
  const kept = (key: string): string | undefined => expanded.row.config[`volatile.${device}.${key}`];
  const network = config['network'] ?? null;
  const { kind, parent, mtu } = resolveParent(device, config, network, managed);
  const name = config['name'] ?? kept('name') ?? freeName(taken);
  taken.add(name);
  const hwaddr = config['hwaddr'] ?? kept('hwaddr') ?? names.hwaddr();
  const isVeth = kind === 'bridged' || kind === 'p2p' || kind === 'ovs';
  const hostName = isVeth ? (config['host_name'] ?? names.hostName()) : null;
  const link: NicLink = {
    kind: isVeth ? 'veth' : kind === 'macvlan' ? 'macvlan' : 'phys',
    // Open vSwitch is told of the link when it is there.
    link: kind === 'ovs' ? null : parent,
    hostName,
    name,
    hwaddr: kind === 'physical' && config['hwaddr'] === undefined ? null : hwaddr,
    mtu: config['mtu'] ?? mtu,
  };
  const bridged: BridgedNic | null =
    hostName === null
      ? null
      : {
          project: expanded.row.project,
          instance: expanded.row.name,
          device,
          network: kind === 'bridged' ? network : null,
          parent: parent ?? '',
          hostName,
          hwaddr,
          config,
        };
  const volatile: Record<string, string> = {};
  if (hostName !== null) volatile[`volatile.${device}.host_name`] = hostName;
  if (config['name'] === undefined) volatile[`volatile.${device}.name`] = name;
  if (config['hwaddr'] === undefined && kind !== 'physical') volatile[`volatile.${device}.hwaddr`] = hwaddr;
  return { device, link, bridged, volatile };
}

type NicKind = 'bridged' | 'p2p' | 'ovs' | 'physical' | 'macvlan';

function resolveParent(
  device: string,
  config: StringMap,
  network: string | null,
  managed: (name: string) => ManagedNetwork | null,
): { kind: NicKind; parent: string | null; mtu: string | null } {
  if (network !== null) {
    const found = managed(network);
    if (found === null)
      throw new Fault('bad_request', `device "${device}": there is no managed network "${network}"`);
    const mtu = found.config['bridge.mtu'] ?? found.config['mtu'] ?? null;
    if (found.type === 'bridge') return { kind: 'bridged', parent: network, mtu };
    const parent = found.config['parent'] ?? null;
    return { kind: found.type === 'macvlan' ? 'macvlan' : 'physical', parent, mtu };
  }
  const nictype = config['nictype'] ?? '';
  const parent = config['parent'] ?? null;
  switch (nictype) {
    case 'p2p':
      return { kind: 'p2p', parent: null, mtu: null };
    case 'bridged':
    case 'ovs':
    case 'physical':
    case 'macvlan':
      if (parent === null)
        throw new Fault('bad_request', `device "${device}": nictype ${nictype} needs a parent`);
      return { kind: nictype, parent, mtu: null };
    default:
      throw new Fault(
        'bad_request',
        `device "${device}": nictype "${nictype}" is not supported; write bridged, ovs, p2p, physical or macvlan`,
      );
  }
}

function freeName(taken: ReadonlySet<string>): string {
  for (let n = 0; ; n += 1) {
    const name = `eth${String(n)}`;
    if (!taken.has(name)) return name;
  }
}
