/** What was read of one running instance, as samples under LXD's names. Pure. */
import type { NetInterface } from '../../native/types.ts';
import type { CgroupDetails, MemoryStat } from './cgroup.ts';
import type { Sample } from './exposition.ts';

export interface FileSystem {
  readonly device: string;
  readonly fstype: string;
  readonly mountpoint: string;
  readonly size: number;
  readonly free: number;
  readonly available: number;
}

export interface InstanceReadings {
  readonly project: string;
  readonly name: string;
  readonly details: CgroupDetails;
  /** null when the instance ended meanwhile. */
  readonly interfaces: readonly NetInterface[] | null;
  readonly root: FileSystem | null;
}

export interface HostReadings {
  readonly memoryTotal: number;
  /** `major:minor` -> name of the device. */
  readonly diskNames: ReadonlyMap<string, string>;
}

export function instanceSamples(readings: InstanceReadings, host: HostReadings): Sample[] {
  const base = { project: readings.project, name: readings.name, type: 'container' };
  const samples: Sample[] = [];
  const add = (metric: string, value: number | null, labels: Readonly<Record<string, string>> = {}): void => {
    if (value !== null) samples.push({ metric: `lxd_${metric}`, labels: { ...base, ...labels }, value });
  };
  const { details } = readings;
  for (const one of details.cpus) {
    const cpu = String(one.cpu);
    add('cpu_seconds_total', one.systemNs / 1e9, { cpu, mode: 'system' });
    add('cpu_seconds_total', one.userNs / 1e9, { cpu, mode: 'user' });
  }
  for (const disk of details.disks) {
    const device = host.diskNames.get(disk.device);
    if (device === undefined) continue;
    add('disk_read_bytes_total', disk.readBytes, { device });
    add('disk_reads_completed_total', disk.reads, { device });
    add('disk_written_bytes_total', disk.writtenBytes, { device });
    add('disk_writes_completed_total', disk.writes, { device });
  }
  if (details.memory !== null) addMemory(add, details.memory, details, host.memoryTotal);
  add('memory_OOM_kills_total', details.oomKills);
  if (readings.root !== null) {
    const { device, fstype, mountpoint, size, free, available } = readings.root;
    const labels = { device, fstype, mountpoint };
    add('filesystem_avail_bytes', available, labels);
    add('filesystem_free_bytes', free, labels);
    add('filesystem_size_bytes', size, labels);
  }
  for (const one of readings.interfaces ?? []) addInterface(add, one);
  add('procs_total', details.processes);
  return samples;
}

type Add = (metric: string, value: number | null, labels?: Readonly<Record<string, string>>) => void;

function addMemory(add: Add, memory: MemoryStat, details: CgroupDetails, hostTotal: number): void {
  const total = Math.min(details.memoryLimit ?? hostTotal, hostTotal);
  const used = details.memoryUsage ?? 0;
  // Cache that no process has touched lately can be had back.
  const busy = Math.max(0, used - memory.inactiveFile);
  add('memory_Active_anon_bytes', memory.activeAnon);
  add('memory_Active_file_bytes', memory.activeFile);
  add('memory_Active_bytes', memory.activeAnon + memory.activeFile);
  add('memory_Inactive_anon_bytes', memory.inactiveAnon);
  add('memory_Inactive_file_bytes', memory.inactiveFile);
  add('memory_Inactive_bytes', memory.inactiveAnon + memory.inactiveFile);
  add('memory_Cached_bytes', memory.cache);
  add('memory_Dirty_bytes', memory.dirty);
  add('memory_Mapped_bytes', memory.mapped);
  add('memory_RSS_bytes', memory.rss);
  add('memory_Shmem_bytes', memory.shmem);
  add('memory_Unevictable_bytes', memory.unevictable);
  add('memory_Writeback_bytes', memory.writeback);
  add('memory_Swap_bytes', details.swapUsage ?? 0);
  add('memory_MemTotal_bytes', total);
  add('memory_MemFree_bytes', Math.max(0, total - used));
  add('memory_MemAvailable_bytes', Math.max(0, total - busy));
}

function addInterface(add: Add, one: NetInterface): void {
  const labels = { device: one.name };
  const { counters } = one;
  add('network_receive_bytes_total', counters.bytesReceived, labels);
  add('network_receive_drop_total', counters.droppedInbound, labels);
  add('network_receive_errs_total', counters.errorsReceived, labels);
  add('network_receive_packets_total', counters.packetsReceived, labels);
  add('network_transmit_bytes_total', counters.bytesSent, labels);
  add('network_transmit_drop_total', counters.droppedOutbound, labels);
  add('network_transmit_errs_total', counters.errorsSent, labels);
  add('network_transmit_packets_total', counters.packetsSent, labels);
}
