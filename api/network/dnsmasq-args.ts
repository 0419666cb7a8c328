/** The command line of a bridge's dnsmasq, which answers DHCP, DNS and router solicitations. Pure. */
import type { StringMap } from '../db/rows.ts';
import type { Family, Subnet } from './addresses.ts';
import { firstOf, formatAddress, lastOf, listOf, networkOf, parseRange } from './addresses.ts';
import { bridgeSubnet, isOn } from './network-keys.ts';

export interface DnsmasqFiles {
  readonly pid: string;
  readonly leases: string;
  readonly hosts: string;
  readonly raw: string;
  readonly log: string;
}

const DEFAULT_EXPIRY = '1h';

/** null when the bridge has no address: there is nothing to answer on. */
export function dnsmasqArgs(
  bridge: string,
  config: StringMap,
  files: DnsmasqFiles,
  user: string,
): string[] | null {
  const v4 = bridgeSubnet(config, 4);
  const v6 = bridgeSubnet(config, 6);
  if (v4 === null && v6 === null) return null;
  const listen = [v4, v6].flatMap((subnet) =>
    subnet === null ? [] : [`--listen-address=${formatAddress(subnet.family, subnet.address)}`],
  );
  return [
    '--strict-order',
    '--bind-interfaces',
    '--except-interface=lo',
    `--interface=${bridge}`,
    ...listen,
    '--no-ping',
    '--quiet-dhcp',
    '--quiet-dhcp6',
    '--quiet-ra',
    `--log-facility=${files.log}`,
    `--user=${user}`,
    `--pid-file=${files.pid}`,
    `--conf-file=${files.raw}`,
    '--dhcp-rapid-commit',
    '--dhcp-no-override',
    '--dhcp-authoritative',
    // A pool is never smaller than the subnet allows; the default of 1,000 leases is.
    '--dhcp-lease-max=65536',
    `--dhcp-leasefile=${files.leases}`,
    // New files are noticed by inotify; SIGHUP is needed only for changes and removals.
    `--dhcp-hostsdir=${files.hosts}`,
    ...dhcp4(config),
    ...dhcp6(bridge, config),
    ...dns(bridge, config),
  ];
}

function dhcp4(config: StringMap): string[] {
  const subnet = bridgeSubnet(config, 4);
  if (subnet === null || !isOn(config['ipv4.dhcp'], true)) return [];
  const expiry = value(config, 'ipv4.dhcp.expiry', DEFAULT_EXPIRY);
  const ranges = rangesOf(config, 4) ?? [wholePool(subnet)];
  const gateway = value(config, 'ipv4.dhcp.gateway', '');
  const mtu = value(config, 'bridge.mtu', '1500');
  const search = listOf(config['dns.search']);
  return [
    ...ranges.map(
      ([first, last]) => `--dhcp-range=${formatAddress(4, first)},${formatAddress(4, last)},${expiry}`,
    ),
    ...(gateway === '' ? [] : [`--dhcp-option-force=3,${gateway}`]),
    ...(mtu === '1500' ? [] : [`--dhcp-option-force=26,${mtu}`]),
    ...(search.length === 0 ? [] : [`--dhcp-option-force=119,${search.join(',')}`]),
  ];
}

/** Everything but the network's own address, the broadcast address and, at an end, the bridge's. */
function wholePool(subnet: Subnet): readonly [bigint, bigint] {
  const first = firstOf(subnet) + 1n;
  const last = lastOf(subnet) - 1n;
  return [first === subnet.address ? first + 1n : first, last === subnet.address ? last - 1n : last];
}

function dhcp6(bridge: string, config: StringMap): string[] {
  const subnet = bridgeSubnet(config, 6);
  if (subnet === null) return [];
  const search = listOf(config['dns.search']);
  const options = search.length === 0 ? [] : [`--dhcp-option-force=option6:24,${search.join(',')}`];
  if (!isOn(config['ipv6.dhcp'], true))
    return ['--enable-ra', `--dhcp-range=::,constructor:${bridge},ra-only`];
  if (!isOn(config['ipv6.dhcp.stateful'], false)) {
    return ['--enable-ra', `--dhcp-range=::,constructor:${bridge},ra-stateless,ra-names`, ...options];
  }
  const expiry = value(config, 'ipv6.dhcp.expiry', DEFAULT_EXPIRY);
  const prefix = String(Math.max(64, subnet.prefix));
  const ranges = rangesOf(config, 6) ?? [
    [firstOf(subnet) + 2n, lastOf({ ...subnet, prefix: Number(prefix) })] as const,
  ];
  const lines = ranges.map(
    ([first, last]) =>
      `--dhcp-range=${formatAddress(6, first)},${formatAddress(6, last)},${prefix},${expiry}`,
  );
  return ['--enable-ra', ...lines, ...options];
}

function dns(bridge: string, config: StringMap): string[] {
  if (config['dns.mode'] === 'none') return ['--port=0'];
  const domain = value(config, 'dns.domain', 'lxd');
  return [
    '-s',
    domain,
    '--interface-name',
    `_gateway.${domain},${bridge}`,
    // Names of the domain are never asked of the host's own name servers.
    '-S',
    `/${domain}/`,
    ...reverse(config),
  ];
}

/** Questions for names of the subnet's addresses stay here too. */
function reverse(config: StringMap): string[] {
  const subnet = bridgeSubnet(config, 4);
  return subnet === null || subnet.prefix < 8 ? [] : [`--rev-server=${networkOf(subnet)}`];
}

function rangesOf(config: StringMap, family: Family): (readonly [bigint, bigint])[] | null {
  const ranges = listOf(config[`ipv${String(family)}.dhcp.ranges`]).flatMap((text) => {
    const range = parseRange(text);
    return range === null ? [] : [[range.first, range.last] as const];
  });
  return ranges.length === 0 ? null : ranges;
}

/** '' stands for the default as in LXD. */
function value(config: StringMap, key: string, byDefault: string): string {
  const text = config[key] ?? '';
  return text === '' ? byDefault : text;
}
