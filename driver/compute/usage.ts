/** What the instances of a host use of it, as its ComputeNode tells. Placement, not this, is what schedules. Pure. */
import type { NovaObject } from '../nova/versioned-object.ts';

/** An instance as far as it is counted. */
export interface Tracked {
  readonly vcpus: number;
  readonly memoryMb: number;
  /** Root, ephemeral and swap, GiB with a fraction. */
  readonly diskGb: number;
  readonly vmState: string;
  readonly taskState: string | null;
  readonly osType: string | null;
  readonly projectId: string;
}

export interface Reserved {
  readonly reserved_host_cpus: number;
  readonly reserved_host_memory_mb: number;
  readonly reserved_host_disk_mb: number;
}

/** States in which nothing of an instance is on its host any more. */
const GONE: ReadonlySet<string> = new Set(['deleted', 'shelved_offloaded']);

/** Task states that are heavy on disks: Nova's scheduler avoids hosts with many of them. */
const HEAVY_TASKS: ReadonlySet<string> = new Set([
  'resize_migrating',
  'rebuilding',
  'resize_prep',
  'image_snapshot',
  'image_backup',
  'rescuing',
  'unshelving',
]);

/** How the instance counts; null when it does not. */
export function trackedOf(instance: NovaObject): Tracked | null {
  const vmState = instance.textOrNull('vm_state') ?? 'None';
  if (GONE.has(vmState)) return null;
  const flavor = instance.objectOrNull('flavor');
  const swapMb = flavor?.numberOrNull('swap') ?? 0;
  const size = (field: string): number => flavor?.numberOrNull(field) ?? instance.numberOrNull(field) ?? 0;
  return {
    vcpus: size('vcpus'),
    memoryMb: size('memory_mb'),
    diskGb: size('root_gb') + size('ephemeral_gb') + swapMb / 1024,
    vmState,
    taskState: instance.textOrNull('task_state'),
    osType: instance.textOrNull('os_type'),
    projectId: instance.textOrNull('project_id') ?? '',
  };
}

export interface NodeTotals {
  readonly cpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
}

/** The fields of a ComputeNode that follow from its instances. */
export function usageFields(
  tracked: Iterable<Tracked>,
  totals: NodeTotals,
  reserved: Reserved,
  failedBuilds: number,
) {
  const all = [...tracked];
  const sum = (of: (one: Tracked) => number): number => all.reduce((total, one) => total + of(one), 0);
  const memoryMbUsed = reserved.reserved_host_memory_mb + sum((one) => one.memoryMb);
  const localGbUsed = Math.floor(reserved.reserved_host_disk_mb / 1024 + sum((one) => one.diskGb));
  return {
    vcpus_used: reserved.reserved_host_cpus + sum((one) => one.vcpus),
    memory_mb_used: memoryMbUsed,
    local_gb_used: localGbUsed,
    // May be negative: ratios above 1 sell more than there is.
    free_ram_mb: totals.memoryMb - memoryMbUsed,
    free_disk_gb: totals.diskGb - localGbUsed,
    running_vms: all.length,
    current_workload: all.filter((one) => one.taskState !== null).length,
    stats: statsOf(all, failedBuilds),
  };
}

/** Counts by state, as texts; `None` stands for no task and no operating system. */
export function statsOf(all: readonly Tracked[], failedBuilds: number): Record<string, string> {
  const counts = new Map<string, number>([['failed_builds', failedBuilds]]);
  const count = (key: string): void => {
    counts.set(key, (counts.get(key) ?? 0) + 1);
  };
  for (const one of all) {
    count('num_instances');
    count(`num_vm_${one.vmState}`);
    count(`num_task_${one.taskState ?? 'None'}`);
    count(`num_os_type_${one.osType ?? 'None'}`);
    count(`num_proj_${one.projectId}`);
  }
  if (all.length > 0) counts.set('io_workload', all.filter(isHeavy).length);
  return Object.fromEntries([...counts].map(([key, value]) => [key, String(value)]));
}

function isHeavy(one: Tracked): boolean {
  return one.vmState === 'building' || HEAVY_TASKS.has(one.taskState ?? '');
}

/** "5.0.2" as Nova counts versions: 5000002. */
export function versionNumber(text: string): number {
  const [major = 0, minor = 0, micro = 0] = text.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return major * 1_000_000 + minor * 1000 + micro;
}
