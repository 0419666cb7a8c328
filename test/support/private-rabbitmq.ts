/** A RabbitMQ of a test's own: scratch folder, free ports, its own node name; stopped by its process. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect as connectTcp, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';

const PROGRAMS = '/usr/lib/rabbitmq/bin';
const READY_MS = 90_000;

/** Why no broker can be started here, or null. */
export function rabbitLacks(): string | null {
  if (!existsSync(join(PROGRAMS, 'rabbitmq-server')))
    return 'RabbitMQ is not installed (apt-get install rabbitmq-server)';
  return process.getuid?.() === 0 ? null : 'a broker is started as another user, which needs root';
}

export class PrivateRabbit {
  readonly port: number;
  readonly tlsPort: number;
  private readonly folder: string;
  private readonly env: Record<string, string>;
  private readonly ids: { readonly uid: number; readonly gid: number };
  private readonly children = new Set<ChildProcess>();
  private broker: ChildProcess | null = null;

  private constructor(ports: readonly number[]) {
    const [port = 0, distribution = 0, epmd = 0, tlsPort = 0] = ports;
    this.port = port;
    this.tlsPort = tlsPort;
    this.ids = { uid: idOf('-u'), gid: idOf('-g') };
    this.folder = mkdtempSync(join(tmpdir(), 'slipway-mq-'));
    for (const at of [this.folder, join(this.folder, 'log'), join(this.folder, 'data')]) {
      mkdirSync(at, { recursive: true });
      chownSync(at, this.ids.uid, this.ids.gid);
    }
    this.env = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      LANG: 'C.UTF-8',
      HOME: this.folder,
      ERL_EPMD_PORT: String(epmd),
      RABBITMQ_NODENAME: `slipway${String(port)}@localhost`,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_MNESIA_BASE: join(this.folder, 'data'),
      RABBITMQ_LOG_BASE: join(this.folder, 'log'),
      RABBITMQ_PID_FILE: join(this.folder, 'pid'),
      RABBITMQ_CONF_ENV_FILE: join(this.folder, 'none.conf'),
      RABBITMQ_CONFIG_FILE: join(this.folder, 'rabbitmq'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(this.folder, 'plugins'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 1:1 +sbwt none',
    };
    this.children.add(spawn('epmd', ['-port', String(epmd), '-address', '127.0.0.1'], this.how()));
  }

  /** With `tls`, files ca.pem, cert.pem and key.pem of that folder; it then listens at tlsPort too. */
  static async start(tls: string | null = null): Promise<PrivateRabbit> {
    const ports = await Promise.all(Array.from({ length: 4 }, freePort));
    const rabbit = new PrivateRabbit(ports);
    if (tls !== null) rabbit.listenWithTls(tls);
    try {
      await rabbit.up();
    } catch (err) {
      await rabbit.remove();
      throw err;
    }
    return rabbit;
  }

  get url(): string {
    return `rabbit://guest:guest@127.0.0.1:${String(this.port)}/`;
  }

  /** Starts the broker again after down(); resolves when it answers. */
  async up(): Promise<void> {
    const child = spawn(join(PROGRAMS, 'rabbitmq-server'), [], { ...this.how(), detached: true });
    this.broker = child;
    const deadline = Date.now() + READY_MS;
    while (!(await this.answers())) {
      if (child.exitCode !== null || Date.now() > deadline)
        throw new Error(`the broker did not start: ${this.tail()}`);
      await sleep(100);
    }
  }

  /** A crash of the broker. */
  async down(): Promise<void> {
    const child = this.broker;
    this.broker = null;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    process.kill(-child.pid, 'SIGKILL');
    await ended;
    while (await isOpen(this.port)) await sleep(20);
  }

  /**
   * Has the broker write which quorum queues it has: RabbitMQ 3.10 does so at
   * leisure, and a queue made just before a crash is no good afterwards.
   */
  writeDown(): void {
    this.control('eval', '[ok = dets:sync(Table) || Table <- dets:all()].');
  }

  /** Runs rabbitmqctl; gives what it prints. */
  control(...args: readonly string[]): string {
    const done = spawnSync(join(PROGRAMS, 'rabbitmqctl'), ['-q', ...args], {
      ...this.ids,
      cwd: this.folder,
      env: this.env,
      encoding: 'utf8',
      timeout: 60_000,
    });
    if (done.status !== 0) throw new Error(`rabbitmqctl ${args.join(' ')}: ${done.stderr}${done.stdout}`);
    return done.stdout.trim();
  }

  /** As control(), while this process goes on. */
  async controlBeside(...args: readonly string[]): Promise<void> {
    const child = spawn(join(PROGRAMS, 'rabbitmqctl'), ['-q', ...args], this.how());
    const [code]: unknown[] = await once(child, 'exit');
    if (code !== 0) throw new Error(`rabbitmqctl ${args.join(' ')} ended with ${String(code)}`);
  }

  async remove(): Promise<void> {
    await this.down();
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    // What the broker has started writes for a moment longer.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  private listenWithTls(from: string): void {
    const lines = [
      `listeners.ssl.default = 127.0.0.1:${String(this.tlsPort)}`,
      'ssl_options.verify = verify_peer',
      'ssl_options.fail_if_no_peer_cert = true',
    ];
    const files = { 'ca.pem': 'cacertfile', 'cert.pem': 'certfile', 'key.pem': 'keyfile' };
    for (const [file, option] of Object.entries(files)) {
      const to = join(this.folder, file);
      copyFileSync(join(from, file), to);
      chownSync(to, this.ids.uid, this.ids.gid);
      lines.push(`ssl_options.${option} = ${to}`);
    }
    writeFileSync(join(this.folder, 'rabbitmq.conf'), `${lines.join('\n')}\n`);
  }

  private how() {
    return { ...this.ids, cwd: this.folder, env: this.env, stdio: 'ignore' } as const;
  }

  private async answers(): Promise<boolean> {
    if (!(await isOpen(this.port))) return false;
    try {
      const model = await connect(`amqp://guest:guest@127.0.0.1:${String(this.port)}`, { timeout: 2000 });
      await model.close();
      return true;
    } catch {
      return false;
    }
  }

  private tail(): string {
    const file = join(this.folder, 'log', `${this.env['RABBITMQ_NODENAME'] ?? ''}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8').slice(-2000) : 'it wrote no log';
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp(port, '127.0.0.1');
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => {
      end(true);
    });
    socket.once('error', () => {
      end(false);
    });
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

function idOf(flag: string): number {
  return Number(spawnSync('id', [flag, 'rabbitmq'], { encoding: 'utf8' }).stdout || 65_534);
}
