/** The whole compute service with fakes around it: no broker, no daemon, no cloud. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadComputeConfig } from '../../config/load-compute.ts';
import { openCloud } from '../../driver/cloud/cloud.ts';
import { NEEDED_EXTENSIONS } from '../../driver/compute/registration.ts';
import type { LxdClient } from '../../driver/lxd/client.ts';
import type { RpcClient } from '../../driver/rpc/client.ts';
import type { Json } from '../../driver/rpc/json.ts';
import type { Notifier } from '../../driver/rpc/notifier.ts';
import type { Endpoint } from '../../driver/rpc/server.ts';
import { ComputeService, type ServiceParts } from '../../driver/service.ts';
import type { Facts, Level, Log } from '../../process/log.ts';
import { userRpcContext } from './cloud-services.ts';
import { FakeCloud } from './fake-cloud.ts';
import { FakeGuests } from './fake-guests.ts';
import { FakeNova } from './fake-nova.ts';
import { FakePlacement } from './fake-placement.ts';

export const TRAITS = [
  'COMPUTE_NODE',
  'COMPUTE_STATUS_DISABLED',
  'COMPUTE_NET_ATTACH_INTERFACE',
  'COMPUTE_IMAGE_TYPE_RAW',
  'COMPUTE_IMAGE_TYPE_QCOW2',
  'OWNER_NOVA',
];

/** What was logged, for tests that look for it. */
export class KeptLog implements Log {
  readonly lines: { readonly level: Level; readonly msg: string; readonly facts: Facts }[] = [];
  debug(): void {
    // Nobody looks at these.
  }
  info(msg: string, facts: Facts = {}): void {
    this.lines.push({ level: 'info', msg, facts });
  }
  warn(msg: string, facts: Facts = {}): void {
    this.lines.push({ level: 'warn', msg, facts });
  }
  error(msg: string, facts: Facts = {}): void {
    this.lines.push({ level: 'error', msg, facts });
  }
  with(): Log {
    return this;
  }
  /** Facts of the errors, as texts. */
  get errors(): string[] {
    return this.lines
      .filter((one) => one.level === 'error')
      .map((one) => JSON.stringify([one.msg, one.facts]));
  }
}

export class ServiceUnderTest {
  readonly folder: string;
  readonly cloud: FakeCloud;
  readonly placement: FakePlacement;
  readonly nova: FakeNova;
  readonly guests = new FakeGuests();
  readonly log = new KeptLog();
  /** Topics that are served, in the order they were opened and closed: "open compute". */
  readonly topics: string[] = [];
  isTrusted = true;
  extensions: string[] = [...NEEDED_EXTENSIONS];
  private endpoints: readonly Endpoint[] = [];
  private running: ComputeService | null = null;

  private constructor(folder: string, cloud: FakeCloud, conductorVersion: number) {
    this.folder = folder;
    this.cloud = cloud;
    this.placement = new FakePlacement(cloud, TRAITS);
    this.nova = new FakeNova(conductorVersion);
  }

  static async make(conductorVersion = 68): Promise<ServiceUnderTest> {
    const folder = await mkdtemp(join(tmpdir(), 'slipway-compute-'));
    return new ServiceUnderTest(folder, await FakeCloud.start(), conductorVersion);
  }

  /** The service, begun with this host name. */
  async start(host = 'node-a', extra = ''): Promise<void> {
    const service = await this.service(host, extra);
    this.running = service;
    await service.start(AbortSignal.timeout(20_000));
  }

  /** Names of the methods of compute 6.x that are served. */
  get methods(): readonly string[] {
    return [...(this.endpoints[0]?.methods.keys() ?? [])];
  }

  /** The method's answer; what it throws is the failure the caller would get. */
  async ask(method: string, args: Json = {}): Promise<unknown> {
    const handler = this.endpoints[0]?.methods.get(method);
    if (handler === undefined) throw new Error(`method ${method} is not served`);
    const context = userRpcContext(this.cloud, 'p1');
    return handler({
      method,
      version: '6.0',
      namespace: null,
      args,
      context,
      requestId: 'req-1',
      reply: null,
    });
  }

  async stop(): Promise<void> {
    await this.running?.stop();
    this.running = null;
  }

  async destroy(): Promise<void> {
    await this.stop();
    await this.cloud.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  private async service(host: string, extra: string): Promise<ComputeService> {
    const file = join(this.folder, 'nova.conf');
    const account = `auth_url = ${this.cloud.url}/identity\nusername = nova\npassword = secret\nproject_name = service\n`;
    await writeFile(
      file,
      `[DEFAULT]\nhost = ${host}\nmy_ip = 192.0.2.7\nstate_path = ${join(this.folder, 'state')}\n` +
        `periodic_fuzzy_delay = 3600\ngraceful_shutdown_timeout = 5\n${extra}\n` +
        `[placement]\n${account}[neutron]\n${account}[service_user]\nsend_service_user_token = true\n${account}`,
    );
    const config = loadComputeConfig(['--config-file', file]);
    const cloud = openCloud({ log: this.log, sections: config.sections, readFile: () => '' });
    return new ComputeService(config, this.log, { ...this.parts(), cloud });
  }

  private parts(): Omit<ServiceParts, 'cloud'> {
    const nothing = { sendsLegacy: false, sendsVersioned: false, settled: () => Promise.resolve() };
    const daemon: Pick<LxdClient, 'server' | 'images' | 'importImage' | 'deleteImage' | 'close'> = {
      server: () =>
        this.isTrusted
          ? Promise.resolve({ api_extensions: this.extensions, auth: 'trusted', environment: {} })
          : Promise.reject(new Error('this user is not trusted')),
      images: () => Promise.resolve([]),
      importImage: () => Promise.resolve('f1'),
      deleteImage: () => Promise.resolve(),
      close: () => undefined,
    };
    return {
      daemon,
      guests: this.guests,
      messaging: {
        // The methods of these that the service uses are those the fakes have.
        client: this.nova as unknown as RpcClient,
        notifier: nothing as unknown as Notifier,
        start: () => undefined,
        close: () => Promise.resolve(),
        server: (topic, endpoints) => {
          this.endpoints = endpoints;
          return {
            start: () => {
              this.topics.push(`open ${topic}`);
              return Promise.resolve();
            },
            drain: () => {
              this.topics.push(`drain ${topic}`);
              return Promise.resolve();
            },
            settled: () => Promise.resolve(),
            stop: () => {
              this.topics.push(`close ${topic}`);
              return Promise.resolve(0);
            },
          };
        },
      },
    };
  }
}
