/** get_diagnostics and get_instance_diagnostics: what a running guest uses. */
import { novaError } from '../rpc/nova-error.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { POWER, type ComputeHost, type Diagnostics } from './host.ts';
import type { Work } from './method.ts';

const KIB_PER_MIB = 1024;

const STATE_NAMES: Readonly<Record<number, string>> = {
  [POWER.noState]: 'pending',
  [POWER.running]: 'running',
  [POWER.paused]: 'paused',
  [POWER.shutdown]: 'shutdown',
  [POWER.crashed]: 'crashed',
  [POWER.suspended]: 'suspended',
};

/** One level of numbers, as libvirt gives it: for microversions before 2.48. */
export async function flatDiagnostics(host: ComputeHost, work: Work): Promise<Record<string, number>> {
  const found = await diagnosticsOf(host, work, 'get_diagnostics');
  const out: Record<string, number> = {
    memory: found.memory.maximumMiB * KIB_PER_MIB,
    'memory-rss': found.memory.usedMiB * KIB_PER_MIB,
  };
  for (const { id, timeNs } of found.cpus) out[`cpu${String(id)}_time`] = timeNs;
  for (const { device, rx, tx } of found.nics) {
    for (const [way, counters] of [['rx', rx] as const, ['tx', tx] as const]) {
      out[`${device}_${way}`] = counters.octets;
      out[`${device}_${way}_packets`] = counters.packets;
      out[`${device}_${way}_drop`] = counters.drop;
      out[`${device}_${way}_errors`] = counters.errors;
    }
  }
  for (const disk of found.disks) {
    out[`${disk.device}_read`] = disk.readBytes;
    out[`${disk.device}_read_req`] = disk.readRequests;
    out[`${disk.device}_write`] = disk.writeBytes;
    out[`${disk.device}_write_req`] = disk.writeRequests;
  }
  return out;
}

export async function instanceDiagnostics(host: ComputeHost, work: Work): Promise<NovaObject> {
  const found = await diagnosticsOf(host, work, 'get_diagnostics');
  const { instance } = work;
  return NovaObject.create('Diagnostics', {
    state: 'running',
    // No value of the enumeration fits; with an unknown one the API cannot read the object. libvirt says so of LXC.
    driver: 'libvirt',
    hypervisor: 'lxc',
    hypervisor_os: 'linux',
    uptime: found.uptimeS,
    config_drive: isSet(instance.get('config_drive')),
    memory_details: NovaObject.create('MemoryDiagnostics', {
      maximum: found.memory.maximumMiB,
      used: found.memory.usedMiB,
    }),
    cpu_details: found.cpus.map(({ id, timeNs }) =>
      NovaObject.create('CpuDiagnostics', { id, time: timeNs, utilisation: null }),
    ),
    nic_details: found.nics.map(nicDetails),
    disk_details: found.disks.map((disk) =>
      NovaObject.create('DiskDiagnostics', {
        read_bytes: disk.readBytes,
        read_requests: disk.readRequests,
        write_bytes: disk.writeBytes,
        write_requests: disk.writeRequests,
        errors_count: null,
      }),
    ),
    num_cpus: found.cpus.length,
    num_nics: found.nics.length,
    num_disks: found.disks.length,
  });
}

function nicDetails({ mac, rx, tx }: Diagnostics['nics'][number]): NovaObject {
  return NovaObject.create('NicDiagnostics', {
    mac_address: mac,
    rx_octets: rx.octets,
    rx_packets: rx.packets,
    rx_drop: rx.drop,
    rx_errors: rx.errors,
    rx_rate: null,
    tx_octets: tx.octets,
    tx_packets: tx.packets,
    tx_drop: tx.drop,
    tx_errors: tx.errors,
    tx_rate: null,
  });
}

/** Of a running guest only. NovaError InstanceInvalidState. */
async function diagnosticsOf(host: ComputeHost, work: Work, method: string): Promise<Diagnostics> {
  const { call, instance } = work;
  const uuid = instance.text('uuid');
  if ((await host.guests.power(call, uuid)) === POWER.running) return host.guests.diagnostics(call, uuid);
  const state = STATE_NAMES[instance.numberOrNull('power_state') ?? POWER.noState] ?? 'pending';
  throw novaError('InstanceInvalidState', { attr: 'power state', instance_uuid: uuid, state, method });
}

/** Text in the database: '' for no, 'True' for yes. */
function isSet(configDrive: unknown): boolean {
  return configDrive === true || (typeof configDrive === 'string' && /^(true|1)$/i.test(configDrive));
}
