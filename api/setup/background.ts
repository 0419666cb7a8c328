/** Starting and finding the two long-running programs that set-up looks after: our daemon and lxcfs. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonConfig } from '../../config/load.ts';
import { programEnvironment } from '../../config/environment.ts';
import { DEFAULT_STATE } from '../../config/options/daemon.ts';
import { findProgram } from '../../config/packages.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { Fault } from '../../process/fault.ts';
import { clearDeadLxcfs, LXCFS_FOLDER, lxcfsState, mountedDevice } from '../lxcfs.ts';
import { runTool } from '../tools.ts';
import { RestClient } from './rest-client.ts';

const ASK_EVERY_MS = 50;
const START_MS = 60_000;
const UNIT_FOLDERS = ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'];

/** Asks again and again until the answer is not null. Fault timeout with `what` after `ms`. */
export async function until<T>(
  what: string,
  ms: number,
  ask: () => Promise<T | null> | T | null,
  signal?: AbortSignal,
): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    signal?.throwIfAborted();
    const answer = await ask();
    if (answer !== null) return answer;
    if (performance.now() > end) throw new Fault('timeout', `${what}: not within ${String(ms / 1000)} s`);
    await sleep(ASK_EVERY_MS);
  }
}

export function clientOf(config: DaemonConfig): RestClient {
  return new RestClient(join(config.paths.state, 'unix.socket'));
}

/** Process id of the daemon that answers at the socket; null when nobody does. */
export async function daemonPid(client: RestClient, signal?: AbortSignal): Promise<number | null> {
  try {
    const server = await client.get('/1.0', signal);
    return pidOf(server);
  } catch (err) {
    signal?.throwIfAborted();
    if (err instanceof Fault && err.code === 'unavailable' && isNobodyThere(err.cause)) return null;
    throw err;
  }
}

function isNobodyThere(cause: unknown): boolean {
  return (
    cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED')
  );
}

function pidOf(server: unknown): number {
  // The shape is this program's own answer to GET /1.0.
  const { environment } = server as { environment?: { server_pid?: number } };
  if (environment?.server_pid === undefined) {
    throw new Fault(
      'unavailable',
      'the service at the socket does not tell its process id: it is not this program',
    );
  }
  return environment.server_pid;
}

export function isSystemd(): boolean {
  return existsSync('/run/systemd/system');
}

/** The unit file is used only for the state folder it was written for. */
export function hasUnit(config: DaemonConfig): boolean {
  return (
    isSystemd() &&
    config.paths.state === DEFAULT_STATE &&
    UNIT_FOLDERS.some((folder) => existsSync(join(folder, 'slipway.service')))
  );
}

/** The daemon's process as systemd knows it; null when it does not run. */
export async function unitPid(): Promise<number | null> {
  const { stdout } = await runTool('systemctl', ['show', '--value', '--property=MainPID', 'slipway.service']);
  const pid = Number(stdout.trim());
  return pid > 0 ? pid : null;
}

/**
 * Starts a program in a session of its own, its output appended to `logFile`;
 * it outlives this one. Returns its process id.
 */
export async function startBackground(argv: readonly string[], logFile: string, cwd = '/'): Promise<number> {
  await mkdir(dirname(logFile), { recursive: true });
  const { stdout } = await runTool(
    'sh',
    ['-c', 'setsid "$@" </dev/null >>"$0" 2>&1 & echo $!', logFile, ...argv],
    {
      env: programEnvironment(),
      cwd,
    },
  );
  return Number(stdout.trim());
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${String(pid)}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** How this very program was started, without its arguments. */
function ownProgram(): string[] {
  const script = process.argv[1];
  if (script === undefined) throw new Error('this program does not know its own path');
  return [process.execPath, ...process.execArgv, script];
}

/**
 * Starts `slipway serve` and waits for its first answer. Returns its process
 * id. `program` is the command line in front of `serve`.
 */
export async function startDaemon(
  config: DaemonConfig,
  signal?: AbortSignal,
  program: readonly string[] = ownProgram(),
): Promise<number> {
  const client = clientOf(config);
  if (hasUnit(config)) {
    await runTool('systemctl', ['start', 'slipway.socket', 'slipway.service'], { timeoutMs: 600_000 });
    return until('slipway.service answers', START_MS, () => daemonPid(client, signal), signal);
  }
  const log = daemonLog(config);
  const configFile = config.configFile === null ? [] : ['--config-file', config.configFile];
  const argv = [
    ...program,
    'serve',
    '--state-dir',
    config.paths.state,
    '--group',
    config.api.socketGroup,
    ...configFile,
  ];
  // Run from its sources, the program finds its loader from its own folder.
  const pid = await startBackground(argv, log, process.execArgv.length > 0 ? PROGRAM_ROOT : '/');
  await mkdir(config.paths.run, { recursive: true });
  await writeFile(pidFile(config), `${String(pid)}\n`);
  return until(
    `the daemon answers at ${join(config.paths.state, 'unix.socket')} (its log is ${log})`,
    START_MS,
    async () => {
      const answer = await daemonPid(client, signal);
      if (answer === null && !isAlive(pid)) throw await diedAtOnce(log);
      return answer;
    },
    signal,
  );
}

export function daemonLog(config: DaemonConfig): string {
  return join(config.paths.log, 'slipway.log');
}

export function pidFile(config: DaemonConfig): string {
  return join(config.paths.run, 'slipway.pid');
}

async function diedAtOnce(log: string): Promise<Fault> {
  const lines = (await readFile(log, 'utf8')).trim().split('\n').slice(-5);
  return new Fault(
    'unavailable',
    `start the daemon: it ended at once; ${log} ends with:\n${lines.join('\n')}`,
  );
}

export type LxcfsResult = 'absent' | 'running' | 'started' | 'replaced' | 'ended';

const LXCFS_MS = 10_000;

/** Makes sure that lxcfs runs, where it is installed; the mount of one that was killed is replaced. */
export async function ensureLxcfs(
  config: DaemonConfig,
  signal?: AbortSignal,
  folder = LXCFS_FOLDER,
): Promise<LxcfsResult> {
  if ((await lxcfsState(folder)) === 'running') return 'running';
  const wasDead = await clearDeadLxcfs(folder);
  if (findProgram('lxcfs') === null || !existsSync('/dev/fuse')) return 'absent';
  const lives = isSystemd() ? await startLxcfsUnit(wasDead) : await startOwnLxcfs(config, folder);
  const serves = async (): Promise<boolean | null> => {
    if ((await lxcfsState(folder)) === 'running') return true;
    return (await lives()) ? null : false;
  };
  if (!(await until('lxcfs is mounted', LXCFS_MS, serves, signal))) return 'ended';
  return wasDead ? 'replaced' : 'started';
}

/** Where lxcfs tells why it ended. */
export function lxcfsLog(config: DaemonConfig): string {
  return isSystemd() ? 'journalctl -u lxcfs' : join(config.paths.log, 'lxcfs.log');
}

type Lives = () => Promise<boolean>;

/** The unit has conditions, and systemd calls one that they keep from starting a success. */
async function startLxcfsUnit(wasDead: boolean): Promise<Lives> {
  const unit = 'lxcfs.service';
  await runTool('systemctl', [wasDead ? 'restart' : 'start', unit], { okCodes: [0, 1] });
  return async () => {
    const { stdout } = await runTool('systemctl', ['is-active', unit], { okCodes: [0, 3] });
    return ['active', 'activating', 'reloading'].includes(stdout.trim());
  };
}

async function startOwnLxcfs(config: DaemonConfig, folder: string): Promise<Lives> {
  await mkdir(folder, { recursive: true });
  await mkdir(config.paths.run, { recursive: true });
  // Its own file is /run/lxcfs.pid, and a second lxcfs on the machine that finds it ends.
  const own = join(config.paths.run, 'lxcfs.lock');
  const argv = ['lxcfs', `--pidfile=${own}`, folder];
  const pid = await startBackground(argv, lxcfsLog(config));
  await writeFile(join(config.paths.run, 'lxcfs.pid'), `${String(pid)}\n`);
  return () => Promise.resolve(isAlive(pid));
}

/**
 * Ends the lxcfs that ensureLxcfs() started, unless something still looks at
 * it: the containers of another daemon may. Returns what became of it.
 */
export async function stopLxcfs(
  config: DaemonConfig,
  folder = LXCFS_FOLDER,
): Promise<'not ours' | 'in use' | 'stopped'> {
  const file = join(config.paths.run, 'lxcfs.pid');
  const pid = Number((await readFile(file, 'utf8').catch(() => '')).trim());
  if (!(pid > 0) || !isAlive(pid) || commandOf(pid) !== 'lxcfs') {
    await rm(file, { force: true });
    return 'not ours';
  }
  const device = await mountedDevice(folder);
  if (device !== null && isMountedElsewhere(device, pid)) return 'in use';
  process.kill(pid, 'SIGTERM');
  await until('lxcfs ends', 10_000, () => (isAlive(pid) ? null : true));
  await rm(file, { force: true });
  return 'stopped';
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** True when a process in another mount namespace has a file of this lxcfs mounted, as containers do. */
function isMountedElsewhere(device: string, lxcfs: number): boolean {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === lxcfs) continue;
    try {
      const mounts = readFileSync(`/proc/${name}/mountinfo`, 'utf8').split('\n');
      if (mounts.some((line) => isViewOf(line.split(' '), device))) return true;
    } catch {
      continue; // the process has ended meanwhile
    }
  }
  return false;
}

function isViewOf(mount: readonly string[], device: string): boolean {
  return mount[2] === device && mount[4]?.startsWith('/proc/') === true;
}
