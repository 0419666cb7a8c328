/**
 * `slipway up`: from a built program to a running container, doing only what
 * is missing. Everything but starting the daemon goes through the REST API.
 */
import { parseArgs } from 'node:util';
import { findProgram } from '../../config/packages.ts';
import { loadDaemonConfig, parseFlags, type DaemonConfig } from '../../config/load.ts';
import { DEFAULT_STATE } from '../../config/options/daemon.ts';
import { Fault } from '../../process/fault.ts';
import * as background from './background.ts';
import { checkPackages } from './check.ts';
import { DAEMON_FLAGS, interruptible, needRoot } from './command.ts';
import { ensureNetwork, ensurePool, ensureProfile } from './defaults.ts';
import * as first from './first-instance.ts';
import { Progress, seconds } from './progress.ts';
import type { RestClient } from './rest-client.ts';

export const UP_HELP = `Usage: slipway up [options]

Starts the daemon with embedded defaults (SQLite, a pool "default", a bridge
"slipbr0" with DHCP, DNS and NAT), makes an image, launches a first container
and waits for its address. Does only what is missing. Must be run as root.

  --tiny              a busybox image of 2 MB instead of this machine's distribution
  --image WHAT        a file (unified image, or a root file system as tar or
                      squashfs), a folder (a root file system, an unpacked image,
                      or the two parts of a split image) or a URL of such a file
  --suite NAME        another release of this machine's distribution, such as trixie
  --name NAME         name of the container (default "first")
  --state-dir DIR     of the daemon (default $SLIPWAY_DIR or ${DEFAULT_STATE})
  --config-file FILE  of the daemon
`;

const INTERRUPTED = 130;

interface Wish {
  readonly name: string;
  readonly image: first.ImageWish;
  readonly config: DaemonConfig;
}

export async function runUp(argv: readonly string[]): Promise<number> {
  const wish = parseWish(argv);
  needRoot('up');
  const progress = new Progress(process.stdout);
  return interruptible(new Error('interrupted'), async (signal) => {
    try {
      await setUp(wish, progress, signal);
      return 0;
    } catch (err) {
      if (!signal.aborted) throw err;
      progress.line();
      progress.line(
        'interrupted; what is done stays, run the same command again to go on, or `slipway down`',
      );
      return INTERRUPTED;
    }
  });
}

function parseWish(argv: readonly string[]): Wish {
  const flags = parseFlags(
    () =>
      parseArgs({
        args: [...argv],
        options: {
          tiny: { type: 'boolean' },
          image: { type: 'string' },
          suite: { type: 'string' },
          name: { type: 'string', default: 'first' },
          ...DAEMON_FLAGS,
        },
      }).values,
  );
  const choices = [flags.tiny, flags.image, flags.suite].filter((flag) => flag !== undefined);
  if (choices.length > 1)
    throw new Fault('bad_request', 'only one of --tiny, --image and --suite can be given');
  let image: first.ImageWish = { kind: 'distribution', suite: flags.suite ?? null };
  if (flags.tiny === true) image = { kind: 'tiny' };
  else if (flags.image !== undefined) image = { kind: 'given', what: flags.image };
  return {
    name: flags.name,
    image,
    config: loadDaemonConfig({ configFile: flags['config-file'], stateDir: flags['state-dir'] }),
  };
}

async function setUp(wish: Wish, progress: Progress, signal: AbortSignal): Promise<void> {
  const started = performance.now();
  for (const text of wish.config.warnings) progress.line(`warning: ${text}`);
  for (const finding of checkPackages(['run'])) {
    if (finding.verdict !== 'ok')
      progress.line(`warning: ${finding.name} is ${finding.found}; ${finding.advice}`);
  }
  const client = background.clientOf(wish.config);
  await startServices(wish.config, client, progress, signal);
  await makeDefaults(client, progress, signal);
  const state = await launch(wish, client, progress, signal);
  await tell(wish, client, state, progress, signal);
  progress.line();
  progress.line(`everything took ${seconds(performance.now() - started)}`);
}

async function startServices(
  config: DaemonConfig,
  client: RestClient,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await progress.step('lxcfs', async (report) => {
    const texts = {
      absent: 'not here: containers will see the host in /proc',
      running: 'running already',
      started: 'started; it was not running',
      replaced: 'started anew; it had been killed, and its mount stayed',
      ended: `ended at once (${background.lxcfsLog(config)}): containers will see the host in /proc`,
    };
    report.result(texts[await background.ensureLxcfs(config, signal)]);
  });
  await progress.step('daemon', async (report) => {
    const running = await background.daemonPid(client, signal);
    const pid = running ?? (await background.startDaemon(config, signal));
    report.result(`${running === null ? 'started' : 'running already'}, process ${String(pid)}`);
  });
}

async function makeDefaults(client: RestClient, progress: Progress, signal: AbortSignal): Promise<void> {
  const defaults = [
    ['storage', ensurePool],
    ['network', ensureNetwork],
    ['profile', ensureProfile],
  ] as const;
  for (const [what, ensure] of defaults) {
    await progress.step(what, async (report) => {
      report.result((await ensure(client, signal)) ?? 'there already');
    });
  }
}

/** Makes what is missing of image and container, and returns its state once it has an address. */
async function launch(
  wish: Wish,
  client: RestClient,
  progress: Progress,
  signal: AbortSignal,
): Promise<first.InstanceState> {
  const { name } = wish;
  const before = await first.instanceState(client, name, signal);
  if (before === null || wish.image.kind === 'given') {
    const aliases = await first.aliasesFor(wish.image);
    await progress.step('image', (report) =>
      first.ensureImage(wish.image, aliases, { client, signal, report }),
    );
  }
  if (before === null) {
    const [alias = ''] = await first.aliasesFor(wish.image);
    await progress.step(`create ${name}`, (report) =>
      first.createInstance(name, alias, { client, signal, report }),
    );
  }
  if (before?.status !== 'Running') {
    await progress.step(`start ${name}`, (report) => first.startInstance(name, { client, signal, report }));
  }
  return progress.step(`address of ${name}`, async (report) => {
    const state = await first.waitForAddress(name, { client, signal, report });
    report.result(first.addressesOf(state).join(', '));
    return state;
  });
}

async function tell(
  wish: Wish,
  client: RestClient,
  state: first.InstanceState,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { name, config } = wish;
  // The shape is this program's own answer.
  const instance = (await client.get(`/1.0/instances/${name}`, signal)) as { config: Record<string, string> };
  const lxc =
    config.paths.state === DEFAULT_STATE
      ? `LXD_DIR=${DEFAULT_STATE} lxc`
      : `LXD_DIR=${config.paths.state} lxc`;
  const shell = instance.config['image.os'] === 'BusyBox' ? 'sh' : 'bash';
  const missing = findProgram('lxc') === null ? '   (apt-get install lxd-client)' : '';
  const lines = [
    '',
    `${name} is ${state.status}`,
    `  image      ${instance.config['image.description'] ?? 'unknown'}`,
    `  addresses  ${first.addressesOf(state).join(', ')}`,
    '',
    'What to try next:',
    `  ${lxc} list${missing}`,
    `  ${lxc} exec ${name} -- ${shell}`,
    `  curl --unix-socket ${config.paths.state}/unix.socket http://slipway/1.0/instances/${name}`,
    '  npm run down              stops it all; npm run up brings it back',
    '  npm run down -- --purge   removes the data too',
  ];
  for (const line of lines) progress.line(line);
}
