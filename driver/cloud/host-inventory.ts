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

/** What nova-compute's drivers for virtual machines offer of a host, and this one does not. */
const OF_VMS = ['PCPU', 'MEM_ENCRYPTION_CONTEXT'];

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
  const others = Object.entries(now).filter(([name]) => own[name] === undefined && !OF_VMS.includes(name));
  const offered = Object.entries(own).filter(([, inventory]) => inventory.total > 0);
  return Object.fromEntries([...others, ...offered]);
}

/** Traits of this host; `not` are those it must not have. OWNER_NOVA is required by schedulers from 2026.2 on. */
export function hostTraits(
  isDisabled: boolean,
  extra: readonly string[] = [],
  excludedImages: readonly string[] = [],
): { own: string[]; not: string[] } {
  const isTaken = (format: string) => !excludedImages.some((one) => one.toLowerCase() === format);
  const imageTrait = (format: string) => `COMPUTE_IMAGE_TYPE_${format.toUpperCase()}`;
  const own = [
    'COMPUTE_NODE',
    'COMPUTE_NET_ATTACH_INTERFACE',
    ...IMAGES.filter(isTaken).map(imageTrait),
    'OWNER_NOVA',
    ...extra,
    ...(isDisabled ? ['COMPUTE_STATUS_DISABLED'] : []),
  ];
  const not = [...LACKING, ...[...IMAGES, ...OTHER_IMAGES].map(imageTrait), 'COMPUTE_STATUS_DISABLED'];
  return { own, not: not.filter((trait) => !own.includes(trait)) };
}

const IMAGES = ['raw', 'qcow2'];
const OTHER_IMAGES = ['aki', 'ami', 'ari', 'iso', 'ploop', 'vdi', 'vhd', 'vhdx', 'vmdk'];
/** Capabilities of other drivers: a host that nova-compute had before must not get servers that need them. */
const LACKING = [
  'COMPUTE_ACCELERATORS',
  'COMPUTE_ADDRESS_SPACE_EMULATED',
  'COMPUTE_ADDRESS_SPACE_PASSTHROUGH',
  'COMPUTE_DEVICE_TAGGING',
  'COMPUTE_EPHEMERAL_ENCRYPTION',
  'COMPUTE_EPHEMERAL_ENCRYPTION_LUKS',
  'COMPUTE_EPHEMERAL_ENCRYPTION_PLAIN',
  'COMPUTE_MEM_BACKING_FILE',
  'COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG',
  'COMPUTE_REMOTE_MANAGED_PORTS',
  'COMPUTE_RESCUE_BFV',
  'COMPUTE_SAME_HOST_COLD_MIGRATE',
  'COMPUTE_SECURITY_STATELESS_FIRMWARE',
  'COMPUTE_SECURITY_TPM_1_2',
  'COMPUTE_SECURITY_TPM_2_0',
  'COMPUTE_SECURITY_UEFI_SECURE_BOOT',
  'COMPUTE_SOCKET_PCI_NUMA_AFFINITY',
  'COMPUTE_STORAGE_VIRTIO_FS',
  'COMPUTE_TRUSTED_CERTS',
  'COMPUTE_VOLUME_ATTACH_WITH_TAG',
  'COMPUTE_VOLUME_EXTEND',
  'COMPUTE_VOLUME_MULTI_ATTACH',
];
