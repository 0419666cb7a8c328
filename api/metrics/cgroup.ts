/**
 * Which cgroup files tell an instance's use of CPU, memory, processes and
 * disks, and how their text is read: on v1, hybrid and v2 hosts.
 *
 * Reading itself is the caller's: it gives `paths` to native.readFiles() and
 * the contents to `parse`. Files of many instances can so be read in one batch.
 */
import { readFileSync } from 'node:fs';

export interface CgroupLayout {
  /** Controller -> mount point of its v1 hierarchy. */
  readonly v1: Readonly<Record<string, string>>;
  /** Mount point of the v2 tree; null when there is none. */
  readonly unified: string | null;
  /** Controllers of the v2 tree; empty on a hybrid host. */
  readonly unifiedControllers: readonly string[];
}

/**
 * Path of a payload cgroup below the mount of one controller ('' is the
 * unified tree): `/lxc.payload.<name>` unless the monitor says otherwise.
 */
export type CgroupPath = string | ((controller: string) => string);

/** Files to read, and the function that takes their contents in the same order. */
export interface CgroupQuery<T> {
  readonly paths: readonly string[];
  parse(contents: readonly (string | null)[]): T;
}

/** null: this host cannot tell. Sizes are bytes. */
export interface CgroupUsage {
  readonly cpuNs: number | null;
  readonly memoryUsage: number | null;
  readonly memoryPeak: number | null;
  readonly swapUsage: number | null;
  readonly swapPeak: number | null;
  readonly processes: number | null;
}

export interface CpuTime {
  readonly cpu: number;
  readonly userNs: number;
  readonly systemNs: number;
}

export interface DiskCounters {
  /** `major:minor`. */
  readonly device: string;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** The parts of memory.stat that both versions have, under v2's names, in bytes. */
export interface MemoryStat {
  readonly rss: number;
  readonly cache: number;
  readonly shmem: number;
  readonly mapped: number;
  readonly dirty: number;
  readonly writeback: number;
  readonly activeAnon: number;
  readonly inactiveAnon: number;
  readonly activeFile: number;
  readonly inactiveFile: number;
  readonly unevictable: number;
}

export interface CgroupDetails extends CgroupUsage {
  readonly cpus: readonly CpuTime[];
  readonly memory: MemoryStat | null;
  /** null when there is no limit. */
  readonly memoryLimit: number | null;
  readonly oomKills: number | null;
  readonly disks: readonly DiskCounters[];
}

/** The layout told by /proc/self/mountinfo and, for the v2 tree, its cgroup.controllers. */
export function cgroupLayout(mountinfo: string, unifiedControllers: (mount: string) => string): CgroupLayout {
  const v1: Record<string, string> = {};
  let unified: string | null = null;
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ');
    const mount = left?.split(' ')[4];
    const [type, , options] = right?.split(' ') ?? [];
    if (mount === undefined || type === undefined) continue;
    if (type === 'cgroup2') unified ??= mount;
    if (type !== 'cgroup') continue;
    for (const option of options?.split(',') ?? []) {
      if (option !== 'rw' && option !== 'ro' && !option.includes('=')) v1[option] ??= mount;
    }
  }
  const controllers = unified === null ? '' : unifiedControllers(unified);
  return { v1, unified, unifiedControllers: controllers.split(/\s+/).filter((name) => name !== '') };
}

/** The layout of this host. Quick, but does file access: call it once. */
export function readCgroupLayout(): CgroupLayout {
  return cgroupLayout(readFileSync('/proc/self/mountinfo', 'utf8'), (mount) => {
    try {
      return readFileSync(`${mount}/cgroup.controllers`, 'utf8');
    } catch {
      // An older kernel's v2 tree without the file has no controllers for us.
      return '';
    }
  });
}

/** The payload cgroup liblxc uses when the name is free in every hierarchy. */
export function payloadCgroup(containerName: string): string {
  return `/lxc.payload.${containerName}`;
}

/** What `GET …/state` tells: six files or less for an instance. */
export function usageQuery(layout: CgroupLayout, cgroup: CgroupPath): CgroupQuery<CgroupUsage> {
  const files = new FileList(layout, cgroup);
  const cpu = files.either('cpuacct', 'cpuacct.usage', 'cpu.stat', true);
  const memory = memoryFiles(files);
  const pids = files.either('pids', 'pids.current', 'pids.current');
  return {
    paths: files.paths,
    parse: (contents) => {
      const read = (file: CgroupFile | null): string | null => textOf(contents, file);
      return {
        cpuNs: cpu?.version === 2 ? times1000(field(read(cpu), 'usage_usec')) : count(read(cpu)),
        ...parseMemory(memory, read),
        processes: count(read(pids)),
      };
    },
  };
}

/** Everything that `GET /1.0/metrics` tells of an instance's cgroup. */
export function detailsQuery(layout: CgroupLayout, cgroup: CgroupPath): CgroupQuery<CgroupDetails> {
  const files = new FileList(layout, cgroup);
  const cpu = files.either('cpuacct', 'cpuacct.usage_all', 'cpu.stat', true);
  const memory = memoryFiles(files);
  const stat = files.either('memory', 'memory.stat', 'memory.stat');
  const limit = files.either('memory', 'memory.limit_in_bytes', 'memory.max');
  const oom = files.either('memory', 'memory.oom_control', 'memory.events');
  const pids = files.either('pids', 'pids.current', 'pids.current');
  const bytes = files.either('blkio', 'blkio.throttle.io_service_bytes_recursive', 'io.stat', false, 'io');
  const served = files.one('blkio', 'blkio.throttle.io_serviced_recursive');
  return {
    paths: files.paths,
    parse: (contents) => {
      const read = (file: CgroupFile | null): string | null => textOf(contents, file);
      const cpus = cpu?.version === 2 ? cpuStat(read(cpu)) : usageAll(read(cpu));
      const statText = read(stat);
      return {
        cpuNs: cpus.length === 0 ? null : cpus.reduce((sum, one) => sum + one.userNs + one.systemNs, 0),
        ...parseMemory(memory, read),
        processes: count(read(pids)),
        cpus,
        memory: statText === null ? null : memoryStat(statText, stat?.version === 2),
        memoryLimit: limitOf(read(limit)),
        oomKills: field(read(oom), 'oom_kill'),
        disks: bytes?.version === 2 ? ioStat(read(bytes)) : blkioStat(read(bytes), read(served)),
      };
    },
  };
}

interface CgroupFile {
  readonly at: number;
  readonly version: 1 | 2;
}

/** Collects the files of one query, each from the hierarchy that has its controller. */
class FileList {
  readonly paths: string[] = [];
  private readonly layout: CgroupLayout;
  private readonly cgroup: CgroupPath;

  constructor(layout: CgroupLayout, cgroup: CgroupPath) {
    this.layout = layout;
    this.cgroup = cgroup;
  }

  /**
   * The v1 file when the controller is mounted the old way, else the v2 file.
   * `core`: the v2 file is there even when the controller is not.
   */
  either(
    controller: string,
    v1Name: string,
    v2Name: string,
    core = false,
    v2Controller = controller,
  ): CgroupFile | null {
    const old = this.one(controller, v1Name);
    if (old !== null) return old;
    const { unified, unifiedControllers } = this.layout;
    if (unified === null || !(core || unifiedControllers.includes(v2Controller))) return null;
    return this.add(unified, '', v2Name, 2);
  }

  one(controller: string, v1Name: string): CgroupFile | null {
    const mount = this.layout.v1[controller];
    return mount === undefined ? null : this.add(mount, controller, v1Name, 1);
  }

  private add(mount: string, controller: string, file: string, version: 1 | 2): CgroupFile {
    const cgroup = typeof this.cgroup === 'string' ? this.cgroup : this.cgroup(controller);
    const below = cgroup.replace(/^\/+|\/+$/g, '');
    this.paths.push(below === '' ? `${mount}/${file}` : `${mount}/${below}/${file}`);
    return { at: this.paths.length - 1, version };
  }
}

interface MemoryFiles {
  readonly usage: CgroupFile | null;
  readonly peak: CgroupFile | null;
  readonly swap: CgroupFile | null;
  readonly swapPeak: CgroupFile | null;
}

function memoryFiles(files: FileList): MemoryFiles {
  return {
    usage: files.either('memory', 'memory.usage_in_bytes', 'memory.current'),
    peak: files.either('memory', 'memory.max_usage_in_bytes', 'memory.peak'),
    swap: files.either('memory', 'memory.memsw.usage_in_bytes', 'memory.swap.current'),
    swapPeak: files.either('memory', 'memory.memsw.max_usage_in_bytes', 'memory.swap.peak'),
  };
}

type MemoryUsage = Pick<CgroupUsage, 'memoryUsage' | 'memoryPeak' | 'swapUsage' | 'swapPeak'>;

function parseMemory(files: MemoryFiles, read: (file: CgroupFile | null) => string | null): MemoryUsage {
  const memoryUsage = count(read(files.usage));
  const memoryPeak = count(read(files.peak));
  // v1 counts memory and swap together, v2 swap alone.
  const both = files.swap?.version === 1;
  const swap = count(read(files.swap));
  const swapPeak = count(read(files.swapPeak));
  return {
    memoryUsage,
    memoryPeak,
    swapUsage: both ? difference(swap, memoryUsage) : swap,
    swapPeak: both ? difference(swapPeak, memoryPeak) : swapPeak,
  };
}

function textOf(contents: readonly (string | null)[], file: CgroupFile | null): string | null {
  return file === null ? null : (contents[file.at] ?? null);
}

function count(text: string | null): number | null {
  const trimmed = text?.trim() ?? '';
  return /^\d+$/.test(trimmed) ? Number(trimmed) : null;
}

/** The two files are read one after the other: a difference below zero is none. */
function difference(sum: number | null, part: number | null): number | null {
  return sum === null || part === null ? null : Math.max(0, sum - part);
}

function times1000(value: number | null): number | null {
  return value === null ? null : value * 1000;
}

function fields(text: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [key, value] = line.split(' ');
    if (key !== undefined && value !== undefined) out.set(key, Number(value));
  }
  return out;
}

function field(text: string | null, key: string): number | null {
  return text === null ? null : (fields(text).get(key) ?? null);
}

/** v1 writes "no limit" as a huge page-aligned number, v2 as `max`. */
function limitOf(text: string | null): number | null {
  const value = count(text);
  return value === null || value > 2 ** 60 ? null : value;
}

function usageAll(text: string | null): CpuTime[] {
  const out: CpuTime[] = [];
  for (const line of text?.split('\n') ?? []) {
    const [cpu, user, system] = line.split(' ').map(Number);
    if (cpu === undefined || user === undefined || system === undefined || Number.isNaN(cpu)) continue;
    out.push({ cpu, userNs: user, systemNs: system });
  }
  return out;
}

/** v2 does not part the time by CPU: as LXD, all of it is told as CPU 0. */
function cpuStat(text: string | null): CpuTime[] {
  if (text === null) return [];
  const all = fields(text);
  const us = (key: string): number => (all.get(key) ?? 0) * 1000;
  return [{ cpu: 0, userNs: us('user_usec'), systemNs: us('system_usec') }];
}

function memoryStat(text: string, isV2: boolean): MemoryStat {
  const all = fields(text);
  // v1's plain names count this cgroup alone; `total_` adds the guest's own cgroups below it.
  const get = (v1: string, v2: string): number =>
    (isV2 ? all.get(v2) : (all.get(`total_${v1}`) ?? all.get(v1))) ?? 0;
  return {
    rss: get('rss', 'anon'),
    cache: get('cache', 'file'),
    shmem: get('shmem', 'shmem'),
    mapped: get('mapped_file', 'file_mapped'),
    dirty: get('dirty', 'file_dirty'),
    writeback: get('writeback', 'file_writeback'),
    activeAnon: get('active_anon', 'active_anon'),
    inactiveAnon: get('inactive_anon', 'inactive_anon'),
    activeFile: get('active_file', 'active_file'),
    inactiveFile: get('inactive_file', 'inactive_file'),
    unevictable: get('unevictable', 'unevictable'),
  };
}

function blkioStat(bytes: string | null, served: string | null): DiskCounters[] {
  const amount = blkioTable(bytes);
  const times = blkioTable(served);
  return [...new Set([...amount.keys(), ...times.keys()])].map((device) => ({
    device,
    readBytes: amount.get(device)?.read ?? 0,
    writtenBytes: amount.get(device)?.write ?? 0,
    reads: times.get(device)?.read ?? 0,
    writes: times.get(device)?.write ?? 0,
  }));
}

function blkioTable(text: string | null): Map<string, { read: number; write: number }> {
  const out = new Map<string, { read: number; write: number }>();
  for (const line of text?.split('\n') ?? []) {
    const [device, what, value] = line.split(' ');
    if (device === undefined || value === undefined) continue;
    const row = out.get(device) ?? { read: 0, write: 0 };
    if (what === 'Read') row.read = Number(value);
    if (what === 'Write') row.write = Number(value);
    out.set(device, row);
  }
  return out;
}

function ioStat(text: string | null): DiskCounters[] {
  const out: DiskCounters[] = [];
  for (const line of text?.split('\n') ?? []) {
    const [device, ...rest] = line.split(' ');
    if (device === undefined || rest.length === 0) continue;
    const all = new Map(rest.map((pair) => [pair.split('=')[0] ?? '', Number(pair.split('=')[1])]));
    out.push({
      device,
      readBytes: all.get('rbytes') ?? 0,
      writtenBytes: all.get('wbytes') ?? 0,
      reads: all.get('rios') ?? 0,
      writes: all.get('wios') ?? 0,
    });
  }
  return out;
}
