/**
 * The device types and their keys: what each takes, which are required.
 *
 * Pure: looks at one device alone. What needs the other devices, the networks
 * or the pools is in check-definition.ts. A type or nictype that LXD has and
 * this server does not is refused by name.
 */
import { posix } from 'node:path';
import { Fault, isFault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { MIN_ROOT_BYTES } from '../storage/root-file.ts';
import { checkInstanceName } from './names.ts';
import {
  checkAddress,
  checkSubnets,
  hasControlCharacter,
  parseBitRate,
  parseBool,
  parseBytes,
  parseInteger,
  parseIoLimit,
  parseMac,
  parseMode,
  wrong,
} from './values.ts';

type Check = (value: string) => void;

interface KeyRule {
  readonly check: Check;
  readonly required: boolean;
}

type KeyTable = Readonly<Record<string, KeyRule>>;

const may = (check: Check): KeyRule => ({ check, required: false });
const must = (check: Check): KeyRule => ({ check, required: true });

const anything: Check = () => undefined;
const bool: Check = (value) => void parseBool(value);
const integer =
  (min: number, max: number): Check =>
  (value) =>
    void parseInteger(value, min, max);
const oneOf =
  (...words: readonly string[]): Check =>
  (value) => {
    if (!words.includes(value)) throw wrong(value, `is not possible; write ${words.join(', ')}`);
  };

/** A path inside the container: absolute or relative to its root, never leaving it. */
const innerPath: Check = (value) => {
  if (value.split('/').includes('..'))
    throw wrong(value, 'holds ".."; write the path as it is inside the instance');
  if (value.length > 4095) throw wrong(value, 'is longer than a path can be');
};
const hostPath: Check = (value) => {
  if (!value.startsWith('/')) throw wrong(value, 'is not an absolute path on this host');
  if (value.length > 4095) throw wrong(value, 'is longer than a path can be');
};
const interfaceName: Check = (value) => {
  if (!/^[^\s/:\0]{1,15}$/.test(value) || value === '.' || value === '..' || value.includes('%')) {
    throw wrong(
      value,
      'is not an interface name; write at most 15 characters without blanks, "/", ":" and "%"',
    );
  }
};
const vlanId = integer(1, 4094);
const vlanOrNone: Check = (value) => {
  if (value !== 'none') parseInteger(value, 0, 4094);
};
const vlanList: Check = (value) => {
  for (const part of value.split(',')) {
    const [from = '', to = from] = part.trim().split('-');
    if (parseInteger(from, 1, 4094) > parseInteger(to, 1, 4094))
      throw wrong(value, 'has a range that runs backwards');
  }
};
const addressOrNone =
  (family: 4 | 6): Check =>
  (value) => {
    if (value !== 'none') checkAddress(value, family);
  };
const subnets =
  (family: 4 | 6): Check =>
  (value) => {
    checkSubnets(value, family);
  };
const ioLimit: Check = (value) => void parseIoLimit(value);
const bitRate: Check = (value) => void parseBitRate(value);

const PROPAGATIONS = [
  'private',
  'shared',
  'slave',
  'unbindable',
  'rprivate',
  'rshared',
  'rslave',
  'runbindable',
];

const DISK_LIMITS: KeyTable = {
  'limits.read': may(ioLimit),
  'limits.write': may(ioLimit),
  'limits.max': may(ioLimit),
  // Orders the firmware of virtual machines; a container has none.
  'boot.priority': may(integer(0, 0x7fff_ffff)),
};

const ROOT_DISK: KeyTable = {
  path: must(innerPath),
  pool: must(anything),
  size: may((value) => void parseBytes(value)),
  ...DISK_LIMITS,
};

const BOUND_DISK: KeyTable = {
  path: must(innerPath),
  source: must(hostPath),
  readonly: may(bool),
  recursive: may(bool),
  shift: may(bool),
  required: may(bool),
  optional: may(bool),
  propagation: may(oneOf(...PROPAGATIONS)),
  'raw.mount.options': may(anything),
  ...DISK_LIMITS,
};

/** Assembled at a start: see private-disks.ts. */
const EMPTY_DISK: KeyTable = {
  path: must(innerPath),
  source: must(anything),
  size: must((value) => {
    if (parseBytes(value) < MIN_ROOT_BYTES) throw wrong(value, 'is too small for a disk; the least is 16MiB');
  }),
  readonly: may(bool),
};

const OTHER_ROOT: KeyTable = {
  path: must(innerPath),
  source: must((value) => {
    checkInstanceName(value.replace(/^root:/, ''));
  }),
  readonly: may(bool),
};

const NIC: KeyTable = {
  nictype: may(anything),
  name: may(interfaceName),
  hwaddr: may((value) => void parseMac(value)),
  mtu: may(integer(68, 65_535)),
  // As for disks: without meaning for a container.
  'boot.priority': may(integer(0, 0x7fff_ffff)),
};

const PARENT: KeyTable = { parent: may(interfaceName), network: may(anything) };

const TRAFFIC: KeyTable = {
  'limits.ingress': may(bitRate),
  'limits.egress': may(bitRate),
  'limits.max': may(bitRate),
  'ipv4.routes': may(subnets(4)),
  'ipv6.routes': may(subnets(6)),
};

/** Of the interface's row in the database of Open vSwitch; our own marks are not for others to set. */
const externalId = (key: string): void => {
  if (!/^[A-Za-z0-9_.:-]{1,64}$/.test(key) || key.startsWith('slipway-')) {
    throw wrong(key, 'is no key of external_ids that may be set');
  }
};

const VLAN: KeyTable = { vlan: may(vlanId), gvrp: may(bool) };

/** One table for each nictype. Keys for ports of other network systems go into tables of their own here. */
const NICS: Readonly<Record<string, KeyTable>> = {
  bridged: {
    ...NIC,
    ...PARENT,
    ...TRAFFIC,
    'parent.create': may(bool),
    host_name: may(interfaceName),
    vlan: may(vlanOrNone),
    'vlan.tagged': may(vlanList),
    'ipv4.address': may(addressOrNone(4)),
    'ipv6.address': may(addressOrNone(6)),
    'ipv4.routes.external': may(subnets(4)),
    'ipv6.routes.external': may(subnets(6)),
    'security.mac_filtering': may(bool),
    'security.ipv4_filtering': may(bool),
    'security.ipv6_filtering': may(bool),
    'security.port_isolation': may(bool),
  },
  p2p: { ...NIC, ...TRAFFIC, host_name: may(interfaceName) },
  ovs: {
    ...NIC,
    parent: must(interfaceName),
    host_name: may(interfaceName),
    'limits.ingress': may(bitRate),
    'limits.egress': may(bitRate),
    'limits.max': may(bitRate),
  },
  physical: { ...NIC, ...PARENT, ...VLAN },
  macvlan: { ...NIC, ...PARENT, ...VLAN },
};

const UNIX_DEVICE: KeyTable = {
  source: may(hostPath),
  path: may(innerPath),
  major: may(integer(0, 4095)),
  minor: may(integer(0, 1_048_575)),
  uid: may(integer(0, 0xffff_fffe)),
  gid: may(integer(0, 0xffff_fffe)),
  mode: may((value) => void parseMode(value)),
  required: may(bool),
};

/** Types and nictypes of LXD that this server does not have. */
const OTHER_TYPES = ['gpu', 'infiniband', 'pci', 'proxy', 'tpm', 'unix-hotplug', 'usb'];
const OTHER_NICS = ['ipvlan', 'ovn', 'routed', 'sriov'];
const DISK_FOR_OTHERS: Readonly<Record<string, string>> = {
  'size.state': 'is only for virtual machines',
  'ceph.cluster_name': 'needs Ceph, which is not supported yet',
  'ceph.user_name': 'needs Ceph, which is not supported yet',
};

/** True for the disk that holds the instance's root. */
export function isRootDisk(device: StringMap): boolean {
  return device['type'] === 'disk' && device['path'] === '/' && (device['source'] ?? '') === '';
}

/** Where a disk or unix device appears in the container: absolute, without `.`, `..` and doubled slashes. */
export function innerPathOf(path: string): string {
  const clean = posix.normalize(`/${path}`);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

/**
 * Throws bad_request for the first thing that is wrong with one device.
 *
 * @param nictype kind of a nic, from its network or its `nictype`; '' for others
 */
export function checkDevice(name: string, device: StringMap, nictype: string): void {
  try {
    checkDeviceName(name);
    checkKeys(device, tableOf(device, nictype));
    checkTogether(device, nictype);
  } catch (err) {
    if (!isFault(err, 'bad_request')) throw err;
    throw new Fault('bad_request', `Device validation failed for ${JSON.stringify(name)}: ${err.message}`);
  }
}

function checkDeviceName(name: string): void {
  if (
    name === '' ||
    name.length > 64 ||
    name === '.' ||
    name === '..' ||
    name === '__proto__' ||
    /[/\p{Cc}]/u.test(name)
  ) {
    throw wrong(name, 'is not a device name; write at most 64 characters without "/"');
  }
}

function tableOf(device: StringMap, nictype: string): KeyTable {
  const type = device['type'] ?? '';
  if (type === 'disk') return diskTable(device);
  if (type === 'nic') return nicTable(nictype);
  if (type === 'unix-char' || type === 'unix-block') return UNIX_DEVICE;
  if (type === 'none') return {};
  if (type === '') throw new Fault('bad_request', 'Missing device type');
  if (OTHER_TYPES.includes(type)) {
    throw new Fault('bad_request', `devices of type "${type}" are not supported yet by this server`);
  }
  throw new Fault('bad_request', `Unsupported device type ${JSON.stringify(type)}`);
}

function diskTable(device: StringMap): KeyTable {
  if (device['path'] === '/') return ROOT_DISK;
  if (device['source'] === 'empty:') return EMPTY_DISK;
  if (device['source']?.startsWith('root:') === true) return OTHER_ROOT;
  if ((device['pool'] ?? '') !== '') {
    throw new Fault(
      'bad_request',
      'disks from a storage pool other than the root disk are not supported yet',
    );
  }
  return BOUND_DISK;
}

function nicTable(nictype: string): KeyTable {
  const table = Object.hasOwn(NICS, nictype) ? NICS[nictype] : undefined;
  if (table !== undefined) return table;
  if (nictype === '') throw new Fault('bad_request', 'a nic needs "network" or "nictype"');
  if (OTHER_NICS.includes(nictype)) {
    throw new Fault(
      'bad_request',
      `nics of type "${nictype}" are not supported yet; use ${Object.keys(NICS).join(', ')}`,
    );
  }
  throw new Fault(
    'bad_request',
    `Unsupported nictype ${JSON.stringify(nictype)}; use ${Object.keys(NICS).join(', ')}`,
  );
}

const EXTERNAL_ID = 'ovs.external_ids.';

function checkKeys(device: StringMap, table: KeyTable): void {
  for (const [key, value] of Object.entries(device)) {
    if (key === 'type' || key.startsWith('user.')) continue;
    if (table === NICS['ovs'] && key.startsWith(EXTERNAL_ID)) {
      externalId(key.slice(EXTERNAL_ID.length));
      if (value.length > 1024 || hasControlCharacter(value))
        throw wrong(key, 'has a value that is too long or holds control characters');
      continue;
    }
    const rule = Object.hasOwn(table, key) ? table[key] : undefined;
    if (rule === undefined) throw unknownKey(device, key);
    if (hasControlCharacter(value)) throw new Fault('bad_request', `"${key}" holds a control character`);
    if (value === '') continue;
    try {
      rule.check(value);
    } catch (err) {
      if (!isFault(err, 'bad_request')) throw err;
      throw new Fault('bad_request', `Invalid value for device option "${key}": ${err.message}`);
    }
  }
  for (const [key, rule] of Object.entries(table)) {
    if (rule.required && (device[key] ?? '') === '') {
      throw new Fault('bad_request', `the device needs a value for "${key}"`);
    }
  }
}

function unknownKey(device: StringMap, key: string): Fault {
  const reason = device['type'] === 'disk' ? DISK_FOR_OTHERS[key] : undefined;
  if (reason !== undefined) return new Fault('bad_request', `device option "${key}" ${reason}`);
  if (device['type'] === 'disk' && key === 'source') {
    return new Fault('bad_request', 'Root disk entry may not have a "source" property set');
  }
  return new Fault('bad_request', `Invalid device option ${JSON.stringify(key)}`);
}

/** Rules over several keys of one device. */
function checkTogether(device: StringMap, nictype: string): void {
  const has = (key: string): boolean => (device[key] ?? '') !== '';
  const type = device['type'];
  if (type === 'disk' && parseBool(device['readonly']) && parseBool(device['recursive'])) {
    throw new Fault('bad_request', '"recursive" and "readonly" cannot be used together');
  }
  if (type === 'disk' && has('required') && has('optional')) {
    throw new Fault('bad_request', '"optional" is the old inverse of "required"; set only one of them');
  }
  if (type === 'disk' && device['path'] !== '/' && innerPathOf(device['path'] ?? '') === '/') {
    throw wrong(device['path'] ?? '', 'is the root of the instance; write the path of the root disk as "/"');
  }
  if ((type === 'unix-char' || type === 'unix-block') && !has('source') && !has('path')) {
    throw new Fault('bad_request', 'the device needs a "source" or a "path"');
  }
  if (type === 'nic') checkNic(nictype, has);
}

function checkNic(nictype: string, has: (key: string) => boolean): void {
  if (has('network')) {
    for (const key of ['nictype', 'parent', 'parent.create']) {
      if (has(key))
        throw new Fault('bad_request', `Cannot use "${key}" property in conjunction with "network" property`);
    }
  } else if (nictype !== 'p2p' && !has('parent')) {
    throw new Fault('bad_request', `a ${nictype} nic needs a "parent" interface or a managed "network"`);
  }
  if (has('limits.max') && (has('limits.ingress') || has('limits.egress'))) {
    throw new Fault(
      'bad_request',
      '"limits.max" sets both directions; leave "limits.ingress" and "limits.egress" away',
    );
  }
  if ((nictype === 'physical' || nictype === 'macvlan') && (has('vlan') || has('gvrp'))) {
    throw new Fault(
      'bad_request',
      `"vlan" is not supported on a ${nictype} nic; make the VLAN interface on the host and name it as "parent"`,
    );
  }
}
