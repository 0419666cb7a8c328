/** `slipway down`: the reverse of `slipway up`. Data stay, unless --purge. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadDaemonConfig, parseFlags, type DaemonConfig } from '../../config/load.ts';
import { DEFAULT_STATE } from '../../config/options/daemon.ts';
import { Fault } from '../../process/fault.ts';
import * as background from './background.ts';
import { DAEMON_FLAGS, interruptible, needRoot } from './command.ts';
import { Progress } from './progress.ts';
import type { RestClient } from './rest-client.ts';
import * as takeDown from './take-down.ts';

export const DOWN_HELP = `Usage: slipway down [options]

Stops all containers and the daemon, and removes the bridges with their DHCP
servers and firewall rules. Containers, images and settings stay on disk:
"slipway up" starts the daemon again, and that what ran. Must be run as root.

  --purge             remove all data too: containers, images, pools, logs
  --containers        stop the containers and the daemon, leave the networks; the
                      daemon's next start brings back what ran (for shutdown)
  --state-dir DIR     of the daemon (default $SLIPWAY_DIR or ${DEFAULT_STATE})
  --config-file FILE  of the daemon
`;

interface Wish {
  readonly config: DaemonConfig;
  readonly purge: boolean;
  readonly containersOnly: boolean;
}

export async function runDown(argv: readonly string[]): Promise<number> {
  const wish = parseWish(argv);
  needRoot('down');
  const progress = new Progress(process.stdout);
  const interrupted = new Fault('unavailable', 'interrupted; run the same command again to go on');
  await interruptible(interrupted, (signal) =>
    wish.containersOnly ? endContainers(wish, progress, signal) : undo(wish, progress, signal),
  );
  return 0;
}

function parseWish(argv: readonly string[]): Wish {
  const flags = parseFlags(
    () =>
      parseArgs({
        args: [...argv],
        options: {
          purge: { type: 'boolean', default: false },
          containers: { type: 'boolean', default: false },
          ...DAEMON_FLAGS,
        },
      }).values,
  );
  return {
    config: loadDaemonConfig({ configFile: flags['config-file'], stateDir: flags['state-dir'] }),
    purge: flags.purge,
    containersOnly: flags.containers,
  };
}

/**
 * What the daemon does by itself at SIGPWR. While systemd runs this as part of
 * a shutdown, its other units wait for it: nothing is asked of them, and
 * nothing at the socket, where a question would start the daemon anew.
 */
async function endContainers({ config }: Wish, progress: Progress, signal: AbortSignal): Promise<void> {
  const pid = background.hasUnit(config)
    ? await background.unitPid()
    : await background.daemonPid(background.clientOf(config), signal);
  if (pid === null) {
    progress.line('no daemon runs: nothing to stop');
    return;
  }
  await progress.step('containers and daemon', () => takeDown.endDaemon(config, pid));
}

async function undo(wish: Wish, progress: Progress, signal: AbortSignal): Promise<void> {
  const { config } = wish;
  const client = background.clientOf(config);
  let pid = await background.daemonPid(client, signal);
  if (pid === null && !hasState(config)) {
    progress.line(`nothing to take down: no daemon answers and ${config.paths.state} holds no state`);
    return;
  }
  if (pid === null) {
    // Containers may have outlived their daemon; only a daemon knows which they are.
    pid = await progress.step('daemon, to find what is running', () =>
      background.startDaemon(config, signal),
    );
  }
  const bridges = await takeDown.managedBridges(client, signal);
  if (wish.purge) await deleteData(client, progress, signal);
  const last = pid;
  await progress.step('containers and daemon', async (report) => {
    const count = await takeDown.countRunning(client, signal);
    await takeDown.endDaemon(config, last);
    await takeDown.stopUnits(config);
    report.result(count === 1 ? '1 container stopped' : `${String(count)} containers stopped`);
  });
  await progress.step('networks', async (report) => {
    await takeDown.removeBridges(config, bridges);
    report.result(bridges.length === 0 ? 'none' : `${bridges.join(', ')} removed`);
  });
  await progress.step('lxcfs', async (report) => {
    const texts = { 'not ours': 'left alone', 'in use': 'left running, others use it', stopped: 'stopped' };
    report.result(texts[await background.stopLxcfs(config)]);
  });
  if (wish.purge) {
    await progress.step(`data in ${config.paths.state}`, async (report) => {
      await takeDown.removeFolders(config);
      report.result('removed');
    });
  } else {
    progress.line(
      `data stay in ${config.paths.state}; "slipway up" brings back what ran, --purge removes them`,
    );
  }
}

async function deleteData(client: RestClient, progress: Progress, signal: AbortSignal): Promise<void> {
  await progress.step('containers, images, networks and pools', async (report) => {
    report.detail('containers');
    await takeDown.deleteInstances(client, signal);
    report.detail('images, networks and pools');
    await takeDown.deleteEverything(client, signal);
    report.result('deleted');
  });
}

function hasState(config: DaemonConfig): boolean {
  return existsSync(join(config.paths.state, 'database')) || existsSync(background.pidFile(config));
}
