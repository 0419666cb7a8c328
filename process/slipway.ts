#!/usr/bin/env node
/**
 * The `slipway` command: finds the subcommand and runs it.
 *
 * Each subcommand is loaded when it is asked for, so that the daemon does not
 * carry the code of the compute service and the other way round. This is the
 * only file of process/ that imports from api/ and driver/.
 */
import { parseArgs } from 'node:util';
import { programVersion } from '../config/root.ts';
import { describeChain, isFault } from './fault.ts';

interface Command {
  readonly summary: string;
  readonly help: () => Promise<string>;
  /** Resolves to the exit code. */
  readonly run: (argv: readonly string[]) => Promise<number>;
}

const VERSION_HELP = `Usage: slipway version

Prints the version of this program.
`;

const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    summary: 'run the REST daemon',
    help: async () => (await import('../config/load.ts')).SERVE_HELP,
    run: async (argv) => (await import('../api/main.ts')).runServe(argv),
  },
  compute: {
    summary: 'run the Nova compute service',
    help: async () => (await import('../config/load-compute.ts')).COMPUTE_HELP,
    run: async (argv) => (await import('../driver/main.ts')).runCompute(argv),
  },
  up: {
    summary: 'set up this machine, run the daemon, launch a first container',
    help: async () => (await import('../api/setup/up.ts')).UP_HELP,
    run: async (argv) => (await import('../api/setup/up.ts')).runUp(argv),
  },
  down: {
    summary: 'stop the containers and the daemon, take down its networks',
    help: async () => (await import('../api/setup/down.ts')).DOWN_HELP,
    run: async (argv) => (await import('../api/setup/down.ts')).runDown(argv),
  },
  check: {
    summary: 'say what this host has and lacks',
    help: async () => (await import('../api/setup/check.ts')).CHECK_HELP,
    run: async (argv) => (await import('../api/setup/check.ts')).runCheck(argv),
  },
  version: {
    summary: 'print the version',
    help: () => Promise.resolve(VERSION_HELP),
    run: (argv) => {
      parseArgs({ args: [...argv], options: {} });
      process.stdout.write(`${programVersion()}\n`);
      return Promise.resolve(0);
    },
  },
};

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, command]) => `  ${name.padEnd(8)} ${command.summary}`);
  return `Usage: slipway COMMAND [options]\n\n${lines.join('\n')}\n\nslipway COMMAND --help tells more of each.\n`;
}

/** Exit code of the command line `argv` (without the program's own name). */
async function runSlipway(argv: readonly string[]): Promise<number> {
  const [name = '', ...rest] = argv;
  if (name === '--version') return runSlipway(['version']);
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(usage());
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    process.stderr.write(name === '' ? usage() : `slipway: there is no command "${name}"\n\n${usage()}`);
    return 1;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(await command.help());
    return 0;
  }
  return command.run(rest);
}

async function main(): Promise<number> {
  try {
    return await runSlipway(process.argv.slice(2));
  } catch (err) {
    // A Fault is the user's to mend and is told in one line; anything else is a bug and keeps its stack.
    const isUsersError = isFault(err) || (err instanceof TypeError && 'code' in err);
    process.stderr.write(`slipway: ${isUsersError ? describeChain(err) : inspectBug(err)}\n`);
    return 1;
  }
}

function inspectBug(err: unknown): string {
  return err instanceof Error ? (err.stack ?? err.message) : String(err);
}

// A daemon whose start failed half-way still has sockets and a database open: they must not keep it alive.
process.exit(await main());
