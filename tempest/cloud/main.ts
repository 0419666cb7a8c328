/** `npm run cloud`: a whole OpenStack on this machine, its servers run by Slipway. */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Progress } from '../../api/setup/progress.ts';
import { DAEMON_FLAGS, interruptible, needRoot } from '../../api/setup/command.ts';
import { loadDaemonConfig, parseFlags } from '../../config/load.ts';
import { PROGRAM_ROOT } from '../../config/root.ts';
import { describeChain, isFault } from '../../process/fault.ts';
import { bringUp } from './bring-up.ts';
import { showStatus } from './status.ts';
import type { CloudPlaces } from './setting.ts';
import { takeDown } from './take-down.ts';

const DEFAULT_HOME = '/var/lib/slipway-cloud';

const HELP = `Usage: npm run cloud -- [COMMAND] [options]

Makes a one-machine OpenStack: the control plane of Debian 13 in a system
container, the host's side of OVN, \`slipway compute\`, and a first server.
Does only what is missing. Must be run as root.

  up        (default) bring it up
  down      stop everything; the next "up" goes on from there
  status    say what runs
  fresh     throw the servers and the state of the control plane away, then up

  --purge           with down: remove the cloud's containers and state too
  --purge-cache     with down --purge: and the built image of the control plane
  --home DIR        keep the cloud's state in DIR (default ${DEFAULT_HOME})
  --cache DIR       keep built images in DIR (default .cache/cloud of the project)
  --state-dir DIR   of the daemon (default $SLIPWAY_DIR or /var/lib/slipway)
  --config-file F   of the daemon
`;

const OPTIONS = {
  purge: { type: 'boolean', default: false },
  'purge-cache': { type: 'boolean', default: false },
  home: { type: 'string', default: DEFAULT_HOME },
  cache: { type: 'string', default: join(PROGRAM_ROOT, '.cache', 'cloud') },
  ...DAEMON_FLAGS,
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const INTERRUPTED = 130;

async function run(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const { values, positionals } = parseFlags(() =>
    parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true }),
  );
  const [command = 'up', ...more] = positionals;
  if (values.help || more.length > 0 || !['up', 'down', 'status', 'fresh'].includes(command)) {
    process.stdout.write(HELP);
    return values.help ? 0 : 2;
  }
  needRoot(`cloud ${command}`);
  const places: CloudPlaces = {
    cache: resolve(values.cache),
    home: resolve(values.home),
    daemon: loadDaemonConfig({ configFile: values['config-file'], stateDir: values['state-dir'] }),
  };
  const progress = new Progress(process.stdout);
  if (command === 'status') return showStatus(places, progress, signal);
  if (command === 'down') {
    await takeDown(places, { purge: values.purge, cache: values['purge-cache'] }, progress, signal);
    return 0;
  }
  await bringUp(places, progress, signal, command === 'fresh');
  return 0;
}

async function main(): Promise<number> {
  return interruptible(new Error('interrupted'), async (signal) => {
    try {
      return await run(process.argv.slice(2), signal);
    } catch (err) {
      if (signal.aborted) {
        process.stderr.write('\ninterrupted; what is done stays: run the same command again to go on\n');
        return INTERRUPTED;
      }
      const told = isFault(err) || !(err instanceof Error) ? describeChain(err) : (err.stack ?? err.message);
      process.stderr.write(`cloud: ${told}\n`);
      return 1;
    }
  });
}

process.exit(await main());
