/**
 * Command line, environment and slipway.conf -> one frozen, typed object.
 *
 * What goes before what: the command line, SLIPWAY_DIR, the file, the default.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Fault } from '../process/fault.ts';
import { readEnvironment, type Environment } from './environment.ts';
import { readIni } from './oslo-ini.ts';
import {
  DAEMON_OPTIONS,
  DEFAULT_CONFIG_FILE,
  DEFAULT_STATE,
  type DaemonOptions,
  type LOG_LEVELS,
} from './options/daemon.ts';
import { readOptions } from './read-options.ts';

export interface DaemonConfig {
  /** The file that was read, or null when there was none. */
  readonly configFile: string | null;
  readonly database: {
    /** `sqlite:///path` or `postgresql://…`; never empty. Holds a password: not for logs. */
    readonly connection: string;
  };
  readonly paths: { readonly state: string; readonly log: string; readonly run: string };
  readonly log: {
    readonly level: (typeof LOG_LEVELS)[number];
    /** null writes to standard error. */
    readonly file: string | null;
    readonly journal: boolean;
  };
  readonly api: { readonly socketGroup: string };
  readonly host: { readonly quickCgroups: boolean };
  readonly environment: Environment;
  /** One line for each option that nobody knows; for the log. */
  readonly warnings: readonly string[];
}

const SERVE_FLAGS = {
  'config-file': { type: 'string' },
  'state-dir': { type: 'string' },
  group: { type: 'string' },
  logfile: { type: 'string' },
  verbose: { type: 'boolean', short: 'v' },
  debug: { type: 'boolean', short: 'd' },
} as const;

export const SERVE_HELP = `Usage: slipway serve [options]

Runs the REST daemon until SIGTERM (containers go on) or SIGPWR (they are stopped too).

  --config-file FILE  read FILE (default ${DEFAULT_CONFIG_FILE}, when it is there)
  --state-dir DIR     keep state in DIR (default $SLIPWAY_DIR or ${DEFAULT_STATE})
  --group NAME        let the members of this group use the unix socket
  --logfile FILE      append the log to FILE instead of standard error
  -v, --verbose       log at level info
  -d, --debug         log at level debug
`;

/** What the commands that speak to the daemon need of its configuration: where it is. */
export interface DaemonFlags {
  readonly configFile?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly group?: string | undefined;
  readonly logfile?: string | undefined;
  readonly level?: 'info' | 'debug' | undefined;
}

/** Configuration of `slipway serve`. Fault bad_request, its text names the option, for anything wrong. */
export function loadServeConfig(argv: readonly string[], env = readEnvironment()): DaemonConfig {
  const flags = parseFlags(() => parseArgs({ args: [...argv], options: SERVE_FLAGS }).values);
  return loadDaemonConfig(
    {
      configFile: flags['config-file'],
      stateDir: flags['state-dir'],
      group: flags.group,
      logfile: flags.logfile,
      level: flags.debug === true ? 'debug' : flags.verbose === true ? 'info' : undefined,
    },
    env,
  );
}

/** Turns node's complaint about a command line into a Fault with the same text. */
export function parseFlags<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new Fault('bad_request', 'read the command line', { cause });
  }
}

export function loadDaemonConfig(flags: DaemonFlags = {}, env = readEnvironment()): DaemonConfig {
  const configFile = chooseFile(flags.configFile);
  const groups = configFile === null ? new Map() : readIni(readText(configFile), configFile);
  const { values, warnings } = readOptions(DAEMON_OPTIONS, groups);
  const paths = choosePaths(values, flags.stateDir ?? env.stateDir);
  const connection = values.database.connection;
  const file = flags.logfile ?? values.log.file;
  return deepFreeze({
    configFile,
    database: {
      connection: connection === '' ? `sqlite:///${join(paths.state, 'database', 'local.db')}` : connection,
    },
    paths,
    log: {
      level: flags.level ?? values.log.level,
      file: file === '' ? null : resolve(file),
      journal: env.journal && file === '',
    },
    api: { socketGroup: flags.group ?? values.api.socket_group },
    host: { quickCgroups: values.host.quick_cgroups },
    environment: env,
    warnings,
  });
}

function chooseFile(given: string | undefined): string | null {
  if (given !== undefined) return resolve(given);
  return existsSync(DEFAULT_CONFIG_FILE) ? DEFAULT_CONFIG_FILE : null;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Fault('bad_request', `read the configuration file ${file} (--config-file)`, { cause });
  }
}

function choosePaths(values: DaemonOptions, given: string | null): DaemonConfig['paths'] {
  const state = given === null ? values.paths.state : resolve(given);
  if (state === '' || state === '/') {
    throw new Fault('bad_request', `option [paths] state: "${state}" cannot be the state folder`);
  }
  const standard = state === DEFAULT_STATE;
  // A folder from the file belongs to the state folder of the file, not to another one.
  const own = state === values.paths.state;
  const log =
    own && values.paths.log !== '' ? values.paths.log : standard ? '/var/log/slipway' : join(state, 'log');
  const run =
    own && values.paths.run !== '' ? values.paths.run : standard ? '/run/slipway' : join(state, 'run');
  return { state, log, run };
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    // Object.values() of a generic object is any; what is an object was just asked.
    if (typeof part === 'object' && part !== null && !Object.isFrozen(part)) deepFreeze(part as object);
  }
  return Object.freeze(value);
}
