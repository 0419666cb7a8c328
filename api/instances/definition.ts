/**
 * The part of an instance a client writes: from the wire's words to ours, and
 * the keys the daemon adds to or keeps in it. Pure but for random ids.
 */
import { randomUUID } from 'node:crypto';
import { Fault } from '../../process/fault.ts';
import type { DeviceMap, InstanceRow, StringMap } from '../db/rows.ts';
import { HOST_ARCHITECTURE } from '../architectures.ts';
import { architectureName } from '../images/metadata.ts';
import type { Networks } from '../network/types.ts';
import { generateMac } from './names.ts';
import type { Expanded } from './types.ts';

type LooseMap = Readonly<Record<string, string | null>> | null | undefined;
type LooseDevices = Readonly<Record<string, LooseMap>> | null | undefined;

/** A map of a request. Empty values unset their key, as in LXD. */
export function decodeConfig(config: LooseMap): StringMap {
  const set = Object.entries(config ?? {}).filter(
    (entry): entry is [string, string] => (entry[1] ?? '') !== '',
  );
  return Object.fromEntries(set);
}

/** Devices of a request, without empty values. */
export function decodeDevices(devices: LooseDevices): DeviceMap {
  return Object.fromEntries(
    Object.entries(devices ?? {}).map(([name, device]) => [name, decodeConfig(device)]),
  );
}

/** Architectures whose programs this host's kernel runs. */
const ALSO_RUNS: Readonly<Record<string, readonly string[]>> = {
  x86_64: ['i686'],
  aarch64: ['armv8l', 'armv7l', 'armv6l'],
  ppc64: ['ppc'],
};

/** LXD's name of an architecture; that of this host for ''. Fault bad_request for one that cannot run here. */
export function decodeArchitecture(text: string): string {
  if (text === '') return HOST_ARCHITECTURE;
  const name = architectureName(text);
  if (name === HOST_ARCHITECTURE || (name !== null && ALSO_RUNS[HOST_ARCHITECTURE]?.includes(name) === true))
    return name;
  throw new Fault(
    'bad_request',
    `Architecture ${JSON.stringify(text.slice(0, 40))} isn't supported; this host runs ${[HOST_ARCHITECTURE, ...(ALSO_RUNS[HOST_ARCHITECTURE] ?? [])].join(', ')}`,
  );
}

/** Kinds of nics that get a MAC address of ours; a physical one has its own. */
function wantsHwaddr(device: StringMap, networks: Pick<Networks, 'managed'>): boolean {
  if (device['type'] !== 'nic' || (device['hwaddr'] ?? '') !== '') return false;
  const network = device['network'] ?? '';
  const kind = network === '' ? device['nictype'] : networks.managed(network)?.type;
  return kind !== 'physical';
}

/** `volatile.<nic>.hwaddr` for each nic that has none yet. */
export function freshHwaddrs(
  next: Expanded,
  networks: Pick<Networks, 'managed'>,
  isTaken: (mac: string) => boolean,
): StringMap {
  const fresh: Record<string, string> = {};
  const mine = new Set<string>();
  for (const [name, device] of Object.entries(next.devices)) {
    const key = `volatile.${name}.hwaddr`;
    if (!wantsHwaddr(device, networks) || next.row.config[key] !== undefined) continue;
    const mac = generateMac((candidate) => mine.has(candidate) || isTaken(candidate));
    mine.add(mac);
    fresh[key] = mac;
  }
  return fresh;
}

/** Whether a MAC address is in use by an instance of this host; reads all rows once, at the first question. */
export function hwaddrsOf(rows: () => readonly InstanceRow[]): (mac: string) => boolean {
  let taken: Set<string> | null = null;
  return (mac) => {
    taken ??= new Set(rows().flatMap(macsOfRow));
    return taken.has(mac);
  };
}

/** Rows never change, so neither does what is in them. */
const macsByRow = new WeakMap<InstanceRow, readonly string[]>();

function macsOfRow(row: InstanceRow): readonly string[] {
  const known = macsByRow.get(row);
  if (known !== undefined) return known;
  const macs = findMacs(row);
  macsByRow.set(row, macs);
  return macs;
}

function findMacs(row: InstanceRow): string[] {
  const kept = Object.entries(row.config).filter(
    ([key]) => key.startsWith('volatile.') && key.endsWith('.hwaddr'),
  );
  const set = Object.values(row.devices).map((device) => device['hwaddr'] ?? '');
  return [...kept.map(([, value]) => value), ...set]
    .filter((mac) => mac !== '')
    .map((mac) => mac.toLowerCase());
}

const CLOUD_INIT_KEYS = [
  'cloud-init.user-data',
  'cloud-init.vendor-data',
  'cloud-init.network-config',
  'user.user-data',
  'user.vendor-data',
  'user.network-config',
  'user.meta-data',
];

/** True when cloud-init must run again: its keys or the names of nics have changed. */
export function needsNewInstanceId(before: Expanded, after: Expanded): boolean {
  if (CLOUD_INIT_KEYS.some((key) => (before.config[key] ?? '') !== (after.config[key] ?? ''))) return true;
  const nics = (devices: DeviceMap): string =>
    Object.entries(devices)
      .filter(([, device]) => device['type'] === 'nic')
      .map(([name, device]) => `${name}/${device['name'] ?? ''}`)
      .sort()
      .join(' ');
  return nics(before.devices) !== nics(after.devices);
}

/** A new value of `volatile.cloud-init.instance-id`. */
export function newInstanceId(): string {
  return randomUUID();
}
