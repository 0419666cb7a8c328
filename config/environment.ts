/** Everything the processes take from their environment. Nothing else reads it (rule P002). */

export interface Environment {
  /** State folder, or null: `SLIPWAY_DIR`. */
  readonly stateDir: string | null;
  /** True when standard error is connected to the journal, which understands `<N>` prefixes. */
  readonly journal: boolean;
  /** True when systemd waits for READY=1. */
  readonly notify: boolean;
  /** Half of systemd's watchdog time in milliseconds, or null without a watchdog. */
  readonly watchdogMs: number | null;
  /** Descriptors handed over by socket activation, by the name their unit gives them. */
  readonly listenFds: Readonly<Record<string, number>>;
  /** PATH for programs; never empty. */
  readonly path: string;
}

/** sbin folders are needed by the daemon (nft, dnsmasq) and missing in some shells. */
const PROGRAM_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const FIRST_LISTEN_FD = 3;

/** Reads the environment of this process, or the one given. */
export function readEnvironment(env: NodeJS.ProcessEnv = process.env, pid = process.pid): Environment {
  const given = (env['PATH'] ?? '').split(':').filter((folder) => folder !== '');
  const path = [...given, ...PROGRAM_FOLDERS.filter((folder) => !given.includes(folder))].join(':');
  const stateDir = env['SLIPWAY_DIR'] ?? '';
  return Object.freeze({
    stateDir: stateDir === '' ? null : stateDir,
    journal: (env['JOURNAL_STREAM'] ?? '') !== '',
    notify: (env['NOTIFY_SOCKET'] ?? '') !== '',
    watchdogMs: watchdogOf(env, pid),
    listenFds: listenFdsOf(env, pid),
    path,
  });
}

function watchdogOf(env: NodeJS.ProcessEnv, pid: number): number | null {
  const forPid = env['WATCHDOG_PID'];
  if (forPid !== undefined && forPid !== String(pid)) return null;
  const us = Number(env['WATCHDOG_USEC'] ?? '');
  return Number.isFinite(us) && us > 0 ? us / 2000 : null;
}

/** sd_listen_fds(3): the descriptors are ours only when LISTEN_PID says so. */
function listenFdsOf(env: NodeJS.ProcessEnv, pid: number): Readonly<Record<string, number>> {
  const count = Number(env['LISTEN_FDS'] ?? '0');
  if (env['LISTEN_PID'] !== String(pid) || !Number.isInteger(count)) return {};
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const fds: Record<string, number> = {};
  for (let i = 0; i < count; i++) fds[names[i] || `fd${String(i)}`] = FIRST_LISTEN_FD + i;
  return fds;
}

/**
 * The environment programs are started with: ours, with a complete PATH,
 * untranslated texts and without what systemd meant for this process alone.
 */
export function programEnvironment(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const mine: Record<string, string> = {};
  for (const [key, value] of Object.entries(env)) {
    if (value === undefined || /^(LISTEN_|NOTIFY_SOCKET|WATCHDOG_|LC_|LANG)/.test(key)) continue;
    mine[key] = value;
  }
  return { ...mine, PATH: readEnvironment(env).path, LC_ALL: 'C.UTF-8' };
}
