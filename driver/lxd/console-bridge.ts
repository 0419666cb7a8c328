/**
 * Serial consoles for nova-serialproxy: one TCP port for each guest whose
 * console somebody asked for, bridged to the console of the REST daemon.
 *
 *   asked for -> listening -> one client at a time <-> the guest's console
 *             -> closed when the guest stops or goes, or the service ends
 *
 * The proxy has checked the user's token before it connects; the port listens
 * on an address that users do not reach.
 */
import net from 'node:net';
import type { WebSocket } from 'ws';
import { describeChain, Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { novaError } from '../rpc/nova-error.ts';
import type { Caller, LxdClient } from './client.ts';
import type { GuestFinder } from './guest-finder.ts';
import { powerOf } from './guest-power.ts';
import { POWER, type ConsoleAddress } from './guest-types.ts';

export interface ConsoleBridgeParts {
  readonly client: Pick<LxdClient, 'console'>;
  readonly finder: Pick<GuestFinder, 'find'>;
  readonly log: Log;
  readonly options: { readonly proxyclient_address: string; readonly port_range: string };
}

interface Listening {
  readonly server: net.Server;
  readonly port: number;
  /** Who is at the console; one at a time, as at a cable. */
  client: net.Socket | null;
}

/** Bytes that may wait for a slow side before the other one is held up. */
const HIGH_WATER = 256 * 1024;
const KEEPALIVE_MS = 60_000;

export class ConsoleBridge {
  private readonly parts: ConsoleBridgeParts;
  private readonly listening = new Map<string, Promise<Listening>>();

  constructor(parts: ConsoleBridgeParts) {
    this.parts = parts;
  }

  /** The port of a running guest's console. NovaError InstanceNotFound, InstanceNotRunning, ConsoleNotAvailable. */
  async open(caller: Caller, uuid: string): Promise<ConsoleAddress> {
    const found = await this.parts.finder.find(caller, uuid);
    if (powerOf(found) === POWER.shutdown) throw novaError('InstanceNotRunning', { instance_id: uuid });
    let listening = this.listening.get(uuid);
    if (listening === undefined) {
      listening = this.listen(uuid);
      this.listening.set(uuid, listening);
    }
    try {
      return { host: this.parts.options.proxyclient_address, port: (await listening).port };
    } catch (err) {
      this.listening.delete(uuid);
      throw novaError('ConsoleNotAvailable', {}, { message: describeChain(err), cause: err });
    }
  }

  /** Harmless when there is none. */
  closeOne(uuid: string): void {
    const listening = this.listening.get(uuid);
    this.listening.delete(uuid);
    listening?.then(shut, () => undefined);
  }

  async close(): Promise<void> {
    const all = [...this.listening.values()];
    this.listening.clear();
    await Promise.allSettled(all.map(async (one) => shut(await one)));
  }

  private async listen(uuid: string): Promise<Listening> {
    const { proxyclient_address: host, port_range: range } = this.parts.options;
    const { from, to } = readPortRange(range);
    // Where the last one was found nothing is free for sure; further on is the best guess.
    const taken = new Set<number>();
    for (const one of await Promise.allSettled(this.listening.values())) {
      if (one.status === 'fulfilled') taken.add(one.value.port);
    }
    for (let port = from; port <= to; port += 1) {
      if (taken.has(port)) continue;
      const server = await tryListen(host, port);
      if (server === null) continue;
      const listening: Listening = { server, port, client: null };
      server.on('connection', (client) => {
        this.connected(uuid, listening, client);
      });
      return listening;
    }
    throw new Fault('unavailable', `open a console: no port of ${range} is free on ${host}`);
  }

  private connected(uuid: string, listening: Listening, client: net.Socket): void {
    // A proxy that vanished must not keep the console for ever.
    client.setKeepAlive(true, KEEPALIVE_MS);
    client.on('error', (err) => {
      this.parts.log.debug('the connection to a console broke', { instance: uuid, error: err.message });
    });
    if (listening.client !== null) {
      client.end('\r\nThe console is in use by somebody else.\r\n');
      return;
    }
    listening.client = client;
    client.once('close', () => {
      listening.client = null;
    });
    this.bridge(uuid, client).catch((err: unknown) => {
      this.parts.log.warn('a console could not be opened', { instance: uuid, error: describeChain(err) });
      client.end('\r\nThe console cannot be opened now.\r\n');
    });
  }

  private async bridge(uuid: string, client: net.Socket): Promise<void> {
    // What is typed before the console is there waits in the kernel.
    client.pause();
    const caller = { requestId: '' };
    const { name } = await this.parts.finder.find(caller, uuid);
    const socket = await this.parts.client.console(caller, name);
    if (client.destroyed) socket.terminate();
    else join(client, socket);
  }
}

/** Both ways, each held up when the other side is slow; the end of one is the end of both. */
function join(client: net.Socket, socket: WebSocket): void {
  socket.on('message', (data) => {
    if (!Buffer.isBuffer(data)) return;
    if (!client.write(data)) socket.pause();
  });
  client.on('drain', () => {
    socket.resume();
  });
  client.on('data', (data) => {
    socket.send(data, { binary: true }, () => {
      if (client.isPaused() && socket.bufferedAmount < HIGH_WATER) client.resume();
    });
    if (socket.bufferedAmount >= HIGH_WATER) client.pause();
  });
  client.once('close', () => {
    socket.terminate();
  });
  socket.once('close', () => {
    client.end();
    client.resume();
  });
  socket.resume();
  client.resume();
}

function shut(listening: Listening): void {
  listening.client?.destroy();
  listening.server.close();
}

/** Null when the port is somebody else's. */
function tryListen(host: string, port: number): Promise<net.Server | null> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ pauseOnConnect: true });
    server.once('error', (err) => {
      if ('code' in err && err.code === 'EADDRINUSE') resolve(null);
      else reject(new Fault('unavailable', `listen on ${host}:${String(port)}`, { cause: err }));
    });
    server.listen(port, host, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** "10000:20000", both ends included. Fault bad_request. */
export function readPortRange(text: string): { readonly from: number; readonly to: number } {
  const match = /^\s*(\d{1,5})\s*:\s*(\d{1,5})\s*$/.exec(text);
  const [from, to] = [Number(match?.[1] ?? '0'), Number(match?.[2] ?? '0')];
  if (from >= 1 && from <= to && to <= 65_535) return { from, to };
  throw new Fault('bad_request', `[serial_console] port_range = ${text} is no range; write 10000:20000`);
}
