/** The network side's view of this host without the addon: `ip -j` and /proc. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetInterface } from '../../native/types.ts';

interface IpAddress {
  readonly family: 'inet' | 'inet6';
  readonly local: string;
  readonly prefixlen: number;
  readonly scope: string;
}

interface IpLink {
  readonly ifindex: number;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly link_type: string;
  readonly address?: string;
  readonly addr_info: readonly IpAddress[];
}

export const hostNetwork = {
  interfaces(pids: readonly number[]): Promise<(NetInterface[] | null)[]> {
    const text = execFileSync('ip', ['-j', 'addr'], { encoding: 'utf8' });
    const links = JSON.parse(text) as IpLink[]; // iproute2's own shape
    return Promise.resolve(pids.map((pid) => (pid === 0 ? links.map(asInterface) : null)));
  },

  async waitGone(pid: number, timeoutMs: number): Promise<boolean> {
    const deadline = Date.now() + timeoutMs;
    while (!hasEnded(pid) && Date.now() < deadline) await sleep(5);
    return hasEnded(pid);
  },
};

/** A process nobody has waited for yet has ended too. */
function hasEnded(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${String(pid)}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

function asInterface(link: IpLink): NetInterface {
  return {
    index: link.ifindex,
    name: link.ifname,
    hwaddr: link.address ?? '',
    mtu: link.mtu,
    up: link.flags.includes('UP'),
    type: link.link_type === 'loopback' ? 'loopback' : 'broadcast',
    peerIndex: 0,
    addresses: link.addr_info.map((one) => ({
      family: one.family,
      address: one.local,
      prefix: one.prefixlen,
      scope: one.scope === 'global' ? 'global' : one.scope === 'link' ? 'link' : 'local',
    })),
    counters: {
      bytesReceived: 0,
      bytesSent: 0,
      packetsReceived: 0,
      packetsSent: 0,
      errorsReceived: 0,
      errorsSent: 0,
      droppedInbound: 0,
      droppedOutbound: 0,
    },
  };
}
