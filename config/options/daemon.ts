/**
 * What `slipway serve` must know before its database is open. Everything else
 * is configured through the API and kept in the database, as in LXD.
 */
import { booleanOption, choiceOption, pathOption, textOption, type ValuesOf } from './option.ts';

/** Where state is kept when neither the file, the environment nor the command line says otherwise. */
export const DEFAULT_STATE = '/var/lib/slipway';
export const DEFAULT_CONFIG_FILE = '/etc/slipway/slipway.conf';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;

export const DAEMON_OPTIONS = {
  database: {
    connection: textOption({
      fallback: '',
      shown: 'sqlite:///<state>/database/local.db',
      secret: true,
      help:
        'The database: sqlite:/// and a path, or postgresql://user:password@host/name. ' +
        'A PostgreSQL database must exist; its tables are made at the first start.',
    }),
  },
  paths: {
    state: pathOption({
      fallback: DEFAULT_STATE,
      help:
        'Folder of everything that outlives a restart: database, images, storage pools, and the socket ' +
        'unix.socket. The environment variable SLIPWAY_DIR and --state-dir go before it.',
    }),
    log: pathOption({
      fallback: '',
      shown: '/var/log/slipway, or <state>/log when the state folder is another one',
      help: 'Folder of the logs of the daemon and of each instance.',
    }),
    run: pathOption({
      fallback: '',
      shown: '/run/slipway, or <state>/run when the state folder is another one',
      help: 'Folder of what need not outlive a reboot: the process id of the daemon.',
    }),
  },
  log: {
    level: choiceOption(LOG_LEVELS, {
      fallback: 'info',
      help: 'Lowest level that is written. --verbose means info, --debug means debug.',
    }),
    file: pathOption({
      fallback: '',
      shown: 'standard error',
      help: 'File the daemon appends its log to, one JSON object a line. --logfile goes before it.',
    }),
  },
  api: {
    socket_group: textOption({
      fallback: 'slipway',
      help:
        'Group whose members may use the unix socket, and so are root on this host. ' +
        'Only root may when there is no such group. --group goes before it.',
    }),
  },
  host: {
    quick_cgroups: booleanOption({
      fallback: true,
      help:
        'Mounts the cgroup v2 tree anew with favordynmods, until the next boot: starts and stops of containers ' +
        'are 20 to 40 ms faster, each fork on the host is a little slower.',
    }),
  },
} as const;

export type DaemonOptions = ValuesOf<typeof DAEMON_OPTIONS>;
