/** What the daemon tells of a guest and of its host, in the words of Nova. Pure. */
import { resources } from '../../api/wire/resources.ts';
import type { LxdInstance, LxdState } from './client.ts';
import type { Capacity, Diagnostics } from './guest-types.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** All but the disks. `now` in milliseconds since 1970. */
export function diagnosticsOf(found: LxdInstance, state: LxdState, now: number): Omit<Diagnostics, 'disks'> {
  const cpus = Math.max(1, Number(found.config['limits.cpu'] ?? '1') || 1);
  const started = Date.parse(found.last_used_at);
  return {
    uptimeS: Number.isNaN(started) ? 0 : Math.max(0, Math.floor((now - started) / 1000)),
    // The kernel counts a guest as a whole: every CPU gets its share of that.
    cpus: Array.from({ length: cpus }, (_none, id) => ({ id, timeNs: Math.floor(state.cpu.usage / cpus) })),
    nics: nicsOf(found, state),
    memory: {
      maximumMiB: Number(/^(\d+)MiB$/.exec(found.config['limits.memory'] ?? '')?.[1] ?? '0'),
      usedMiB: Math.floor(state.memory.usage / MIB),
    },
  };
}

function nicsOf(found: LxdInstance, state: LxdState): Diagnostics['nics'] {
  const seen = state.network ?? {};
  return Object.entries(found.devices)
    .filter(([, device]) => device['type'] === 'nic')
    .map(([device, config]) => {
      const counters = seen[config['name'] ?? '']?.counters;
      return {
        mac: config['hwaddr'] ?? '',
        device,
        rx: {
          octets: counters?.bytes_received ?? 0,
          packets: counters?.packets_received ?? 0,
          drop: counters?.packets_dropped_inbound ?? 0,
          errors: counters?.errors_received ?? 0,
        },
        tx: {
          octets: counters?.bytes_sent ?? 0,
          packets: counters?.packets_sent ?? 0,
          drop: counters?.packets_dropped_outbound ?? 0,
          errors: counters?.errors_sent ?? 0,
        },
      };
    });
}

/** `facts` is what `/1.0/resources` answers. */
export function capacityOf(
  facts: unknown,
  pool: { readonly used: number; readonly total: number },
  lxcVersion: string,
): Capacity {
  const { cpu, memory } = resources.parse(facts);
  const [socket] = cpu.sockets;
  const cores = cpu.sockets.reduce((sum, each) => sum + each.cores.length, 0);
  const sockets = Math.max(1, cpu.sockets.length);
  return {
    cpus: cpu.total,
    memoryMb: Math.floor(memory.total / MIB),
    diskGb: Math.floor(pool.total / GIB),
    diskUsedGb: Math.ceil(pool.used / GIB),
    cpu: {
      arch: cpu.architecture,
      model: socket?.name ?? '',
      vendor: socket?.vendor ?? '',
      sockets,
      cores: Math.max(1, Math.round(cores / sockets)),
      threads: Math.max(1, Math.round(cpu.total / Math.max(1, cores))),
    },
    lxcVersion,
  };
}
