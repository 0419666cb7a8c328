/** `GET …/state`: what a container uses, read in one batch for many. */
import type { Native, NetInterface } from '../../native/types.ts';
import type { CgroupUsage } from '../metrics/cgroup.ts';
import { usageQuery } from '../metrics/cgroup.ts';
import { rootVolume } from './root-plan.ts';
import type { RuntimeParts } from './runtime-parts.ts';
import type { InstanceStateWire } from './types.ts';
import { STATUS_CODES } from './types.ts';

/** States of these instances, in their order. Stopped ones cost nothing but their disk. */
export async function readStates(parts: RuntimeParts, ids: readonly string[]): Promise<InstanceStateWire[]> {
  const live = ids.flatMap((id) => {
    const running = parts.powers.running(id);
    return running === null ? [] : [{ id, running, query: usageQuery(parts.host, running.cgroup) }];
  });
  const [texts, interfaces] = await Promise.all([
    parts.native.readFiles(live.flatMap((l) => l.query.paths)),
    parts.native.interfaces(live.map((l) => l.running.initPid)),
  ]);
  const peers = interfaces.flatMap((nics) => (nics ?? []).map((nic) => nic.peerIndex));
  const hostNames = await hostInterfaceNames(parts.native, peers);
  const byId = new Map<string, { usage: CgroupUsage; nics: readonly NetInterface[] | null }>();
  let at = 0;
  for (const [index, { id, query }] of live.entries()) {
    byId.set(id, {
      usage: query.parse(texts.slice(at, at + query.paths.length)),
      nics: interfaces[index] ?? null,
    });
    at += query.paths.length;
  }
  return Promise.all(
    ids.map(async (id) => {
      const found = byId.get(id);
      return render(parts, id, found?.usage ?? null, found?.nics ?? null, hostNames);
    }),
  );
}

/** Numbers of the host's links and their names, as they were last listed; '' for one that is not the host's. */
const listed = new WeakMap<Native, ReadonlyMap<number, string>>();

/**
 * The host has several links for each container: they are listed only when a
 * new one is asked for. The kernel gives no number a second time, and nobody
 * renames the ends that liblxc and we have named.
 */
async function hostInterfaceNames(
  native: Native,
  wanted: readonly number[],
): Promise<ReadonlyMap<number, string>> {
  const peers = wanted.filter((index) => index > 0);
  const known = listed.get(native) ?? new Map<number, string>();
  if (peers.every((index) => known.has(index))) return known;
  const [own] = await native.interfaces([0]);
  const fresh = new Map(peers.map((index) => [index, '']));
  for (const { index, name } of own ?? []) fresh.set(index, name);
  listed.set(native, fresh);
  return fresh;
}

async function render(
  parts: RuntimeParts,
  id: string,
  usage: CgroupUsage | null,
  nics: readonly NetInterface[] | null,
  hostNames: ReadonlyMap<number, string>,
): Promise<InstanceStateWire> {
  const status = parts.powers.status(id);
  const running = parts.powers.running(id);
  const isLive = usage !== null && running !== null;
  return {
    status,
    status_code: STATUS_CODES[status],
    disk: await diskUsage(parts, id, running?.initPid ?? 0),
    memory: {
      usage: usage?.memoryUsage ?? 0,
      usage_peak: usage?.memoryPeak ?? 0,
      swap_usage: usage?.swapUsage ?? 0,
      swap_usage_peak: usage?.swapPeak ?? 0,
    },
    network: isLive && nics !== null ? renderNics(nics, hostNames) : null,
    pid: running?.initPid ?? 0,
    processes: isLive ? (usage.processes ?? -1) : 0,
    cpu: { usage: isLive ? (usage.cpuNs ?? -1) : 0 },
  };
}

function renderNics(
  nics: readonly NetInterface[],
  hostNames: ReadonlyMap<number, string>,
): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const nic of nics) {
    const c = nic.counters;
    out[nic.name] = {
      addresses: nic.addresses.map((a) => ({
        family: a.family,
        address: a.address,
        netmask: String(a.prefix),
        scope: a.scope,
      })),
      counters: {
        bytes_received: c.bytesReceived,
        bytes_sent: c.bytesSent,
        packets_received: c.packetsReceived,
        packets_sent: c.packetsSent,
        errors_received: c.errorsReceived,
        errors_sent: c.errorsSent,
        packets_dropped_outbound: c.droppedOutbound,
        packets_dropped_inbound: c.droppedInbound,
      },
      // LXD leaves the address of `lo` out.
      hwaddr: nic.type === 'loopback' ? '' : nic.hwaddr,
      host_name: nic.peerIndex > 0 ? (hostNames.get(nic.peerIndex) ?? '') : '',
      mtu: nic.mtu,
      state: nic.up ? 'up' : 'down',
      type: nic.type,
    };
  }
  return out;
}

async function diskUsage(
  parts: RuntimeParts,
  id: string,
  initPid: number,
): Promise<Record<string, { usage: number }>> {
  const expanded = parts.store.expand(parts.store.byId(id));
  const root = Object.entries(expanded.devices).find(([, d]) => d['type'] === 'disk' && d['path'] === '/');
  if (root === undefined) return {};
  try {
    const usage = await parts.pools.get(expanded.row.pool).usage(rootVolume(expanded), initPid);
    return usage === null ? {} : { [root[0]]: { usage } };
  } catch (err) {
    parts.log.debug('usage of a root disk could not be read', { instance: expanded.row.name, error: err });
    return {};
  }
}
