/** The host's own interfaces as the API shows them: kind and state, from the kernel's tables and /sys. */
import { readFile, readdir } from 'node:fs/promises';
import type { NetInterface } from '../../native/types.ts';
import { Fault } from '../../process/fault.ts';
import type { NetworkStateWire } from '../wire/networks.ts';
import type { NetworkParts } from './parts.ts';

const SYS = '/sys/class/net';

type Parts = Pick<NetworkParts, 'native'>;

/** Interfaces of the host; host sides of containers' nics (veth…) are left out, as LXD does. */
export async function hostInterfaces(parts: Parts): Promise<NetInterface[]> {
  const [all] = await parts.native.interfaces([0]);
  return (all ?? []).filter((one) => !one.name.startsWith('veth'));
}

/** LXD's word for the kind of an interface; `unknown` for what has no word. */
export async function interfaceType(one: NetInterface): Promise<string> {
  if (one.type === 'loopback') return 'loopback';
  const entries = await list(`${SYS}/${one.name}`);
  if (entries.includes('bridge')) return 'bridge';
  if (entries.includes('bonding')) return 'bond';
  if ((await text(`/proc/net/vlan/${one.name}`)) !== null) return 'vlan';
  return entries.includes('device') ? 'physical' : 'unknown';
}

/** Fault `not_found` when there is no such interface. */
export async function interfaceState(parts: Parts, name: string): Promise<NetworkStateWire> {
  const [all] = await parts.native.interfaces([0]);
  const one = (all ?? []).find((candidate) => candidate.name === name);
  if (one === undefined) throw new Fault('not_found', 'Network interface not found');
  return {
    addresses: one.addresses.map((address) => ({
      family: address.family,
      address: address.address,
      netmask: String(address.prefix),
      scope: address.scope,
    })),
    counters: {
      bytes_received: one.counters.bytesReceived,
      bytes_sent: one.counters.bytesSent,
      packets_received: one.counters.packetsReceived,
      packets_sent: one.counters.packetsSent,
    },
    hwaddr: one.type === 'loopback' ? '' : one.hwaddr,
    mtu: one.mtu,
    state: one.up ? 'up' : 'down',
    type: one.type,
    bond: await bondState(`${SYS}/${name}`),
    bridge: await bridgeState(`${SYS}/${name}`),
    vlan: parseVlan(await text(`/proc/net/vlan/${name}`)),
    ovn: null,
  };
}

async function bridgeState(at: string): Promise<NetworkStateWire['bridge']> {
  const id = await text(`${at}/bridge/bridge_id`);
  if (id === null) return null;
  return {
    id,
    stp: (await text(`${at}/bridge/stp_state`)) !== '0',
    forward_delay: await number(`${at}/bridge/forward_delay`),
    vlan_default: await number(`${at}/bridge/default_pvid`),
    vlan_filtering: (await text(`${at}/bridge/vlan_filtering`)) === '1',
    upper_devices: await list(`${at}/brif`),
  };
}

async function bondState(at: string): Promise<NetworkStateWire['bond']> {
  const mode = await text(`${at}/bonding/mode`);
  if (mode === null) return null;
  const firstWord = async (file: string): Promise<string> =>
    ((await text(`${at}/bonding/${file}`)) ?? '').split(' ')[0] ?? '';
  return {
    mode: mode.split(' ')[0] ?? '',
    transmit_policy: await firstWord('xmit_hash_policy'),
    up_delay: await number(`${at}/bonding/updelay`),
    down_delay: await number(`${at}/bonding/downdelay`),
    mii_frequency: await number(`${at}/bonding/miimon`),
    mii_state: await firstWord('mii_status'),
    lower_devices: ((await text(`${at}/bonding/slaves`)) ?? '').split(' ').filter((one) => one !== ''),
  };
}

/** `eth0.5  VID: 5 …` and a line `Device: eth0`. */
export function parseVlan(content: string | null): NetworkStateWire['vlan'] {
  const vid = /\bVID:\s*(\d+)/.exec(content ?? '')?.[1];
  const device = /^Device:\s*(\S+)/m.exec(content ?? '')?.[1];
  return vid === undefined || device === undefined ? null : { lower_device: device, vid: Number(vid) };
}

async function number(path: string): Promise<number> {
  return Number((await text(path)) ?? '0') || 0;
}

/** null for a file that is not there or that this kind of link refuses to be read. */
async function text(path: string): Promise<string | null> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return null;
  }
}

async function list(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch {
    return [];
  }
}
