/** A container host under test: this program or its peer, with the same image, pool and bridge. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client, dig } from './client.ts';
import { childrenOf, parentOf } from './processes.ts';

const START_DEADLINE_MS = 60_000;
const POLL_MS = 2;

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly socket: string;
  /** What the daemon prints. */
  readonly log: string;
}

export class Host {
  readonly name: string;
  readonly bridge: string;
  readonly client: Client;
  private readonly command: Command;
  private child: ChildProcess | null = null;

  constructor(name: string, bridge: string, command: Command) {
    this.name = name;
    this.bridge = bridge;
    this.command = command;
    this.client = new Client(command.socket);
  }

  get pid(): number {
    const pid = this.child?.pid;
    if (pid === undefined) throw new Error(`${this.name} does not run`);
    return pid;
  }

  /** Milliseconds from the start of the process to its first answer. */
  async start(): Promise<number> {
    const { program, args, env, log } = this.command;
    const begin = performance.now();
    const out = openSync(log, 'a');
    const child = spawn(program, args, { stdio: ['ignore', out, out], env });
    closeSync(out);
    this.child = child;
    while (performance.now() - begin < START_DEADLINE_MS && child.exitCode === null) {
      try {
        if (dig((await this.client.request('GET', '/1.0')).metadata, 'auth') === 'trusted') {
          return performance.now() - begin;
        }
      } catch {
        // Not listening yet.
      }
      await sleep(POLL_MS);
    }
    throw new Error(`${this.name} did not come up:\n${await readFile(log, 'utf8')}`);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Storage, bridge and default profile, the same on both. */
  async furnish(driver: string): Promise<void> {
    const config = driver === 'btrfs' ? { size: '20GiB' } : {};
    await this.client.done('POST', '/1.0/storage-pools', { name: 'default', driver, config });
    // LXD finds no subnet by itself on a machine without a default route.
    const addresses = this.name === 'lxd' ? { 'ipv4.address': '10.213.77.1/24', 'ipv6.address': 'none' } : {};
    await this.client.done('POST', '/1.0/networks', { name: this.bridge, type: 'bridge', config: addresses });
    await this.client.done('PUT', '/1.0/profiles/default', {
      devices: {
        root: { type: 'disk', path: '/', pool: 'default' },
        eth0: { type: 'nic', network: this.bridge, name: 'eth0' },
      },
    });
  }

  async importImage(file: string, alias: string): Promise<void> {
    const ended = await this.client.finish('import', await this.client.upload('/1.0/images', file));
    const target = String(dig(ended, 'metadata', 'fingerprint'));
    await this.client.done('POST', '/1.0/images/aliases', { name: alias, target });
  }

  /** `network`: another one than that of the default profile. */
  create(name: string, image: string, network?: string): Promise<number> {
    const devices = network === undefined ? {} : { eth0: { type: 'nic', network, name: 'eth0' } };
    return this.client.time('POST', '/1.0/instances', {
      name,
      source: { type: 'image', alias: image },
      devices,
    });
  }

  change(name: string, action: string): Promise<number> {
    const body = { action, force: action === 'stop', timeout: -1 };
    return this.client.time('PUT', `/1.0/instances/${name}/state`, body);
  }

  remove(name: string): Promise<number> {
    return this.client.time('DELETE', `/1.0/instances/${name}`);
  }

  async initPid(name: string): Promise<number> {
    return Number(dig(await this.client.done('GET', `/1.0/instances/${name}/state`), 'pid'));
  }

  /** The process that stays on the host for a running container. */
  async monitorPid(name: string): Promise<number> {
    return parentOf(await this.initPid(name));
  }

  /** The daemon and the processes it keeps. */
  async processes(): Promise<number[]> {
    return [this.pid, ...(await childrenOf(this.pid))];
  }

  /** Ends the containers and networks of this host, then the host. */
  async destroy(): Promise<void> {
    try {
      const urls = await this.client.done('GET', '/1.0/instances');
      for (const url of Array.isArray(urls) ? urls.map(String) : []) {
        await this.client.done('PUT', `${url}/state`, { action: 'stop', force: true }).catch(() => undefined);
        await this.client.done('DELETE', url);
      }
      await this.client.done('PUT', '/1.0/profiles/default', { devices: {} });
      const networks = await this.client.done('GET', '/1.0/networks?recursion=1');
      for (const network of Array.isArray(networks) ? networks : []) {
        if (dig(network, 'managed') !== true) continue;
        await this.client.done('DELETE', `/1.0/networks/${String(dig(network, 'name'))}`);
      }
      const images = await this.client.done('GET', '/1.0/images');
      for (const url of Array.isArray(images) ? images.map(String) : [])
        await this.client.done('DELETE', url);
      await this.client.done('DELETE', '/1.0/storage-pools/default');
    } finally {
      this.client.close();
      await this.stop();
    }
  }
}

/** This program as it is run in production: compiled, by node alone. */
export async function slipwayHost(dir: string, program: string): Promise<Host> {
  const state = join(dir, 'slipway');
  const config = join(dir, 'slipway.conf');
  await mkdir(join(dir, 'log'), { recursive: true });
  await writeFile(
    config,
    `[paths]\nstate = ${state}\nlog = ${join(dir, 'log')}\nrun = ${join(dir, 'run')}\n`,
  );
  return new Host('slipway', 'swbench0', {
    program: process.execPath,
    args: [join(program, 'dist/process/slipway.js'), 'serve', '--config-file', config],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: dir },
    socket: join(state, 'unix.socket'),
    log: join(dir, 'slipway.log'),
  });
}

/** Debian's LXD, by hand, with a folder of its own. */
export async function lxdHost(dir: string): Promise<Host> {
  const state = join(dir, 'lxd');
  await mkdir(state);
  await chmod(state, 0o711);
  return new Host('lxd', 'lxbench0', {
    program: 'lxd',
    args: ['--group', 'root'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: dir, LXD_DIR: state },
    socket: join(state, 'unix.socket'),
    log: join(dir, 'lxd.log'),
  });
}

/** Removes the scratch folder, and what LXD may have left mounted in it. */
export async function removeTree(dir: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  for (const mount of mounts.filter((path) => path.startsWith(`${dir}/`)).reverse()) {
    await promisify(execFile)('umount', [mount]);
  }
  await rm(dir, { recursive: true, force: true });
}
