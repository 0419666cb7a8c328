/** `slipway serve`: command line -> configuration -> daemon -> signals; nothing else. */
import { setFlagsFromString } from 'node:v8';
import { loadServeConfig } from '../config/load.ts';
import { openNative } from '../native/index.ts';
import { describeChain } from '../process/fault.ts';
import { openLog } from '../process/log.ts';
import type { Log } from '../process/log.ts';
import { Events } from './events/events.ts';
import type { Daemon } from './daemon.ts';
import { startDaemon } from './daemon.ts';

/** Runs until a signal ends it. Resolves to the exit code: 0 when asked to stop, 1 on an error. */
export async function runServe(argv: readonly string[]): Promise<number> {
  // Roots of containers are other users of the host, and walk to their files through our folders:
  // what is secret says so by its own mode, whatever started us.
  process.umask(0o022);
  const config = loadServeConfig(argv);
  const events = new Events();
  const log = openLog({
    ...config.log,
    onLine: (level, msg, facts) => {
      events.logging(level, msg, textOf(facts));
    },
  });
  for (const warning of config.warnings) log.warn('configuration', { warning });
  const daemon = await startDaemon(config, log, events);
  // The heap otherwise grows to twice what is needed before it is swept: 75 MB against 180 under load.
  // Not before: sweeping while the modules are loaded costs a fifth of the start.
  setFlagsFromString('--optimize-for-size');
  log.info('ready', { state: config.paths.state, pid: process.pid });
  if (config.environment.notify) openNative().notifySystemd('READY=1');
  return await untilSignal(daemon, log);
}

function textOf(facts: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(facts).map(([key, value]) => [
      key,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  );
}

/** TERM and INT end the daemon and leave the containers running; PWR shuts them down first, as in LXD. */
function untilSignal(daemon: Daemon, log: Log): Promise<number> {
  return new Promise((resolve) => {
    let isEnding = false;
    const end = (signal: NodeJS.Signals): void => {
      if (isEnding) return;
      isEnding = true;
      log.info('stopping', { signal });
      daemon.stop(signal === 'SIGPWR').then(
        () => {
          resolve(0);
        },
        (err: unknown) => {
          log.error('the daemon did not stop cleanly', { error: describeChain(err) });
          resolve(1);
        },
      );
    };
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGPWR'] as const) process.on(signal, end);
  });
}
