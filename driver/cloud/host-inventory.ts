/** What a host offers to Placement: totals, what is kept back, and the ratios. Pure. */
import { type Inventories, type Inventory } from './placement-wire.ts';

export interface HostTotals {
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly diskGb: number;
}

/** Options of nova.conf by their names. */
export interface InventoryOptions {
  readonly reserved_host_cpus: number;
  readonly reserved_host_memory_mb: number;
  readonly reserved_host_disk_mb: number;
  readonly cpu_allocation_ratio: number;
  readonly ram_allocation_ratio: number;
  readonly disk_allocation_ratio: number;
  readonly initial_cpu_allocation_ratio: number;
  readonly initial_ram_allocation_ratio: number;
  readonly initial_disk_allocation_ratio: number;
}

/**
 * The inventories of the host. A ratio that is configured holds; else the one
 * the provider has already (operators change it there), else the initial one.
 * A class with nothing in it is left out: Placement refuses it. Classes that
 * others put on the provider stay.
 */
export function hostInventories(
  totals: HostTotals,
  options: InventoryOptions,
  now: Inventories,
): Inventories {
  const one = (name: string, total: number, reserved: number, ratio: number, initial: number): Inventory => ({
    total,
    reserved: Math.min(reserved, total),
    min_unit: 1,
    max_unit: total,
    step_size: 1,
    allocation_ratio: ratio > 0 ? ratio : (now[name]?.allocation_ratio ?? initial),
  });
  const o = options;
  const own: Record<string, Inventory> = {
    VCPU: one(
      'VCPU',
      totals.vcpus,
      o.reserved_host_cpus,
      o.cpu_allocation_ratio,
      o.initial_cpu_allocation_ratio,
    ),
    MEMORY_MB: one(
      'MEMORY_MB',
      totals.memoryMb,
      o.reserved_host_memory_mb,
      o.ram_allocation_ratio,
      o.initial_ram_allocation_ratio,
    ),
    DISK_GB: one(
      'DISK_GB',
      totals.diskGb,
      Math.ceil(o.reserved_host_disk_mb / 1024),
      o.disk_allocation_ratio,
      o.initial_disk_allocation_ratio,
    ),
  };
  const others = Object.entries(now).filter(([name]) => own[name] === undefined);
  const offered = Object.entries(own).filter(([, inventory]) => inventory.total > 0);
  return Object.fromEntries([...others, ...offered]);
}

/** Traits of this host; `not` are those it must not have. OWNER_NOVA is required by schedulers from 2026.2 on. */
export function hostTraits(
  isDisabled: boolean,
  extra: readonly string[] = [],
): { own: string[]; not: string[] } {
  const own = [
    'COMPUTE_NODE',
    'COMPUTE_NET_ATTACH_INTERFACE',
    'COMPUTE_IMAGE_TYPE_RAW',
    'COMPUTE_IMAGE_TYPE_QCOW2',
    'OWNER_NOVA',
    ...extra,
  ];
  return isDisabled
    ? { own: [...own, 'COMPUTE_STATUS_DISABLED'], not: [] }
    : { own, not: ['COMPUTE_STATUS_DISABLED'] };
}
