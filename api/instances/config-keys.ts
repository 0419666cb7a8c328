/**
 * The configuration keys of instances and profiles: what each takes and
 * where it may stand.
 *
 * Pure. `checkConfig` is the one entry for anything a client wrote. A key that
 * LXD has and that is not done here is refused with its reason (REFUSED)
 * unless having it set changes nothing a user could rely on.
 */
import { Fault, isFault } from '../../process/fault.ts';
import type { StringMap } from '../db/rows.ts';
import { parseRawIdmap } from '../idmap/idmap.ts';
import { isSwapSize } from './limits.ts';
import { checkRawLxc } from './raw-lxc.ts';
import {
  checkExpiry,
  checkSchedule,
  hasControlCharacter,
  parseBool,
  parseBytes,
  parseCpuAllowance,
  parseCpuLimit,
  parseInteger,
  parseKernelLimit,
  parseMac,
  parseMemoryLimit,
  parsePriority,
  wrong,
} from './values.ts';

/** Throws a Fault whose text starts with the value; the empty value never gets here. */
export type ValueCheck = (value: string) => void;

/** Where a set of keys stands. */
export type ConfigScope = 'instance' | 'profile';

const anything: ValueCheck = () => undefined;
const bool: ValueCheck = (value) => void parseBool(value);
const bytes: ValueCheck = (value) => void parseBytes(value);
/** A size is the swap an instance may use beyond its memory. */
const boolOrBytes: ValueCheck = (value) => {
  if (isSwapSize(value)) parseBytes(value);
  else parseBool(value);
};
const priority: ValueCheck = (value) => void parsePriority(value);
const integer =
  (min: number, max?: number): ValueCheck =>
  (value) =>
    void parseInteger(value, min, max);
const oneOf =
  (...words: readonly string[]): ValueCheck =>
  (value) => {
    if (!words.includes(value)) throw wrong(value, `is not possible; write ${words.join(', ')}`);
  };
/** Values that become one line of liblxc's configuration. */
const oneLine: ValueCheck = (value) => {
  if (/[\r\n]/.test(value)) throw wrong(value, 'holds a line break; write it on one line');
};
const kernelModules: ValueCheck = (value) => {
  for (const name of value.split(',')) {
    if (!/^\w[\w-]{0,63}$/.test(name.trim()))
      throw wrong(value, 'is not a list of kernel modules; write for example overlay,nf_nat');
  }
};
/** Lines of system call names, with liblxc's optional action or argument filter behind each. */
const syscalls: ValueCheck = (value) => {
  for (const line of value.split('\n')) {
    if (!/^\s*(#.*|\[[a-z0-9_]+\]|[a-z0-9_]+( .*)?)?\s*$/.test(line))
      throw wrong(line, 'is not a system call name');
  }
};
const uuid: ValueCheck = (value) => {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) throw wrong(value, 'is not a UUID');
};
const idmapSize: ValueCheck = (value) => {
  if (value !== 'auto') parseInteger(value, 1, 0xffff_ffff);
};
const rawIdmap: ValueCheck = (value) => {
  const highest = Math.max(...parseRawIdmap(value).map((e) => Math.max(e.hostId, e.nsId) + e.range - 1));
  if (highest > 0xffff_fffe) throw wrong(value, 'has an id above 4294967294');
};
const json: ValueCheck = (value) => {
  try {
    JSON.parse(value);
  } catch {
    throw wrong(value, 'is not JSON');
  }
};

/** Keys of one name; all may stand in a profile. */
const KEYS: Readonly<Record<string, ValueCheck>> = {
  'boot.autostart': bool,
  'boot.autostart.delay': integer(0, 86_400),
  'boot.autostart.priority': integer(-2_147_483_648, 2_147_483_647),
  'boot.host_shutdown_timeout': integer(0, 86_400),
  'boot.stop.priority': integer(-2_147_483_648, 2_147_483_647),
  'cloud-init.user-data': anything,
  'cloud-init.vendor-data': anything,
  'cloud-init.network-config': anything,
  // There is no cluster to leave: accepted so that definitions made for one can be used.
  'cluster.evacuate': oneOf('auto', 'migrate', 'live-migrate', 'stop'),
  'limits.cpu': (value) => void parseCpuLimit(value),
  'limits.cpu.allowance': (value) => void parseCpuAllowance(value),
  'limits.cpu.priority': priority,
  'limits.disk.priority': priority,
  'limits.hugepages.64KB': bytes,
  'limits.hugepages.1MB': bytes,
  'limits.hugepages.2MB': bytes,
  'limits.hugepages.1GB': bytes,
  'limits.memory': (value) => void parseMemoryLimit(value),
  'limits.memory.enforce': oneOf('hard', 'soft'),
  'limits.memory.swap': boolOrBytes,
  'limits.memory.swap.priority': priority,
  'limits.network.priority': priority,
  'limits.processes': integer(1),
  'linux.kernel_modules': kernelModules,
  // These three only steer a live migration, which is refused on its own.
  'migration.incremental.memory': bool,
  'migration.incremental.memory.iterations': integer(0, 999),
  'migration.incremental.memory.goal': integer(0, 100),
  'raw.idmap': rawIdmap,
  'raw.lxc': checkRawLxc,
  'raw.seccomp': anything,
  'security.devlxd': bool,
  'security.idmap.base': integer(0, 0xffff_fffe),
  'security.idmap.isolated': bool,
  'security.idmap.size': idmapSize,
  'security.nesting': bool,
  'security.privileged': bool,
  'security.protection.delete': bool,
  'security.protection.shift': bool,
  'security.syscalls.allow': syscalls,
  'security.syscalls.deny': syscalls,
  'security.syscalls.deny_compat': bool,
  'security.syscalls.deny_default': bool,
  'security.syscalls.whitelist': syscalls,
  'security.syscalls.blacklist': syscalls,
  'security.syscalls.blacklist_compat': bool,
  'security.syscalls.blacklist_default': bool,
  // Differs: no snapshot is taken or expired yet; the plan is kept for when they are.
  'snapshots.schedule': checkSchedule,
  'snapshots.schedule.stopped': bool,
  'snapshots.pattern': oneLine,
  'snapshots.expiry': checkExpiry,
};

/** Keys that only an instance has; the daemon writes most of them. */
const INSTANCE_KEYS: Readonly<Record<string, ValueCheck>> = {
  'slipway.hostname': (value) => {
    if (!/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(value))
      throw wrong(value, 'is not a host name');
  },
  'volatile.apply_quota': anything,
  'volatile.apply_template': oneOf('create', 'copy', 'rename'),
  'volatile.base_image': (value) => {
    if (!/^[0-9a-f]{64}$/.test(value)) throw wrong(value, 'is not an image fingerprint');
  },
  'volatile.changing': json,
  'volatile.following': json,
  'volatile.cloud-init.instance-id': anything,
  'volatile.evacuate.origin': anything,
  'volatile.held': oneLine,
  'volatile.idmap.base': integer(0, 0xffff_fffe),
  'volatile.idmap.current': json,
  'volatile.idmap.next': json,
  'volatile.last_state.idmap': json,
  'volatile.last_state.power': oneLine,
  // Set while a rename is under way.
  'volatile.rename.from': oneLine,
  'volatile.uuid': uuid,
};

const VOLATILE_DEVICE: Readonly<Record<string, ValueCheck>> = {
  apply_quota: anything,
  ceph_rbd: anything,
  created: anything,
  driver: anything,
  host_name: oneLine,
  hwaddr: (value) => void parseMac(value),
  id: anything,
  'last_state.created': anything,
  'last_state.hwaddr': anything,
  'last_state.mtu': anything,
  'last_state.vf.hwaddr': anything,
  'last_state.vf.id': anything,
  'last_state.vf.parent': anything,
  'last_state.vf.spoofcheck': anything,
  'last_state.vf.vlan': anything,
  mtu: anything,
  name: oneLine,
  spoofcheck: anything,
  uuid: anything,
  vlan: anything,
};

const KERNEL_LIMITS = new Set([
  'as', 'core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile',
  'nproc', 'rss', 'rtprio', 'rttime', 'sigpending', 'stack',
]); // prettier-ignore

const VM_ONLY = new Set([
  'agent.nic_config',
  'limits.memory.hugepages',
  'migration.stateful',
  'raw.qemu',
  'raw.qemu.conf',
  'security.agent.metrics',
  'security.secureboot',
  'volatile.apply_nvram',
  'volatile.vsock_id',
]);

/** Features of LXD that are not here. Switching one off is always fine. */
const SWITCHES_NOT_DONE: Readonly<Record<string, string>> = {
  'nvidia.runtime': 'this server does not set up the NVIDIA runtime',
  'security.devlxd.images': 'guests cannot read images on this server',
};
const INTERCEPT = 'security.syscalls.intercept.';
const INTERCEPT_SWITCHES = new Set([
  'bpf', 'bpf.devices', 'mknod', 'mount', 'mount.shift', 'sched_setscheduler', 'setxattr', 'sysinfo',
]); // prettier-ignore
const REFUSED: Readonly<Record<string, string>> = {
  'nvidia.driver.capabilities': 'this server does not set up the NVIDIA runtime',
  'nvidia.require.cuda': 'this server does not set up the NVIDIA runtime',
  'nvidia.require.driver': 'this server does not set up the NVIDIA runtime',
  'raw.apparmor': 'this server adds no rules of its own to the AppArmor profile',
  [`${INTERCEPT}mount.allowed`]: 'this server does not intercept system calls',
  [`${INTERCEPT}mount.fuse`]: 'this server does not intercept system calls',
};

/** An old name and the new one: one of them may be set, not both. */
const SYNONYMS: readonly (readonly [string, string])[] = [
  ['security.syscalls.whitelist', 'security.syscalls.allow'],
  ['security.syscalls.blacklist', 'security.syscalls.deny'],
  ['security.syscalls.blacklist_compat', 'security.syscalls.deny_compat'],
  ['security.syscalls.blacklist_default', 'security.syscalls.deny_default'],
];

/** Throws bad_request for the first key or value that cannot stand in this scope. */
export function checkConfig(config: StringMap, scope: ConfigScope): void {
  for (const [key, value] of Object.entries(config)) checkKey(key, value, scope);
  for (const [old, current] of SYNONYMS) {
    if (isSet(config, old) && isSet(config, current)) {
      throw new Fault('bad_request', `${old} is the old name of ${current}; set only one of them`);
    }
  }
}

const isSet = (config: StringMap, key: string): boolean => (config[key] ?? '') !== '';

/** True for `volatile.<device>.<anything known>` of this device. */
export function isVolatileOf(key: string, device: string): boolean {
  const prefix = `volatile.${device}.`;
  return key.startsWith(prefix) && Object.hasOwn(VOLATILE_DEVICE, key.slice(prefix.length));
}

function checkKey(key: string, value: string, scope: ConfigScope): void {
  const check = findCheck(key, scope);
  if (value.includes('\0')) throw new Fault('bad_request', `the value of ${key} holds a NUL byte`);
  if (value === '') return;
  try {
    refuseNotDone(key, value);
    check(value);
  } catch (err) {
    if (!isFault(err, 'bad_request')) throw err;
    throw new Fault('bad_request', err.message.startsWith(key) ? err.message : `${key} ${err.message}`);
  }
}

function refuseNotDone(key: string, value: string): void {
  const intercept = key.startsWith(INTERCEPT) && INTERCEPT_SWITCHES.has(key.slice(INTERCEPT.length));
  const why = intercept ? 'this server does not intercept system calls' : SWITCHES_NOT_DONE[key];
  const reason = why !== undefined && parseBool(value) ? why : REFUSED[key];
  if (reason !== undefined) throw new Fault('bad_request', `${key} cannot be set: ${reason}`);
}

function findCheck(key: string, scope: ConfigScope): ValueCheck {
  if (VM_ONLY.has(key)) {
    throw new Fault('bad_request', `${key} is only for virtual machines, which this server does not run`);
  }
  const check = (Object.hasOwn(KEYS, key) ? KEYS[key] : undefined) ?? prefixed(key) ?? notDone(key);
  if (check !== undefined) return check;
  const own = (Object.hasOwn(INSTANCE_KEYS, key) ? INSTANCE_KEYS[key] : undefined) ?? instancePrefixed(key);
  if (own === undefined) throw new Fault('bad_request', `Unknown configuration key: ${key}`);
  if (scope === 'profile')
    throw new Fault('bad_request', `${key} can only be set on an instance, not in a profile`);
  return own;
}

function notDone(key: string): ValueCheck | undefined {
  const known =
    Object.hasOwn(SWITCHES_NOT_DONE, key) ||
    Object.hasOwn(REFUSED, key) ||
    (key.startsWith(INTERCEPT) && INTERCEPT_SWITCHES.has(key.slice(INTERCEPT.length)));
  return known ? anything : undefined;
}

function prefixed(key: string): ValueCheck | undefined {
  // Control characters in a key would break every place that prints one key a line.
  if (hasControlCharacter(key)) return undefined;
  if (key.startsWith('user.') && key.length > 5) return anything;
  if (/^environment\.[^=\s]+$/.test(key)) return oneLine;
  if (/^linux\.sysctl\.[A-Za-z0-9_.*/-]+$/.test(key)) return oneLine;
  if (key.startsWith('limits.kernel.') && KERNEL_LIMITS.has(key.slice('limits.kernel.'.length))) {
    return (value) => void parseKernelLimit(value);
  }
  return undefined;
}

function instancePrefixed(key: string): ValueCheck | undefined {
  if (hasControlCharacter(key)) return undefined;
  if (key.startsWith('image.') && key.length > 6) return anything;
  if (!key.startsWith('volatile.')) return undefined;
  const rest = key.slice('volatile.'.length);
  for (const [suffix, check] of Object.entries(VOLATILE_DEVICE)) {
    if (rest.endsWith(`.${suffix}`) && rest.length > suffix.length + 1) return check;
  }
  return undefined;
}
