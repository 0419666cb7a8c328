/**
 * An Open vSwitch of its own: database and switch in a scratch folder, links in
 * a network namespace, frames forwarded by the program itself (datapath
 * `netdev`), since not every kernel has the module.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';
const DEADLINE_MS = 20_000;

/** Sees the links of the namespace it runs in below /sys, and the host's cgroups all the same. */
const OWN_SYS =
  'mount --rbind /sys/fs/cgroup "$0" && mount -t sysfs sysfs /sys && mount --rbind "$0" /sys/fs/cgroup && exec "$@"';

export class PrivateOvs {
  readonly namespace: string;
  readonly dir: string;
  readonly socket: string;
  private database: ChildProcess | null = null;
  private vswitchd: ChildProcess | null = null;

  private constructor(namespace: string, dir: string) {
    this.namespace = namespace;
    this.dir = dir;
    this.socket = join(dir, 'db.sock');
  }

  static async start(namespace: string): Promise<PrivateOvs> {
    const ovs = new PrivateOvs(namespace, await mkdtemp(join(tmpdir(), 'slipway-ovs-')));
    execFileSync('ip', ['netns', 'add', namespace]);
    ovs.inside('ip', 'link', 'set', 'lo', 'up');
    execFileSync('ovsdb-tool', ['create', join(ovs.dir, 'conf.db'), SCHEMA]);
    await ovs.startDatabase();
    ovs.vsctl('--no-wait', 'init');
    ovs.vswitchd = ovs.daemon('ovs-vswitchd', [`unix:${ovs.socket}`]);
    return ovs;
  }

  /** Words that go before a program, so that it sees the links of the namespace. */
  get runner(): readonly string[] {
    const cgroups = join(this.dir, 'cgroups');
    execFileSync('mkdir', ['-p', cgroups]);
    const enter = ['nsenter', `--net=/run/netns/${this.namespace}`];
    return [...enter, 'unshare', '--mount', '--propagation', 'slave', 'sh', '-c', OWN_SYS, cgroups];
  }

  vsctl(...args: string[]): string {
    const all = [`--db=unix:${this.socket}`, '--timeout=20', ...args];
    return execFileSync('ovs-vsctl', all, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  }

  /** A bridge that forwards frames as a plain switch does. */
  addBridge(name: string): void {
    this.vsctl('add-br', name, '--', 'set', 'bridge', name, 'datapath_type=netdev');
    this.inside('ip', 'link', 'set', name, 'up');
  }

  ports(bridge: string): string[] {
    return this.vsctl('list-ports', bridge)
      .split('\n')
      .filter((line) => line !== '')
      .sort();
  }

  externalId(name: string, key: string): string {
    return this.vsctl('--if-exists', 'get', 'interface', name, `external_ids:${key}`).replaceAll('"', '');
  }

  inside(program: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.namespace, program, ...args], { encoding: 'utf8' });
  }

  async startDatabase(): Promise<void> {
    this.database = this.daemon('ovsdb-server', [
      join(this.dir, 'conf.db'),
      `--remote=punix:${this.socket}`,
      `--unixctl=${join(this.dir, 'db.ctl')}`,
    ]);
    const end = Date.now() + DEADLINE_MS;
    while (!existsSync(this.socket)) {
      if (Date.now() > end) throw new Error(`ovsdb-server does not come up; see ${this.dir}`);
      await sleep(20);
    }
  }

  /** What is in the database stays. */
  async stopDatabase(): Promise<void> {
    await end(this.database);
    this.database = null;
    await rm(this.socket, { force: true });
  }

  async stop(): Promise<void> {
    await end(this.vswitchd);
    await end(this.database);
    execFileSync('ip', ['netns', 'delete', this.namespace]);
    await rm(this.dir, { recursive: true, force: true });
  }

  private daemon(program: string, args: readonly string[]): ChildProcess {
    const common = [`--log-file=${join(this.dir, `${program}.log`)}`, '-vconsole:off', '--no-chdir'];
    const env = {
      PATH: process.env['PATH'],
      OVS_RUNDIR: this.dir,
      OVS_LOGDIR: this.dir,
      OVS_DBDIR: this.dir,
    };
    const enter = [`--net=/run/netns/${this.namespace}`, program, ...args, ...common];
    return spawn('nsenter', enter, { stdio: 'ignore', env });
  }
}

async function end(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
