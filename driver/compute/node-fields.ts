/** This host as a ComputeNode: what it is and has. Pure. */
import type { ComputeOptions } from '../../config/options/compute.ts';
import { NovaObject, type FieldValue } from '../nova/versioned-object.ts';
import type { Capacity } from './host.ts';
import { versionNumber } from './usage.ts';

export interface NodeNames {
  readonly host: string;
  readonly node: string;
  readonly address: string;
}

type Fields = Readonly<Record<string, FieldValue>>;
type Ratios = Pick<
  ComputeOptions['DEFAULT'],
  | 'cpu_allocation_ratio'
  | 'ram_allocation_ratio'
  | 'disk_allocation_ratio'
  | 'initial_cpu_allocation_ratio'
  | 'initial_ram_allocation_ratio'
  | 'initial_disk_allocation_ratio'
>;

/** What users and schedulers see of the host itself; the same at each report unless the host changed. */
export function hostFields(capacity: Capacity, names: NodeNames): Fields {
  return {
    host: names.host,
    hypervisor_hostname: names.node,
    host_ip: names.address,
    hypervisor_type: 'LXC',
    hypervisor_version: versionNumber(capacity.lxcVersion),
    vcpus: capacity.cpus,
    memory_mb: capacity.memoryMb,
    local_gb: capacity.diskGb,
    disk_available_least: Math.max(0, capacity.diskGb - capacity.diskUsedGb),
    cpu_info: cpuInfo(capacity.cpu),
    numa_topology: null,
    supported_hv_specs: hvSpecs(capacity.cpu.arch),
  };
}

/** Beside hostFields(): what a new ComputeNode is made with. */
export function firstFields(ratios: Ratios): Fields {
  const chosen = (now: number, initial: number): number => (now > 0 ? now : initial);
  return {
    vcpus_used: 0,
    memory_mb_used: 0,
    local_gb_used: 0,
    stats: { failed_builds: '0' },
    cpu_allocation_ratio: chosen(ratios.cpu_allocation_ratio, ratios.initial_cpu_allocation_ratio),
    ram_allocation_ratio: chosen(ratios.ram_allocation_ratio, ratios.initial_ram_allocation_ratio),
    disk_allocation_ratio: chosen(ratios.disk_allocation_ratio, ratios.initial_disk_allocation_ratio),
  };
}

/** Beside hostFields(): what every report says. Ratios only when they are configured: else Placement has them. */
export function laterFields(ratios: Ratios): Fields {
  const set = (name: keyof Ratios): Fields => (ratios[name] > 0 ? { [name]: ratios[name] } : {});
  return {
    metrics: '[]',
    pci_device_pools: NovaObject.create('PciDevicePoolList', { objects: [] }),
    ...set('cpu_allocation_ratio'),
    ...set('ram_allocation_ratio'),
    ...set('disk_allocation_ratio'),
  };
}

/** JSON with an object in it: the API opens it. */
function cpuInfo(cpu: Capacity['cpu']): string {
  const { arch, model, vendor, sockets, cores, threads } = cpu;
  return JSON.stringify({
    arch,
    model,
    vendor,
    features: [],
    topology: { cells: 1, sockets, cores, threads },
  });
}

/** Images ask for one of these by img_hv_type and hw_vm_mode; those made for LXD are as good as those for LXC. */
function hvSpecs(arch: string): NovaObject[] {
  return ['lxc', 'lxd'].map((type) => NovaObject.create('HVSpec', { arch, hv_type: type, vm_mode: 'exe' }));
}
