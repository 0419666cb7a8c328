/**
 * Limits of an instance as files of its payload cgroup.
 *
 * Pure. The same list serves the configuration of a start (as `lxc.cgroup.*`
 * lines) and a live change (as writes). Rules are LXD's: see the comments.
 */
import type { StringMap } from '../db/rows.ts';
import type { HostFacts } from './host.ts';
import { Fault } from '../../process/fault.ts';
import { parseBool, parseBytes, parseCpuAllowance } from './values.ts';

export interface CgroupSetting {
  /** v1 controller, or 'unified'. */
  readonly controller: string;
  readonly file: string;
  readonly value: string;
  /** Value that lifts the limit. */
  readonly unlimited: string;
  /** Block device the value is for, in files that hold one line per device. */
  readonly device?: string;
}

/** Configuration line of a setting. */
export function settingLine(setting: CgroupSetting): readonly [key: string, value: string] {
  const prefix = setting.controller === 'unified' ? 'lxc.cgroup2' : 'lxc.cgroup';
  return [`${prefix}.${setting.file}`, setting.value];
}

/** What this host has no controller for is not in the list: see refuseUnkept(). */
export function cgroupSettings(config: StringMap, host: HostFacts): CgroupSetting[] {
  return [
    ...memorySettings(config, host),
    ...cpuSettings(config, host),
    ...diskSettings(config, host),
    ...processSettings(config, host),
    ...hugepageSettings(config, host),
  ];
}

const CONTROLLER_OF: readonly (readonly [key: string, controller: string])[] = [
  ['limits.memory', 'memory'],
  ['limits.memory.swap', 'memory'],
  ['limits.cpu', 'cpuset'],
  ['limits.cpu.allowance', 'cpu'],
  ['limits.cpu.priority', 'cpu'],
  ['limits.processes', 'pids'],
  ...['64KB', '1MB', '2MB', '1GB'].map((size) => [`limits.hugepages.${size}`, 'hugetlb'] as const),
];

/** Fault bad_request for a limit that the kernel of this host could not keep to: it is never accepted and ignored. */
export function refuseUnkept(config: StringMap, host: HostFacts): void {
  for (const [key, controller] of CONTROLLER_OF) {
    if ((config[key] ?? '') === '') continue;
    if (host.v1[controller] !== undefined || host.unifiedControllers.includes(controller)) continue;
    throw new Fault(
      'bad_request',
      `${key} cannot be kept: containers of this host have no ${controller} controller; unset it, or see "slipway check"`,
    );
  }
  if ((config['limits.disk.priority'] ?? '') !== '' && !host.diskWeight) {
    throw new Fault(
      'bad_request',
      'limits.disk.priority cannot be kept: the kernel of this host does not share disks by weights; use limits.read and limits.write of the disks instead',
    );
  }
}

/** Bytes of `limits.memory`; null for none. A percentage is one of the host's memory. */
export function memoryLimit(config: StringMap, host: HostFacts): number | null {
  const text = config['limits.memory'] ?? '';
  if (text === '') return null;
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
  return percent === null ? parseBytes(text) : Math.floor((host.memoryBytes * Number(percent[1])) / 100);
}

function memorySettings(config: StringMap, host: HostFacts): CgroupSetting[] {
  const bytes = memoryLimit(config, host);
  const swapBytes = swapLimit(config, host, bytes);
  const swap = config['limits.memory.swap'] ?? '';
  const mayswap = swap === '' || swapBytes !== null || parseBool(swap);
  const out: CgroupSetting[] = [];
  const soft = config['limits.memory.enforce'] === 'soft';
  if (host.v1['memory'] !== undefined) {
    const set = (file: string, value: string): void => {
      out.push({ controller: 'memory', file: `memory.${file}`, value, unlimited: '-1' });
    };
    if (bytes !== null && soft) set('soft_limit_in_bytes', String(bytes));
    if (bytes !== null && !soft) {
      set('limit_in_bytes', String(bytes));
      // The sum of memory and swap is what is limited, so that a guest cannot trade one for the other.
      if (host.swapAccounting) set('memsw.limit_in_bytes', String(bytes + (swapBytes ?? 0)));
      set('soft_limit_in_bytes', String(Math.floor(bytes * 0.9)));
    }
    const priority = Number(config['limits.memory.swap.priority'] ?? '10');
    if (!mayswap || config['limits.memory.swap.priority'] !== undefined) {
      const value = mayswap ? String(Math.max(0, 70 - priority)) : '0';
      out.push({ controller: 'memory', file: 'memory.swappiness', value, unlimited: '60' });
    }
    return out;
  }
  if (!host.unifiedControllers.includes('memory')) return out;
  const set = (file: string, value: string, unlimited = 'max'): void => {
    out.push({ controller: 'unified', file: `memory.${file}`, value, unlimited });
  };
  if (bytes !== null && soft) set('high', String(bytes));
  if (bytes !== null && !soft) {
    set('max', String(bytes));
    set('low', String(Math.floor(bytes * 0.9)), '0');
    set('swap.max', String(swapBytes ?? 0));
  } else if (swapBytes !== null) {
    set('swap.max', String(swapBytes));
  } else if (!mayswap) {
    set('swap.max', '0');
  }
  return out;
}

/**
 * Bytes of swap in `limits.memory.swap`; null when it says yes, no or nothing.
 * Fault bad_request where the kernel could not keep to it.
 */
function swapLimit(config: StringMap, host: HostFacts, memoryBytes: number | null): number | null {
  const text = config['limits.memory.swap'] ?? '';
  if (!isSwapSize(text)) return null;
  const isV1 = host.v1['memory'] !== undefined;
  if (isV1 && !host.swapAccounting) {
    throw new Fault(
      'bad_request',
      `limits.memory.swap = ${text} cannot be kept: this host does not count swap; boot it with swapaccount=1`,
    );
  }
  if (isV1 && (memoryBytes === null || config['limits.memory.enforce'] === 'soft')) {
    throw new Fault(
      'bad_request',
      `limits.memory.swap = ${text} needs a hard limits.memory on this host: memory and swap are counted together`,
    );
  }
  return parseBytes(text);
}

/** True for a size; what is neither that nor yes or no has been refused before. */
export function isSwapSize(text: string): boolean {
  return /^\d+ ?[kMGTPE]/.test(text);
}

function cpuSettings(config: StringMap, host: HostFacts): CgroupSetting[] {
  const text = config['limits.cpu.allowance'] ?? '';
  const allowance = text === '' ? null : parseCpuAllowance(text);
  const priority = Number(config['limits.cpu.priority'] ?? '10');
  const percent = allowance?.kind === 'weight' ? allowance.percent : 100;
  const isDefault = percent === 100 && priority === 10;
  const out: CgroupSetting[] = [];
  if (host.v1['cpu'] !== undefined) {
    const shares = Math.max(2, Math.floor((1024 * percent) / 100) - (10 - priority));
    if (!isDefault)
      out.push({ controller: 'cpu', file: 'cpu.shares', value: String(shares), unlimited: '1024' });
    if (allowance?.kind === 'quota') {
      out.push({
        controller: 'cpu',
        file: 'cpu.cfs_period_us',
        value: String(allowance.periodUs),
        unlimited: '100000',
      });
      out.push({
        controller: 'cpu',
        file: 'cpu.cfs_quota_us',
        value: String(allowance.quotaUs),
        unlimited: '-1',
      });
    }
    return out;
  }
  if (!host.unifiedControllers.includes('cpu')) return out;
  const weight = Math.max(1, percent - (10 - priority));
  if (!isDefault)
    out.push({ controller: 'unified', file: 'cpu.weight', value: String(weight), unlimited: '100' });
  if (allowance?.kind === 'quota') {
    const value = `${String(allowance.quotaUs)} ${String(allowance.periodUs)}`;
    out.push({ controller: 'unified', file: 'cpu.max', value, unlimited: 'max 100000' });
  }
  return out;
}

function diskSettings(config: StringMap, host: HostFacts): CgroupSetting[] {
  const text = config['limits.disk.priority'] ?? '';
  if (text === '' || !host.diskWeight) return [];
  const weight = String(Math.max(10, Number(text) * 100));
  if (host.v1['blkio'] !== undefined) {
    return [{ controller: 'blkio', file: 'blkio.weight', value: weight, unlimited: '500' }];
  }
  if (!host.unifiedControllers.includes('io')) return [];
  return [{ controller: 'unified', file: 'io.weight', value: weight, unlimited: '100' }];
}

function processSettings(config: StringMap, host: HostFacts): CgroupSetting[] {
  const text = config['limits.processes'] ?? '';
  if (text === '') return [];
  if (host.v1['pids'] !== undefined)
    return [{ controller: 'pids', file: 'pids.max', value: text, unlimited: 'max' }];
  if (!host.unifiedControllers.includes('pids')) return [];
  return [{ controller: 'unified', file: 'pids.max', value: text, unlimited: 'max' }];
}

function hugepageSettings(config: StringMap, host: HostFacts): CgroupSetting[] {
  const out: CgroupSetting[] = [];
  for (const size of ['64KB', '1MB', '2MB', '1GB']) {
    const text = config[`limits.hugepages.${size}`] ?? '';
    if (text === '') continue;
    const bytes = String(parseBytes(text));
    if (host.v1['hugetlb'] !== undefined) {
      out.push({
        controller: 'hugetlb',
        file: `hugetlb.${size}.limit_in_bytes`,
        value: bytes,
        unlimited: '-1',
      });
    } else if (host.unifiedControllers.includes('hugetlb')) {
      out.push({ controller: 'unified', file: `hugetlb.${size}.max`, value: bytes, unlimited: 'max' });
    }
  }
  return out;
}

/**
 * Writes that turn the limits of one definition into those of another: first
 * everything that differs is lifted (a limit may have to rise above another
 * one first), then the new values are set.
 */
export function limitChanges(
  before: readonly CgroupSetting[],
  after: readonly CgroupSetting[],
): CgroupSetting[] {
  const key = (s: CgroupSetting): string => `${s.controller}/${s.file}/${s.device ?? ''}`;
  const old = new Map(before.map((s) => [key(s), s]));
  const fresh = new Map(after.map((s) => [key(s), s]));
  const changed = (s: CgroupSetting): boolean => old.get(key(s))?.value !== fresh.get(key(s))?.value;
  // The pair memory/memsw can only move together: memsw is lifted before and lowered after memory.
  const lifted = [...before]
    .reverse()
    .filter(changed)
    .map((s) => ({ ...s, value: s.unlimited }));
  return [...lifted, ...after.filter(changed)];
}
