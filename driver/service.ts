/**
 * The compute service: everything is built here, in order, and stopped in
 * reverse. docs/ARCHITECTURE.md has the walk of a request through it.
 *
 *   daemon answers -> conductor answers -> identity is right -> instances are
 *   put right -> service record -> ComputeNode, Placement -> requests are taken
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ComputeConfig } from '../config/load-compute.ts';
import { describeChain } from '../process/fault.ts';
import { Lanes } from '../process/lanes.ts';
import type { Log } from '../process/log.ts';
import { repeat, type Periodic } from '../process/periodic.ts';
import { openCloud, type Cloud } from './cloud/cloud.ts';
import { ImageCache, type ImageStore } from './cloud/image-cache.ts';
import { UNLIMITED_METHODS } from './compute/build.ts';
import { createEventWaiters } from './compute/event-waiters.ts';
import { heartbeat } from './compute/heartbeat.ts';
import { hostAddress, hostName } from './compute/host-facts.ts';
import type { ComputeHost, Guests } from './compute/host.ts';
import { establishIdentity } from './compute/identity.ts';
import { initHost } from './compute/init-host.ts';
import { periodicTasks } from './compute/leftovers.ts';
import { computeMethods } from './compute/manager.ts';
import { createNetworks } from './compute/networks.ts';
import { NodeReport } from './compute/node-report.ts';
import { readProviderExtras } from './compute/provider-config.ts';
import { watchPower } from './compute/power-sync.ts';
import {
  checkDaemon,
  refreshVersion,
  refuseOldPeers,
  registerService,
  untilAnswered,
  versionToReport,
  waitForConductor,
} from './compute/registration.ts';
import { HostTracker } from './compute/tracker.ts';
import { LxdClient } from './lxd/client.ts';
import { createGuests } from './lxd/guests.ts';
import { Conductor } from './nova/conductor.ts';
import { adminContext, requestIdOf } from './nova/context.ts';
import { findService } from './nova/host-records.ts';
import type { NovaObject } from './nova/versioned-object.ts';
import { Messaging } from './rpc/messaging.ts';
import type { Endpoint, RpcServer } from './rpc/server.ts';

const EVER_MS = 2 ** 31 - 1;
/** What may still end when its time is over: undo lists, writes to the database. */
const LAST_WORK_MS = 5000;
const DEFAULT_UPDATE_S = 60;
/** The daemon is started again by every upgrade, and is back within a second or two: no server fails by that. */
const DAEMON_PATIENCE_MS = 10_000;
/** A control plane is upgraded while its hosts go on, and none of them may notice. */
const VERSION_MS = 600_000;
const NAMES_SERVICE = 66;
/** What work under way waits for. */
const AWAITED: ReadonlySet<string> = new Set(['external_instance_event']);

type Served = Pick<RpcServer, 'start' | 'drain' | 'settled' | 'stop'>;

/** What the service reaches its neighbours by. */
export interface ServiceParts {
  readonly daemon: ImageStore & Pick<LxdClient, 'server' | 'close'>;
  readonly guests: Guests;
  readonly cloud: Cloud;
  readonly messaging: Pick<Messaging, 'client' | 'notifier' | 'start' | 'close'> & {
    server(topic: string, endpoints: readonly Endpoint[]): Served;
  };
}

/** Opens no connection yet. Fault bad_request names the option that is wrong. */
export function openParts(config: ComputeConfig, log: Log): ServiceParts {
  const { options, sections } = config;
  const daemon = new LxdClient(options.slipway.socket, DAEMON_PATIENCE_MS);
  return {
    daemon,
    guests: createGuests({ client: daemon, options, log }),
    cloud: openCloud({ log, sections, readFile: (path) => readFileSync(path, 'utf8') }),
    messaging: new Messaging(options, hostName(options), log),
  };
}

export class ComputeService {
  private readonly config: ComputeConfig;
  private readonly log: Log;
  private readonly name: string;
  private readonly parts: ServiceParts;
  private readonly conductor: Conductor;
  private readonly lanes = new Lanes();
  private readonly events = createEventWaiters();
  /** Ends what goes on by itself; later, the work that is under way. */
  private readonly tasksEnd = new AbortController();
  private readonly end = new AbortController();
  /** Ends what undoes work that was ended. */
  private readonly closed = new AbortController();
  private readonly background = new Set<Promise<void>>();
  private servers: readonly Served[] = [];
  private tracker: HostTracker | null = null;

  constructor(config: ComputeConfig, log: Log, parts: ServiceParts) {
    this.config = config;
    this.log = log;
    this.name = hostName(config.options);
    this.parts = parts;
    this.conductor = new Conductor(parts.messaging.client, config.options.DEFAULT.long_rpc_timeout * 1000);
  }

  /**
   * Resolves when requests are taken. Waits for the control plane as long as it
   * takes, or until the signal; Fault when this host must not run: the daemon
   * does not trust this user, the host was renamed, its identity is lost.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { log, conductor, config } = this;
    const context = adminContext();
    await checkDaemon(this.parts.daemon, signal);
    if (!this.parts.cloud.hasServiceUser)
      log.warn('without [service_user] long work fails when a token of a user ends');
    this.parts.messaging.start();
    await waitForConductor(conductor, log, signal);
    const answered = <T>(work: () => Promise<T>): Promise<T> => untilAnswered(log, signal, work);
    await answered(() => refuseOldPeers(conductor));
    const known = await answered(() => findService(conductor, context, this.name));
    let service: NovaObject | null = known;
    const tracker = await answered(() => this.makeTracker(known, () => service));
    this.tracker = tracker;
    const host = this.makeHost(tracker);
    await answered(() => initHost(host, adminContext()));
    const configured = config.options.slipway.service_version;
    const version = await answered(() => versionToReport(conductor, configured));
    const record = await answered(() => registerService(conductor, this.name, version));
    service = record;
    await answered(() => tracker.update(adminContext(), true));
    await this.takeRequests(host);
    const refresh = () => refreshVersion(conductor, record, configured);
    const beats = {
      conductor,
      service: record,
      everyMs: config.options.DEFAULT.report_interval * 1000,
      log,
      onReturn: refresh,
    };
    this.run('heartbeat', (over) => heartbeat(beats, over), this.end.signal);
    const renewal = { name: 'refresh_service_version', everyMs: VERSION_MS, run: refresh };
    this.startTasks(host, [...this.reports(tracker), renewal]);
    log.info('ready', { host: this.name, node: tracker.node.uuid, version });
  }

  /** Takes no more requests, lets work end within graceful_shutdown_timeout, and closes everything. */
  async stop(): Promise<void> {
    const { graceful_shutdown_timeout: graceS } = this.config.options.DEFAULT;
    this.tasksEnd.abort();
    const [compute, alternative] = this.servers;
    // Older control planes send what work waits for by the first topic, newer ones by the second.
    await compute?.drain(AWAITED);
    await this.worked(graceS === 0 ? EVER_MS : graceS * 1000);
    this.events.cancelAll();
    this.end.abort();
    await this.worked(LAST_WORK_MS);
    await compute?.stop(0);
    await alternative?.stop(0);
    this.closed.abort();
    const rest = Promise.all([this.tracker?.settled(), ...this.background]);
    await Promise.race([rest, sleep(LAST_WORK_MS, undefined, { ref: false })]);
    const { daemon, guests, cloud, messaging } = this.parts;
    await guests.close();
    await messaging.close();
    cloud.close();
    daemon.close();
    this.log.info('stopped', { host: this.name });
  }

  /** Resolves when no work is under way, or after so long. */
  private async worked(graceMs: number): Promise<void> {
    const over = new AbortController();
    const requests = Promise.all(this.servers.map((server) => server.settled(graceMs)));
    const all = requests.then(() => this.lanes.settled());
    await Promise.race([all, sleep(graceMs, undefined, { signal: over.signal }).catch(() => undefined)]);
    over.abort();
  }

  private async makeTracker(
    service: NovaObject | null,
    current: () => NovaObject | null,
  ): Promise<HostTracker> {
    const { conductor, log, config, name } = this;
    const { guests, cloud } = this.parts;
    const context = adminContext();
    const present = await guests.list({ requestId: requestIdOf(context), signal: this.end.signal });
    const [folder = config.options.DEFAULT.state_path, ...folders] = config.identityFolders;
    const identity = await establishIdentity(
      {
        conductor,
        host: name,
        node: name,
        folders: [folder, ...folders],
        service,
        guestCount: present.length,
      },
      context,
    );
    const { placement } = cloud;
    return new HostTracker({
      conductor,
      guests,
      placement,
      report: new NodeReport({
        placement,
        options: config.options,
        extras: readProviderExtras(config.options.compute.provider_config_location, {
          uuid: identity.uuid,
          name,
        }),
        log,
      }),
      options: config.options,
      names: { host: name, node: name, address: await hostAddress(config.options) },
      identity,
      serviceId: () => serviceIdOf(current()),
      log,
      signal: this.end.signal,
    });
  }

  private makeHost(tracker: HostTracker): ComputeHost {
    const { conductor, log, name, config } = this;
    const { cloud, daemon, guests, messaging } = this.parts;
    const { options } = config;
    const { signal } = this.end;
    return {
      name,
      options,
      log,
      conductor,
      client: messaging.client,
      notifier: messaging.notifier,
      cloud,
      images: new ImageCache({
        glance: cloud.glance,
        store: daemon,
        log,
        wantsSignatures: options.glance.verify_glance_signatures,
      }),
      guests,
      tracker,
      networks: createNetworks({
        conductor,
        cloud,
        log,
        host: name,
        ovsBridge: options.neutron.ovs_bridge,
        allocateRetries: options.DEFAULT.network_allocate_retries,
        signal: this.closed.signal,
      }),
      events: this.events,
      lanes: this.lanes,
      signal,
    };
  }

  private async takeRequests(host: ComputeHost): Promise<void> {
    const endpoint = {
      namespace: null,
      major: 6,
      methods: computeMethods(host),
      unlimited: UNLIMITED_METHODS,
    };
    this.servers = ['compute', 'compute-alt'].map((topic) => this.parts.messaging.server(topic, [endpoint]));
    for (const server of this.servers) await server.start(this.end.signal);
  }

  private reports(tracker: HostTracker): readonly Periodic[] {
    const { update_resources_interval: updateS } = this.config.options.DEFAULT;
    const everyMs = (updateS > 0 ? updateS : DEFAULT_UPDATE_S) * 1000;
    const run = () => tracker.update(adminContext());
    return updateS < 0 ? [] : [{ name: 'update_available_resource', everyMs, run }];
  }

  private startTasks(host: ComputeHost, own: readonly Periodic[]): void {
    const { periodic_fuzzy_delay: fuzzyS } = this.config.options.DEFAULT;
    const tasks = [...own, ...periodicTasks(host)];
    const { signal } = this.tasksEnd;
    const delayMs = Math.random() * fuzzyS * 1000;
    for (const task of tasks) {
      this.run(
        task.name,
        async (over) => {
          await sleep(delayMs, undefined, { signal: over, ref: false }).catch(() => undefined);
          if (!over.aborted) await repeat(task, this.log, over);
        },
        signal,
      );
    }
    this.run('watch_power', () => watchPower(host), signal);
  }

  /** Work that goes on by itself; its end, if it fails, is told. */
  private run(name: string, work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): void {
    const running = work(signal).catch((err: unknown) => {
      if (!signal.aborted) this.log.error('background work ended', { name, error: describeChain(err) });
    });
    this.background.add(running);
  }
}

/** From 2023.1 on a ComputeNode names its service; older ones have no such column in use. */
function serviceIdOf(service: NovaObject | null): number | null {
  const version = service?.numberOrNull('version') ?? 0;
  return version >= NAMES_SERVICE ? (service?.numberOrNull('id') ?? null) : null;
}
