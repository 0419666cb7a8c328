/** dnsmasq's lease file, and giving a lease back before its time. */
import { createSocket } from 'node:dgram';

export interface Lease {
  /** Lower case; '' when the client's identifier does not hold it (IPv6). */
  readonly hwaddr: string;
  readonly address: string;
  readonly hostname: string;
  /** Client identifier as dnsmasq writes it, `*` for none. */
  readonly clientId: string;
}

/**
 * Lines of `expiry mac address name client-id`, then `duid …` and lines of
 * `expiry iaid address name duid` for IPv6. A line cut short by a crash is left out.
 */
export function parseLeases(text: string): Lease[] {
  const out: Lease[] = [];
  for (const line of text.split('\n')) {
    const [expiry, id, address, name, clientId] = line.split(' ');
    if (expiry === 'duid' || id === undefined || address === undefined) continue;
    if (name === undefined || clientId === undefined) continue;
    const hwaddr = address.includes(':') ? macOfDuid(clientId) : id.toLowerCase();
    out.push({ hwaddr, address, hostname: name === '*' ? '' : name, clientId });
  }
  return out;
}

/** DUID-LLT (1) and DUID-LL (3) of Ethernet end in the MAC; others (systemd's DUID-EN) do not hold it. */
function macOfDuid(duid: string): string {
  const bytes = duid.toLowerCase().split(':');
  const isLlt = duid.startsWith('00:01:00:01') && bytes.length === 14;
  const isLl = duid.startsWith('00:03:00:01') && bytes.length === 10;
  return isLlt || isLl ? bytes.slice(-6).join(':') : '';
}

const RELEASE = 7;
const OPTION_MESSAGE_TYPE = 53;
const OPTION_SERVER_ID = 54;
const OPTION_CLIENT_ID = 61;

/** A DHCPRELEASE (RFC 2131) for an IPv4 lease. */
export function releaseMessage(lease: Lease, server: string): Buffer {
  const head = Buffer.alloc(236);
  head.set([1, 1, 6, 0]); // BOOTREQUEST, Ethernet, six bytes of address
  head.writeUInt32BE(Math.floor(Math.random() * 0xffffffff), 4);
  head.set(bytesOf(lease.address, '.', 10), 12);
  head.set(bytesOf(lease.hwaddr, ':', 16), 28);
  const clientId = lease.clientId === '*' ? [] : bytesOf(lease.clientId, ':', 16);
  return Buffer.concat([
    head,
    Buffer.from([0x63, 0x82, 0x53, 0x63]),
    Buffer.from([OPTION_MESSAGE_TYPE, 1, RELEASE]),
    Buffer.from([OPTION_SERVER_ID, 4, ...bytesOf(server, '.', 10)]),
    Buffer.from(clientId.length === 0 ? [] : [OPTION_CLIENT_ID, clientId.length, ...clientId]),
    Buffer.from([255]),
  ]);
}

function bytesOf(text: string, separator: string, radix: number): number[] {
  return text.split(separator).map((part) => parseInt(part, radix) & 0xff);
}

/**
 * Tells dnsmasq, at the bridge's own address, that the guest is gone. Without
 * this the address would be unavailable until the lease ends, and a busy small
 * subnet would run out. IPv6 leases end by themselves: their space is not scarce.
 */
export async function releaseLease(lease: Lease, server: string): Promise<void> {
  const socket = createSocket('udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.send(releaseMessage(lease, server), 67, server, (err) => {
        if (err === null) resolve();
        else reject(err);
      });
    });
  } finally {
    socket.close();
  }
}
