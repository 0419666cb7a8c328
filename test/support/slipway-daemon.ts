/**
 * A whole `slipway serve` in a scratch folder, as its own process: for tests
 * that talk to it as users do. It can be killed and started again.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync, existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = new URL('../..', import.meta.url).pathname;
const ARM_FAULTS = new URL('./arm-faults.ts', import.meta.url).href;
const START_DEADLINE_MS = 60_000;

export interface Envelope {
  readonly type: 'sync' | 'async' | 'error';
  readonly status_code: number;
  readonly error_code: number;
  readonly error: string;
  readonly operation: string;
  // What an answer holds is the test's business.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly metadata: any;
}

export interface DaemonOptions {
  /** Lines added to slipway.conf. */
  readonly config?: string;
  /** Added to the environment of the daemon. */
  readonly env?: Readonly<Record<string, string>>;
  /** A program that the daemon is run by, with its first arguments; it must become the daemon by exec. */
  readonly runner?: readonly string[];
  /** Makes `arm()` work. */
  readonly faults?: boolean;
}

export class SlipwayDaemon {
  readonly dir: string;
  readonly state: string;
  readonly socket: string;
  private readonly options: DaemonOptions;
  private child: ChildProcess | null = null;

  private constructor(dir: string, options: DaemonOptions) {
    this.dir = dir;
    this.state = join(dir, 'state');
    this.socket = join(this.state, 'unix.socket');
    this.options = options;
  }

  /** A new, empty daemon that answers. */
  static async start(options: DaemonOptions = {}): Promise<SlipwayDaemon> {
    const dir = await mkdtemp(join(tmpdir(), 'slipway-test-'));
    // The root of an unprivileged guest must be able to pass through.
    await chmod(dir, 0o711);
    const daemon = new SlipwayDaemon(dir, options);
    await mkdir(join(dir, 'log'));
    const paths = `[paths]\nstate = ${daemon.state}\nlog = ${join(dir, 'log')}\nrun = ${join(dir, 'run')}\n`;
    await writeFile(join(dir, 'slipway.conf'), paths + (options.config ?? ''));
    await daemon.restart();
    return daemon;
  }

  get pid(): number {
    const pid = this.child?.pid;
    if (pid === undefined) throw new Error('the daemon does not run');
    return pid;
  }

  /** Starts the process again; it must have ended. */
  async restart(): Promise<void> {
    const log = openSync(join(this.dir, 'daemon.log'), 'a');
    const faults = this.options.faults === true;
    const args = [
      '--import',
      'tsx',
      ...(faults ? ['--import', ARM_FAULTS] : []),
      'process/slipway.ts',
      'serve',
      '--config-file',
      join(this.dir, 'slipway.conf'),
      '-v',
    ];
    const [program = process.execPath, ...rest] = [...(this.options.runner ?? []), process.execPath, ...args];
    const child = spawn(program, rest, {
      cwd: ROOT,
      stdio: ['ignore', log, log, ...(faults ? (['ipc'] as const) : [])],
      env: { PATH: process.env['PATH'], HOME: this.dir, ...this.options.env },
    });
    closeSync(log);
    this.child = child;
    const end = Date.now() + START_DEADLINE_MS;
    while (Date.now() < end) {
      if (child.exitCode !== null || child.signalCode !== null) break;
      try {
        const answer = await this.request('GET', '/1.0');
        if (answer.metadata?.auth === 'trusted') return;
      } catch {
        // Not listening yet.
      }
      await sleep(30);
    }
    throw new Error(`the daemon did not come up:\n${await this.log()}`);
  }

  /** The daemon is killed when it next passes this point (`process/fault-points.ts`). */
  async arm(point: string): Promise<void> {
    const { child } = this;
    if (child === null) throw new Error('the daemon does not run');
    const armed = once(child, 'message');
    child.send({ arm: point });
    await armed;
  }

  /** Resolves with the signal when the daemon has ended on its own. */
  async ended(): Promise<NodeJS.Signals | null> {
    const { child } = this;
    if (child === null) return null;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    this.child = null;
    return child.signalCode;
  }

  /** The daemon's own log. */
  log(): Promise<string> {
    return readFile(join(this.dir, 'daemon.log'), 'utf8');
  }

  /** SIGKILL, or another signal; resolves when the process has ended. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child } = this;
    if (child === null) return;
    this.child = null;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** One request over the unix socket, its body as JSON. */
  request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Envelope> {
    return this.send(method, path, body === undefined ? undefined : JSON.stringify(body), headers);
  }

  /** The same, its body as it is. */
  send(
    method: string,
    path: string,
    body?: string | Uint8Array,
    headers: Record<string, string> = {},
  ): Promise<Envelope> {
    return new Promise((resolve, reject) => {
      const req = http.request({ socketPath: this.socket, method, path, headers, agent: false }, (res) => {
        let answer = '';
        res.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
        res.on('end', () => {
          try {
            resolve(JSON.parse(answer) as Envelope); // the daemon's envelope
          } catch (err) {
            reject(new Error(`${method} ${path} answered ${answer.slice(0, 200)}`, { cause: err }));
          }
        });
      });
      req.on('error', reject);
      req.end(body);
    });
  }

  /** A request that must succeed; waits for its operation. Returns the metadata. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async done(method: string, path: string, body?: unknown): Promise<any> {
    const answer = await this.request(method, path, body);
    if (answer.type === 'error') throw new Error(`${method} ${path}: ${answer.error}`);
    if (answer.type === 'sync') return answer.metadata;
    const ended = await this.request('GET', `${answer.operation}/wait`);
    if (ended.metadata.status_code !== 200) throw new Error(`${method} ${path}: ${ended.metadata.err}`);
    return ended.metadata;
  }

  /**
   * Pool, bridge and default profile, as `slipway up` makes them. The bridge's
   * name is the caller's own: one that is there was left by a run that was killed.
   */
  async furnish(bridge: string): Promise<void> {
    if (existsSync(`/sys/class/net/${bridge}/bridge`)) execFileSync('ip', ['link', 'delete', bridge]);
    await this.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
    await this.done('POST', '/1.0/networks', { name: bridge, type: 'bridge' });
    await this.done('PUT', '/1.0/profiles/default', {
      devices: {
        root: { type: 'disk', path: '/', pool: 'default' },
        eth0: { type: 'nic', network: bridge, name: 'eth0' },
      },
    });
  }

  /** Uploads an image file under an alias. */
  async importImage(file: string, alias: string): Promise<string> {
    const answer = await this.send('POST', '/1.0/images', await readFile(file));
    const ended = await this.request('GET', `${answer.operation}/wait`);
    if (ended.metadata.status_code !== 200) throw new Error(`import of ${file}: ${ended.metadata.err}`);
    const fingerprint = String(ended.metadata.metadata.fingerprint);
    await this.done('POST', '/1.0/images/aliases', { name: alias, target: fingerprint });
    return fingerprint;
  }

  /** Deletes all instances and networks and the folder; ends the daemon. For `after`. */
  async destroy(): Promise<void> {
    try {
      if (this.child === null) await this.restart();
      for (const url of (await this.done('GET', '/1.0/instances?all-projects=true')) as string[]) {
        const [path = '', query = ''] = url.split('?');
        const suffix = query === '' ? '' : `?${query}`;
        await this.request('PUT', `${path}/state${suffix}`, { action: 'stop', force: true }).then((a) =>
          a.type === 'async' ? this.request('GET', `${a.operation}/wait`) : a,
        );
        // An ephemeral one has gone with its stop.
        if ((await this.request('GET', url)).type !== 'error') await this.done('DELETE', url);
      }
      await this.done('PUT', '/1.0/profiles/default', { devices: {} });
      for (const network of (await this.done('GET', '/1.0/networks?recursion=1')) as {
        name: string;
        managed: boolean;
      }[]) {
        if (network.managed) await this.done('DELETE', `/1.0/networks/${network.name}`);
      }
    } finally {
      await this.kill('SIGTERM');
      await rm(this.dir, { recursive: true, force: true });
    }
  }
}
