/**
 * The cloud that `npm run cloud` brought up, for the tests in test/cloud: as
 * its users see it, and what of it lies on this host.
 */
import { join } from 'node:path';
import { runTool } from '../../api/tools.ts';
import { daemonPid, isAlive } from '../../api/setup/background.ts';
import { loadDaemonConfig } from '../../config/load.ts';
import { type LxdClient, type LxdInstance, UUID_KEY } from '../../driver/lxd/client.ts';
import { computePid, ensureCompute, stopCompute } from '../../tempest/cloud/compute-host.ts';
import { ensureDaemon } from '../../tempest/cloud/daemon.ts';
import { awaitActive, deleteServer, ensureFloating } from '../../tempest/cloud/first-server.ts';
import { ADMIN, DEMO, eventually, OpenStack, type Json } from '../../tempest/cloud/openstack.ts';
import { keyFile, KEYPAIR, PRIVATE_NETWORK } from '../../tempest/cloud/seed.ts';
import { CONTROL, openCloud, readFacts, type Cloud } from '../../tempest/cloud/setting.ts';
import { isFault } from '../../process/fault.ts';
import { Progress } from '../../api/setup/progress.ts';

export const CLOUD_HOME = process.env['SLIPWAY_CLOUD_HOME'] ?? '/var/lib/slipway-cloud';
const CALLER = { requestId: '' };
const STATE_MS = 120_000;
const GONE_MS = 60_000;
/** More than vif_plugging_timeout, after which a build whose port is never wired is given up. */
const SETTLED_MS = 420_000;
/** Nova saves the state before it writes down why. */
const FAULT_MS = 30_000;
const BROKER_MS = 90_000;
const QUIET = { detail: () => undefined, result: () => undefined };

export interface BootOptions {
  readonly image?: string;
  readonly flavor?: string;
  /** Added to the body of the request. */
  readonly body?: Json;
}

export class RunningCloud {
  readonly cloud: Cloud;
  readonly demo: OpenStack;
  readonly admin: OpenStack;
  readonly lxd: LxdClient;
  private readonly made = new Set<string>();

  private constructor(cloud: Cloud) {
    this.cloud = cloud;
    this.demo = new OpenStack(cloud.facts, DEMO);
    this.admin = new OpenStack(cloud.facts, ADMIN);
    this.lxd = cloud.lxd;
  }

  /** Throws when no cloud is up. */
  static async open(): Promise<RunningCloud> {
    const facts = await readFacts(CLOUD_HOME);
    if (facts === null) throw new Error(`there is no cloud in ${CLOUD_HOME}: run "npm run cloud" first`);
    const daemon = loadDaemonConfig({});
    const places = { cache: join(CLOUD_HOME, 'unused'), home: CLOUD_HOME, daemon };
    const progress = new Progress(process.stderr);
    return new RunningCloud(openCloud(places, facts, progress, new AbortController().signal));
  }

  /** The unmodified client, as a tenant. Its answer, parsed when it is JSON. Throws with what it said. */
  async openstack(args: readonly string[], user = 'demo'): Promise<unknown> {
    const script = `. /root/openrc; export OS_USERNAME=${user} OS_PROJECT_NAME=${user}; exec openstack "$@"`;
    const command = ['bash', '-c', script, 'openstack', ...args];
    const { exitCode, stdout, stderr } = await this.lxd.exec(CALLER, CONTROL, command);
    if (exitCode !== 0) throw new Error(`openstack ${args.join(' ')}: ${stderr.trim()}`);
    if (!args.includes('json')) return stdout;
    const parsed: unknown = JSON.parse(stdout);
    return parsed;
  }

  /** Runs a program in the control plane. Throws when it fails. */
  async inControl(command: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.lxd.exec(CALLER, CONTROL, command);
    if (exitCode !== 0) throw new Error(`${command.join(' ')}: ${String(exitCode)} ${stderr}`);
    return stdout;
  }

  /** Asks for a server and returns at once. Deleted by cleanUp(). */
  async request(name: string, options: BootOptions = {}): Promise<string> {
    const { image = 'busybox', flavor = 'tiny' } = options;
    const [images, flavors, networks] = await Promise.all([
      this.demo.list('image', `/images?name=${image}`, 'images'),
      this.demo.list('compute', '/flavors', 'flavors'),
      this.demo.list('network', `/networks?name=${PRIVATE_NETWORK}`, 'networks'),
    ]);
    const server = await this.demo.one('compute', 'POST', '/servers', 'server', {
      server: {
        name,
        imageRef: images[0]?.['id'],
        flavorRef: flavors.find((one) => one['name'] === flavor)?.['id'],
        networks: [{ uuid: networks[0]?.['id'] }],
        key_name: KEYPAIR,
        ...options.body,
      },
    });
    const id = String(server['id']);
    this.made.add(id);
    return id;
  }

  /** A server that is ACTIVE. */
  async boot(name: string, options: BootOptions = {}): Promise<string> {
    const id = await this.request(name, options);
    await awaitActive(this.demo, id);
    return id;
  }

  server(id: string): Promise<Json> {
    return this.demo.one('compute', 'GET', `/servers/${id}`, 'server');
  }

  /** An action of Nova's on a server, such as `{ 'os-stop': null }`. */
  async act(id: string, action: Json): Promise<Json> {
    return this.demo.request('compute', 'POST', `/servers/${id}/action`, action);
  }

  /** Waits until a server has this status and nothing is being done to it. Throws when it ends in ERROR instead. */
  async status(id: string, wanted: string): Promise<Json> {
    return eventually(`server ${id} becomes ${wanted}`, STATE_MS, async () => {
      const server = await this.server(id);
      const status = String(server['status']);
      if (status === 'ERROR' && wanted !== 'ERROR') {
        throw new Error(`server ${id} is in ERROR: ${JSON.stringify(server['fault'])}`);
      }
      return status === wanted && server['OS-EXT-STS:task_state'] === null ? server : null;
    });
  }

  /** Deletes a server and waits until Nova does not know it. */
  async remove(id: string): Promise<void> {
    try {
      await deleteServer(this.demo, id);
    } catch (err) {
      if (!isFault(err, 'not_found')) throw err;
    }
    this.made.delete(id);
  }

  /** For `after`: every server that was asked for. */
  async cleanUp(): Promise<void> {
    const removals = [...this.made].map((id) => this.remove(id));
    // One that cannot be removed keeps no other.
    await Promise.allSettled(removals);
    this.lxd.close();
    await Promise.all(removals);
  }

  /** The container of a server; null when there is none. */
  async container(id: string): Promise<LxdInstance | null> {
    return this.lxd.byUuid(CALLER, id);
  }

  /** Runs a program in a server, past its network. */
  async inside(id: string, command: readonly string[]): Promise<string> {
    const container = await this.container(id);
    if (container === null) throw new Error(`server ${id} has no container`);
    const { exitCode, stdout, stderr } = await this.lxd.exec(CALLER, container.name, command);
    if (exitCode !== 0) throw new Error(`${command.join(' ')} in ${id}: ${String(exitCode)} ${stderr}`);
    return stdout;
  }

  floating(id: string): Promise<string> {
    return ensureFloating(this.demo, id);
  }

  /** What a shell command over ssh prints; `stdin` is sent to it. */
  async ssh(address: string, command: string, stdin?: Buffer): Promise<string> {
    const options = [
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'ConnectTimeout=10',
      'BatchMode=yes',
    ];
    const flags = options.flatMap((option) => ['-o', option]);
    const { stdout } = await runTool(
      'ssh',
      ['-i', keyFile(CLOUD_HOME), ...flags, `debian@${address}`, command],
      {
        maxOutputBytes: 64 * 1024 * 1024,
        ...(stdin === undefined ? {} : { stdin }),
      },
    );
    return stdout;
  }

  /** What is left of a server anywhere: its ports, what it holds in Placement, its container. Empty when it is gone. */
  private async traces(id: string): Promise<string[]> {
    const ports = await this.admin.list('network', `/ports?device_id=${id}`, 'ports');
    // An object with one entry for each provider.
    const allocations = (await this.admin.get('placement', `/allocations/${id}`))['allocations'] as Json;
    const found = ports.map((port) => `port ${String(port['id'])}`);
    found.push(...Object.keys(allocations).map((provider) => `allocation on ${provider}`));
    const container = (await this.lxd.novaInstances(CALLER)).find((one) => one.config[UUID_KEY] === id);
    if (container !== undefined) found.push(`container ${container.name}`);
    return found;
  }

  /** Waits until nothing is left of a server; what Nova tidies up after its answer takes a moment. */
  async leavesNothing(id: string): Promise<void> {
    let left: readonly string[] = [];
    await eventually(`server ${id} leaves nothing`, GONE_MS, async () => {
      left = await this.traces(id);
      return left.length === 0 ? true : null;
    }).catch((cause: unknown) => {
      throw new Error(`of server ${id} stays: ${left.join(', ')}`, { cause });
    });
  }

  /** SIGKILL, as if its power had failed. */
  async killCompute(): Promise<void> {
    const pid = await computePid(CLOUD_HOME);
    if (pid === null) throw new Error('the compute service does not run');
    process.kill(pid, 'SIGKILL');
    await eventually('the compute service is gone', 10_000, async () =>
      (await computePid(CLOUD_HOME)) === null ? true : null,
    );
  }

  async startCompute(): Promise<void> {
    await ensureCompute(this.cloud, QUIET);
  }

  async stopCompute(): Promise<void> {
    await stopCompute(CLOUD_HOME);
  }

  /** The REST daemon: its containers run on. */
  async killDaemon(): Promise<void> {
    const pid = await daemonPid(this.cloud.rest);
    if (pid === null) throw new Error('the daemon does not run');
    process.kill(pid, 'SIGKILL');
    await eventually('the daemon is gone', 10_000, () => Promise.resolve(isAlive(pid) ? null : true));
  }

  async startDaemon(): Promise<void> {
    await ensureDaemon(this.cloud);
  }

  /** Waits until the compute service is back at a broker that was restarted: a request sent before is lost. */
  async computeListens(): Promise<void> {
    const queue = `compute.${this.cloud.facts.host}`;
    await eventually(`somebody listens at ${queue}`, BROKER_MS, async () => {
      const queues = await this.inControl(['rabbitmqctl', '-q', 'list_queues', 'name', 'consumers']);
      const found = queues.split('\n').map((line) => line.split(/\s+/));
      return found.some(([name, consumers]) => name === queue && Number(consumers) > 0) ? true : null;
    });
  }

  /** SIGKILL for all processes of a unit of the control plane, which then comes back. */
  async killInControl(unit: string): Promise<void> {
    await this.inControl(['systemctl', 'kill', '--signal=SIGKILL', unit]);
    await this.inControl(['systemctl', 'restart', unit]);
  }

  /** Waits until a server is at rest: ACTIVE, or in ERROR with a fault that says why. */
  async settled(id: string): Promise<'ACTIVE' | 'ERROR'> {
    let failedAt: number | null = null;
    return eventually(`server ${id} comes to rest`, SETTLED_MS, async () => {
      const server = await this.server(id).catch((err: unknown) => {
        // Whoever answers has just come back.
        if (isFault(err, 'unavailable')) return null;
        throw err;
      });
      if (server?.['status'] === 'ERROR') {
        // Nova adds it to servers in ERROR.
        const fault = server['fault'] as Json | undefined;
        if ((fault?.['message'] ?? '') !== '') return 'ERROR';
        failedAt ??= performance.now();
        if (performance.now() - failedAt < FAULT_MS) return null;
        throw new Error(`server ${id} is in ERROR without a reason`);
      }
      return server?.['status'] === 'ACTIVE' && server['OS-EXT-STS:task_state'] === null ? 'ACTIVE' : null;
    });
  }
}
