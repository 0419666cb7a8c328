/** Command line and nova.conf files -> one frozen, typed object for `slipway compute`. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Fault } from '../process/fault.ts';
import { readEnvironment, type Environment } from './environment.ts';
import { parseFlags } from './load.ts';
import { readIni, type IniGroups } from './oslo-ini.ts';
import { COMPUTE_OPTIONS, type ComputeOptions } from './options/compute.ts';
import { readOptions, readTexts } from './read-options.ts';

export const DEFAULT_NOVA_CONF = '/etc/nova/nova.conf';

/** Sections that are handed on as they are written: keystoneauth has more options than are listed here. */
const RAW_SECTIONS = ['placement', 'neutron', 'glance', 'cinder', 'service_user'] as const;

export interface ComputeConfig {
  readonly files: readonly string[];
  readonly options: ComputeOptions;
  /** Options of a section as texts; what is not set is absent. They hold passwords: not for logs. */
  readonly sections: Readonly<Record<(typeof RAW_SECTIONS)[number], Readonly<Record<string, string>>>>;
  readonly log: {
    readonly level: 'info' | 'debug';
    /** null writes to standard error. */
    readonly file: string | null;
    readonly journal: boolean;
  };
  /** Folders that may hold a copy of the node's identity: that of the state first. */
  readonly identityFolders: readonly string[];
  readonly environment: Environment;
  /** One line for each option that is not known; a nova.conf of nova-compute has many. */
  readonly warnings: readonly string[];
}

const COMPUTE_FLAGS = {
  'config-file': { type: 'string', multiple: true },
  'config-dir': { type: 'string', multiple: true },
  'log-file': { type: 'string' },
  debug: { type: 'boolean', short: 'd' },
} as const;

export const COMPUTE_HELP = `Usage: slipway compute [options]

Runs the Nova compute service of this host until SIGTERM. Servers go on without it.
The REST daemon (slipway serve) must run, and this user must be in the group of its socket.

  --config-file FILE  read FILE, in the syntax of nova.conf (default ${DEFAULT_NOVA_CONF}); may be
                      repeated: later files go before earlier ones
  --config-dir DIR    read the *.conf files of DIR too, in the order of their names; may be repeated
  --log-file FILE     append the log to FILE
  -d, --debug         log at level debug
`;

/** Configuration of `slipway compute`. Fault bad_request, its text names the option, for anything wrong. */
export function loadComputeConfig(argv: readonly string[], env = readEnvironment()): ComputeConfig {
  const flags = parseFlags(() => parseArgs({ args: [...argv], options: COMPUTE_FLAGS }).values);
  const files = chooseFiles(flags['config-file'] ?? [], flags['config-dir'] ?? []);
  const groups: IniGroups = new Map();
  for (const file of files) readIni(readText(file), file, groups);
  const { values, warnings } = readOptions(COMPUTE_OPTIONS, groups);
  const { state_path: statePath, debug } = values.DEFAULT;
  const file = logFile(values, flags['log-file']);
  return Object.freeze<ComputeConfig>({
    files,
    options: values,
    sections: {
      placement: readTexts(COMPUTE_OPTIONS, groups, 'placement'),
      neutron: readTexts(COMPUTE_OPTIONS, groups, 'neutron'),
      glance: readTexts(COMPUTE_OPTIONS, groups, 'glance'),
      cinder: readTexts(COMPUTE_OPTIONS, groups, 'cinder'),
      service_user: readTexts(COMPUTE_OPTIONS, groups, 'service_user'),
    },
    log: {
      level: flags.debug === true || debug ? 'debug' : 'info',
      file,
      journal: env.journal && file === null,
    },
    // As nova-compute: beside a configuration file the identity may be rolled out with it.
    identityFolders: [...new Set([statePath, ...files.map((one) => dirname(one))])],
    environment: env,
    warnings,
  });
}

function chooseFiles(given: readonly string[], folders: readonly string[]): string[] {
  const own = given.map((file) => resolve(file));
  const files = own.length > 0 ? own : existsSync(DEFAULT_NOVA_CONF) ? [DEFAULT_NOVA_CONF] : [];
  if (files.length === 0 && folders.length === 0) {
    throw new Fault(
      'bad_request',
      `read the configuration: there is no ${DEFAULT_NOVA_CONF}; name a file with --config-file`,
    );
  }
  return [...files, ...folders.flatMap((folder) => confFiles(resolve(folder)))];
}

function confFiles(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.conf') && !name.startsWith('.'))
      .sort()
      .map((name) => join(folder, name))
      .filter((file) => statSync(file).isFile());
  } catch (cause) {
    throw new Fault('bad_request', `read the configuration folder ${folder} (--config-dir)`, { cause });
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Fault('bad_request', `read the configuration file ${file} (--config-file)`, { cause });
  }
}

/** As oslo.log: log_file in log_dir, or a file of the program's name there. */
function logFile(values: ComputeOptions, flag: string | undefined): string | null {
  if (flag !== undefined) return resolve(flag);
  const { log_dir: folder, log_file: name } = values.DEFAULT;
  if (name === '') return folder === '' ? null : join(folder, 'slipway-compute.log');
  return folder === '' ? resolve(name) : resolve(folder, name);
}
