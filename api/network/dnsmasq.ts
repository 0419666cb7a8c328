/**
 * The dnsmasq process of one bridge.
 *
 * It daemonizes itself, so that its exit code tells whether it could bind, and
 * it lives on when this daemon ends or is killed. It is known again by its pid
 * file and its command line, which names that file: a living one whose command
 * line is unchanged is kept, with its leases in memory.
 */
import { chmod, mkdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import type { StringMap } from '../db/rows.ts';
import type { DnsmasqFiles } from './dnsmasq-args.ts';
import { dnsmasqArgs } from './dnsmasq-args.ts';
import type { NetworkParts } from './parts.ts';

const STOP_MS = 3000;
/** Requests to read the host files again are gathered for this long. */
const RELOAD_MS = 5;

export type DnsmasqParts = Pick<NetworkParts, 'native' | 'runTool'> & { readonly log: Log };

export class Dnsmasq {
  readonly files: DnsmasqFiles;
  private readonly parts: DnsmasqParts;
  private readonly bridge: string;
  private readonly folder: string;
  private pid = 0;
  private reloadTimer: NodeJS.Timeout | null = null;

  constructor(parts: DnsmasqParts, bridge: string, folder: string) {
    this.parts = parts;
    this.bridge = bridge;
    this.folder = folder;
    this.files = {
      pid: join(folder, 'dnsmasq.pid'),
      leases: join(folder, 'dnsmasq.leases'),
      hosts: join(folder, 'dnsmasq.hosts'),
      raw: join(folder, 'dnsmasq.raw'),
      log: join(folder, 'dnsmasq.log'),
    };
  }

  /** Makes the running process fit the configuration. Fault when it cannot bind or a setting is refused. */
  async start(config: StringMap): Promise<void> {
    await mkdir(this.files.hosts, { recursive: true });
    // Read again, on SIGHUP, by a user that is not root.
    await chmod(this.folder, 0o711);
    await chmod(this.files.hosts, 0o755);
    const args = dnsmasqArgs(this.bridge, config, this.files, await this.user());
    const running = await this.find();
    const raw = config['raw.dnsmasq'] ?? '';
    const isKept =
      args !== null &&
      running?.args.join('\0') === args.join('\0') &&
      (await readOrEmpty(this.files.raw)) === raw;
    if (isKept) {
      this.pid = running.pid;
      this.reload();
      return;
    }
    await this.stop();
    if (args === null) return;
    await writeFile(this.files.raw, raw, { mode: 0o644 });
    await this.launch(args);
  }

  private async launch(args: readonly string[]): Promise<void> {
    try {
      await this.parts.runTool('dnsmasq', args, { timeoutMs: 20_000 });
    } catch (err) {
      throw new Fault('tool_failed', `start DHCP and DNS of network "${this.bridge}"`, { cause: err });
    }
    this.pid = (await this.find())?.pid ?? 0;
    if (this.pid === 0) {
      throw new Fault(
        'tool_failed',
        `start DHCP and DNS of network "${this.bridge}": it ended at once; see ${this.files.log}`,
      );
    }
  }

  /** True while the process that was started or adopted is there. */
  async isRunning(): Promise<boolean> {
    return (await this.find()) !== null;
  }

  /** Ends the process, whoever started it. Harmless when there is none. */
  async stop(): Promise<void> {
    if (this.reloadTimer !== null) clearTimeout(this.reloadTimer);
    this.reloadTimer = null;
    const running = await this.find();
    this.pid = 0;
    if (running === null) return;
    signal(running.pid, 'SIGTERM');
    if (await this.parts.native.waitGone(running.pid, STOP_MS)) return;
    signal(running.pid, 'SIGKILL');
    await this.parts.native.waitGone(running.pid, STOP_MS);
  }

  /** Has the host files read again, soon. Cheap: a signal for many calls. */
  reload(): void {
    if (this.pid === 0 || this.reloadTimer !== null) return;
    this.reloadTimer = setTimeout(() => {
      this.reloadTimer = null;
      this.hangUp().catch((err: unknown) => {
        this.parts.log.warn('DHCP and DNS did not read the host files again', {
          network: this.bridge,
          error: err,
        });
      });
    }, RELOAD_MS);
    this.reloadTimer.unref();
  }

  private async hangUp(): Promise<void> {
    const running = await this.find();
    if (running !== null) signal(running.pid, 'SIGHUP');
  }

  /** The living process of this bridge; a pid that has passed to another program is none. */
  private async find(): Promise<{ pid: number; args: string[] } | null> {
    const pid = Number((await readOrEmpty(this.files.pid)).trim());
    if (!Number.isSafeInteger(pid) || pid <= 1) return null;
    const [program, ...args] = (await readOrEmpty(`/proc/${String(pid)}/cmdline`)).split('\0').slice(0, -1);
    const isOurs = program?.endsWith('dnsmasq') === true && args.includes(`--pid-file=${this.files.pid}`);
    return isOurs ? { pid, args } : null;
  }

  /** The user dnsmasq becomes; root only where no other user could reach the host files. */
  private async user(): Promise<string> {
    for (let at = dirname(this.folder); at !== '/'; at = dirname(at)) {
      const { mode } = await stat(at);
      if ((mode & 0o001) === 0) {
        this.parts.log.warn('dnsmasq runs as root: the state folder is closed to other users', {
          folder: at,
        });
        return 'root';
      }
    }
    const users = (await readOrEmpty('/etc/passwd')).split('\n').map((line) => line.split(':')[0]);
    return users.includes('dnsmasq') ? 'dnsmasq' : 'nobody';
  }

  /** Removes what dnsmasq left after its end, leases included. */
  async removeFiles(): Promise<void> {
    for (const path of [this.files.pid, this.files.leases, this.files.raw, this.files.log]) {
      try {
        await unlink(path);
      } catch (err) {
        if (!isMissing(err)) throw err;
      }
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (err) {
    if (!isMissing(err)) throw err;
  }
}

export function isMissing(err: unknown): boolean {
  return err instanceof Error && 'code' in err && (err.code === 'ENOENT' || err.code === 'ESRCH');
}

/** Content of a small file; '' when it is not there. A process that ends while it is read is not there. */
export async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (err) {
    if (isMissing(err)) return '';
    throw err;
  }
}
