/** The bridge interface itself: link, addresses, routes, kernel settings. */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { StringMap } from '../db/rows.ts';
import { formatAddress, listOf } from './addresses.ts';
import type { Family } from './addresses.ts';
import { isMissing } from './dnsmasq.ts';
import { bridgeSubnet, isOn } from './network-keys.ts';
import type { NetworkParts } from './parts.ts';

const FAMILIES: readonly Family[] = [4, 6];

export type LinkParts = Pick<NetworkParts, 'native' | 'runTool'> & { readonly log: Log };

export type LinkKind = 'none' | 'bridge' | 'other';

export async function linkKind(name: string): Promise<LinkKind> {
  try {
    const entries = await readdir(`/sys/class/net/${name}`);
    return entries.includes('bridge') ? 'bridge' : 'other';
  } catch (err) {
    if (isMissing(err)) return 'none';
    throw err;
  }
}

/**
 * Makes the link fit the configuration; an existing bridge of the name is
 * taken over, and what already fits is not touched. `before` is the
 * configuration it was last brought up with, if any.
 */
export async function bringLinkUp(
  parts: LinkParts,
  name: string,
  config: StringMap,
  before: StringMap,
): Promise<void> {
  const kind = await linkKind(name);
  if (kind === 'other') {
    throw new Fault('conflict', `network "${name}": an interface of that name exists and is not a bridge`);
  }
  const hwaddr =
    (config['bridge.hwaddr'] ?? '') === '' ? config['volatile.bridge.hwaddr'] : config['bridge.hwaddr'];
  if (kind === 'none') await batch(parts, [`link add name ${name} type bridge`]);
  await allowIpv6(parts, name, config);
  const mtu = config['bridge.mtu'] ?? '';
  const commands = [
    ...(hwaddr === undefined ? [] : [`link set dev ${name} address ${hwaddr}`]),
    ...(mtu === '' ? [] : [`link set dev ${name} mtu ${mtu}`]),
    // Once set by hand, the kernel no longer follows the ports' MTU.
    ...(mtu === '' && (before['bridge.mtu'] ?? '') !== '' ? [`link set dev ${name} mtu 1500`] : []),
    `link set dev ${name} up`,
    ...(await addressCommands(parts, name, config)),
    ...routeCommands(name, config, before),
    ...(await externalCommands(parts, name, config, before)),
  ];
  await batch(parts, commands);
  await allowForwarding(parts, name, config);
}

/** Removes the bridge; its ports are set free. Harmless when it is not there. */
export async function takeLinkDown(parts: LinkParts, name: string): Promise<void> {
  if ((await linkKind(name)) !== 'bridge') return;
  await batch(parts, [`link delete dev ${name} type bridge`]);
}

async function batch(parts: LinkParts, commands: readonly string[]): Promise<void> {
  if (commands.length === 0) return;
  await parts.runTool('ip', ['-batch', '-'], { stdin: `${commands.join('\n')}\n` });
}

/** Adds missing addresses and takes away those of an earlier configuration. */
async function addressCommands(parts: LinkParts, name: string, config: StringMap): Promise<string[]> {
  const [interfaces] = await parts.native.interfaces([0]);
  const link = (interfaces ?? []).find((one) => one.name === name);
  const present = (link?.addresses ?? [])
    .filter((one) => one.scope !== 'link')
    .map((one) => `${one.address}/${String(one.prefix)}`);
  const wanted = FAMILIES.flatMap((family) => {
    const subnet = bridgeSubnet(config, family);
    return subnet === null ? [] : [`${formatAddress(family, subnet.address)}/${String(subnet.prefix)}`];
  });
  return [
    ...present.filter((one) => !wanted.includes(one)).map((one) => `addr del ${one} dev ${name}`),
    ...wanted
      .filter((one) => !present.includes(one))
      // Duplicate detection would keep dnsmasq from binding for a second.
      .map((one) => `addr add ${one} dev ${name}${one.includes(':') ? ' nodad' : ''}`),
  ];
}

/** `proto static` marks the routes of the network; those of nics are `proto boot`. */
function routeCommands(name: string, config: StringMap, before: StringMap): string[] {
  return FAMILIES.flatMap((family) => {
    const key = `ipv${String(family)}.routes`;
    const wanted = listOf(config[key]);
    const gone = listOf(before[key]).filter((route) => !wanted.includes(route));
    const flag = family === 4 ? '' : '-6 ';
    return [
      ...gone.map((route) => `${flag}route flush ${route} dev ${name} proto static`),
      ...wanted.map((route) => `${flag}route replace ${route} dev ${name} proto static`),
    ];
  });
}

async function externalCommands(
  parts: LinkParts,
  name: string,
  config: StringMap,
  before: StringMap,
): Promise<string[]> {
  const wanted = listOf(config['bridge.external_interfaces']);
  const gone = listOf(before['bridge.external_interfaces']).filter((one) => !wanted.includes(one));
  if (wanted.length + gone.length === 0) return [];
  const [interfaces] = await parts.native.interfaces([0]);
  const there = new Map((interfaces ?? []).map((one) => [one.name, one]));
  const commands = gone.filter((one) => there.has(one)).map((one) => `link set dev ${one} nomaster`);
  for (const one of wanted) {
    const link = there.get(one);
    if (link === undefined) {
      parts.log.warn('external interface of a network is missing', { network: name, interface: one });
      continue;
    }
    if (link.addresses.some((address) => address.scope === 'global')) {
      throw new Fault(
        'bad_request',
        `external interface "${one}" has an address; only an unconfigured one can join a bridge`,
      );
    }
    commands.push(`link set dev ${one} master ${name}`, `link set dev ${one} up`);
  }
  return commands;
}

/** The bridge's own IPv6: no address from others' announcements, no waiting for duplicate detection. */
async function allowIpv6(parts: LinkParts, name: string, config: StringMap): Promise<void> {
  const at = `net/ipv6/conf/${name}`;
  if (bridgeSubnet(config, 6) !== null) await sysctl(parts, `${at}/disable_ipv6`, '0');
  for (const key of ['autoconf', 'accept_ra', 'accept_dad']) await sysctl(parts, `${at}/${key}`, '0');
}

async function allowForwarding(parts: LinkParts, name: string, config: StringMap): Promise<void> {
  if (bridgeSubnet(config, 4) !== null && isOn(config['ipv4.routing'], true)) {
    await sysctl(parts, 'net/ipv4/ip_forward', '1');
  }
  if (bridgeSubnet(config, 6) === null) return;
  if (!isOn(config['ipv6.routing'], true)) {
    await sysctl(parts, `net/ipv6/conf/${name}/forwarding`, '0');
    return;
  }
  if ((await readSysctl('net/ipv6/conf/all/forwarding')) === '0') await keepHostRoutes(parts, name);
  await sysctl(parts, 'net/ipv6/conf/all/forwarding', '1');
  await sysctl(parts, `net/ipv6/conf/${name}/forwarding`, '1');
}

/**
 * A host that forwards no longer listens to router announcements and would
 * lose its own default route: accept_ra=2 keeps it listening.
 */
async function keepHostRoutes(parts: LinkParts, bridge: string): Promise<void> {
  for (const name of await readdir('/proc/sys/net/ipv6/conf')) {
    if (name === 'all' || name === bridge) continue;
    const path = `net/ipv6/conf/${name}/accept_ra`;
    if ((await readSysctl(path)) === '1') await sysctl(parts, path, '2');
  }
}

async function readSysctl(path: string): Promise<string | null> {
  try {
    return (await readFile(`/proc/sys/${path}`, 'utf8')).trim();
  } catch (err) {
    if (isMissing(err)) return null;
    throw err;
  }
}

/** Kernels without IPv6 and read-only /proc/sys have no such file: the network works without. */
async function sysctl(parts: LinkParts, path: string, value: string): Promise<void> {
  try {
    if ((await readSysctl(path)) === value) return;
    await writeFile(`/proc/sys/${path}`, value);
  } catch (err) {
    parts.log.warn('kernel setting not changed', { setting: path, value, error: err });
  }
}
