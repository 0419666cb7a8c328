/** What is known of this host without asking anybody: its name, its address, how long it is up. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { hostname, loadavg, uptime } from 'node:os';
import type { ComputeOptions } from '../../config/options/compute.ts';

/** Name of the service and of its node in Nova. */
export function hostName(options: ComputeOptions): string {
  return options.DEFAULT.host === '' ? hostname() : options.DEFAULT.host;
}

/** `my_ip`, else the address the default route leaves from; nothing is sent. */
export async function hostAddress(options: ComputeOptions): Promise<string> {
  if (options.DEFAULT.my_ip !== '') return options.DEFAULT.my_ip;
  const socket = createSocket('udp4');
  try {
    // Connecting an UDP socket only looks up the route (the address is of a documentation network).
    socket.connect(9, '192.0.2.1');
    await once(socket, 'connect');
    return socket.address().address;
  } catch {
    return '127.0.0.1';
  } finally {
    socket.close();
  }
}

/** As uptime(1) prints it; the API hands it on and clients take it apart. */
export function uptimeText(now = new Date(), upS = uptime(), load: readonly number[] = loadavg()): string {
  const days = Math.floor(upS / 86_400);
  const hours = Math.floor(upS / 3600) % 24;
  const minutes = Math.floor(upS / 60) % 60;
  const two = (value: number): string => String(value).padStart(2, '0');
  const dayPart = days === 0 ? '' : `${String(days)} ${days === 1 ? 'day' : 'days'}, `;
  const timePart = hours === 0 ? `${String(minutes)} min` : `${String(hours).padStart(2)}:${two(minutes)}`;
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(':');
  const loads = load.map((value) => value.toFixed(2)).join(', ');
  return ` ${time} up ${dayPart}${timePart},  0 users,  load average: ${loads}\n`;
}
