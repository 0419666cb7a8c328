/** The HTTP side on a scratch unix socket and, when asked, on a TLS port of the loopback. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Attempts } from '../../api/certificates/attempts.ts';
import type { CertificateParts } from '../../api/certificates/certificates.ts';
import { TrustStore } from '../../api/certificates/trust-store.ts';
import { Events } from '../../api/events/events.ts';
import { createHttp, type HttpService } from '../../api/http/app.ts';
import { Callers } from '../../api/http/callers.ts';
import { Listeners } from '../../api/http/listeners.ts';
import type { Route, WebSocketRoute } from '../../api/http/route.ts';
import { makeServerCertificate, type ServerCertificate } from '../../api/http/server-certificate.ts';
import type { ServerLimits } from '../../api/http/server.ts';
import { openOperations, type OperationsAdmin } from '../../api/operations/operations.ts';
import { certificateRoutes } from '../../api/routes/certificates.ts';
import { clusterRoutes } from '../../api/routes/cluster.ts';
import { eventWebSockets } from '../../api/routes/events.ts';
import { operationRoutes, operationWebSockets } from '../../api/routes/operations.ts';
import { rootRoutes } from '../../api/routes/root.ts';
import type { ServerConfigAdmin } from '../../api/server-config-types.ts';
import type { ServerEnvironment } from '../../api/wire/server.ts';
import type { Log } from '../../process/log.ts';
import { SILENT } from '../../process/log.ts';
import { memoryDatabase } from './fake-tables.ts';

export interface TestServer {
  readonly socketPath: string;
  readonly port: number;
  readonly http: HttpService;
  readonly listeners: Listeners;
  readonly events: Events;
  readonly operations: OperationsAdmin;
  readonly trust: TrustStore;
  readonly config: MemoryConfig;
  readonly certificate: ServerCertificate;
  readonly routes: readonly Route[];
  readonly webSocketRoutes: readonly WebSocketRoute[];
  /** Messages of level error: none is expected in most tests. */
  readonly errors: readonly string[];
  close(): Promise<void>;
}

export interface TestServerOptions {
  readonly routes?: readonly Route[];
  readonly webSocketRoutes?: readonly WebSocketRoute[];
  readonly limits?: ServerLimits;
  readonly https?: boolean;
  readonly config?: Readonly<Record<string, string>>;
  /** Of the events websocket. */
  readonly maxWaitingBytes?: number;
  /** Shared with what is behind `routes`; own ones when absent. */
  readonly shared?: { readonly events: Events; readonly operations: OperationsAdmin };
}

export async function startServer(options: TestServerOptions = {}): Promise<TestServer> {
  const directory = await mkdtemp(join(tmpdir(), 'http-test-'));
  const errors: string[] = [];
  const log: Log = {
    ...SILENT,
    error: (msg, facts) =>
      void errors.push(`${msg}: ${String(facts?.['error'])} ${String(facts?.['stack'] ?? '')}`),
    with: () => log,
  };
  const events = options.shared?.events ?? new Events();
  const operations = options.shared?.operations ?? openOperations({ events, log });
  const config = new MemoryConfig(options.config ?? {});
  const certificate = await makeServerCertificate('test');
  const trust = await TrustStore.open(memoryDatabase().tables.certificates, () => undefined);
  const projectExists = (name: string): boolean => name === 'default' || name === 'p1';
  const late: { listeners: Listeners | null } = { listeners: null };
  const addresses = (): readonly string[] => late.listeners?.addresses() ?? [];
  const certificates: CertificateParts = {
    trust,
    serverConfig: config,
    operations,
    events,
    attempts: new Attempts(),
    projectExists,
    addresses,
    serverFingerprint: certificate.fingerprint,
  };
  const routes = [
    ...rootRoutes({ serverConfig: config, environment: testEnvironment, events }),
    ...certificateRoutes(certificates),
    ...operationRoutes({ operations, events }),
    ...clusterRoutes({ poolNames: () => ['default'] }),
    ...(options.routes ?? []),
  ];
  const { maxWaitingBytes } = options;
  const webSocketRoutes = [
    ...operationWebSockets({ operations, events }),
    ...eventWebSockets({ events, log, ...(maxWaitingBytes === undefined ? {} : { maxWaitingBytes }) }),
    ...(options.webSocketRoutes ?? []),
  ];
  const callers = new Callers({ peerCredentials: () => ({ uid: 0 }), trusted: (der) => trust.match(der) });
  const http = createHttp({
    log,
    routes,
    webSocketRoutes,
    callers,
    operations,
    serverConfig: config,
    projectExists,
  });
  trust.whenRemoved((der) => {
    http.dropCertificate(der);
  });
  const { limits } = options;
  const listeners = new Listeners({
    http,
    serverConfig: config,
    certificate,
    log,
    ...(limits === undefined ? {} : { limits }),
  });
  late.listeners = listeners;
  const socketPath = join(directory, 'unix.socket');
  await listeners.openUnix({ path: socketPath, group: null, activatedFd: null });
  await listeners.followConfig();
  if (options.https === true) await config.merge({ 'core.https_address': '127.0.0.1:0' });
  http.setPhase('ready');
  return {
    socketPath,
    get port() {
      return Number(/:(\d+)$/.exec(addresses()[0] ?? '')?.[1]);
    },
    http,
    listeners,
    events,
    operations,
    trust,
    config,
    certificate,
    routes,
    webSocketRoutes,
    errors,
    close: async () => {
      operations.abortAll();
      http.closeWebSockets();
      await listeners.close(100);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** The server's configuration without its table of keys. */
export class MemoryConfig implements ServerConfigAdmin {
  private values: Record<string, string>;
  private readonly watchers: { keys: readonly string[]; fn: (key: string) => Promise<void> }[] = [];

  constructor(values: Readonly<Record<string, string>>) {
    this.values = { ...values };
  }

  get(key: string): string {
    return this.values[key] ?? '';
  }

  all(): Readonly<Record<string, string>> {
    return { ...this.values };
  }

  render(): Readonly<Record<string, string | boolean>> {
    const hidden = this.values['core.trust_password'] === undefined ? {} : { 'core.trust_password': true };
    return { ...this.values, ...hidden };
  }

  async replace(next: Readonly<Record<string, unknown>>, check?: () => void): Promise<void> {
    check?.();
    const before = this.values;
    this.values = Object.fromEntries(
      Object.entries(next)
        .map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)] as const)
        .filter(([, value]) => value !== '' && value !== 'null'),
    );
    try {
      const changed = (key: string): boolean => before[key] !== this.values[key];
      for (const { keys, fn } of this.watchers) {
        for (const key of keys.filter(changed)) await fn(key);
      }
    } catch (err) {
      this.values = before;
      throw err;
    }
  }

  async merge(changes: Readonly<Record<string, unknown>>, check?: () => void): Promise<void> {
    await this.replace({ ...this.values, ...changes }, check);
  }

  onChange(keys: readonly string[], fn: (key: string) => Promise<void>): void {
    this.watchers.push({ keys, fn });
  }
}

function testEnvironment(project: string): ServerEnvironment {
  return {
    addresses: [],
    architectures: ['x86_64'],
    certificate: '',
    certificate_fingerprint: '',
    driver: 'lxc',
    driver_version: '5.0.2',
    firewall: 'nftables',
    kernel: 'Linux',
    kernel_architecture: 'x86_64',
    kernel_features: {},
    kernel_version: '6.1',
    lxc_features: {},
    os_name: 'Test',
    os_version: '1',
    project,
    server: 'lxd',
    server_clustered: false,
    server_event_mode: 'full-mesh',
    server_name: 'test',
    server_pid: 1,
    server_version: '5.0.2',
    storage: '',
    storage_version: '',
    storage_supported_drivers: [],
  };
}
