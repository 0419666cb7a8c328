/**
 * The one place beside native/ that runs programs.
 *
 * No shell, no inherited environment, output with a limit, and an end for
 * everything. What a program says on standard error reaches the user as the
 * last lines of a Fault.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { Fault } from '../process/fault.ts';

export interface ToolOptions {
  readonly stdin?: string | Buffer;
  readonly cwd?: string;
  readonly signal?: AbortSignal;
  /** 60,000 when absent; 0 for no limit. */
  readonly timeoutMs?: number;
  /** Added to PATH and LC_ALL; nothing is inherited from the daemon. */
  readonly env?: Readonly<Record<string, string>>;
  /** Limit of standard output in bytes, 4 MiB when absent. More than that is a Fault. */
  readonly maxOutputBytes?: number;
  /** Exit codes that are no failure, [0] when absent. */
  readonly okCodes?: readonly number[];
  /** Killed when the daemon is: nobody else may touch what it writes while it goes on. */
  readonly endsWithUs?: boolean;
}

export interface ToolResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_OUTPUT = 4 * 1024 * 1024;
/** Standard error is kept to its last bytes. */
const STDERR_TAIL = 4096;
const SHOWN_LINES = 3;
/** What setpriv answers for a program that is not there. */
const NOT_FOUND = 127;

/** Debian package of each program that is not part of every system. */
const PACKAGES: Readonly<Record<string, string>> = {
  btrfs: 'btrfs-progs',
  'mkfs.btrfs': 'btrfs-progs',
  bzip2: 'bzip2',
  dnsmasq: 'dnsmasq-base',
  e2fsck: 'e2fsprogs',
  'mkfs.ext4': 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  chattr: 'e2fsprogs',
  ip: 'iproute2',
  tc: 'iproute2',
  bridge: 'iproute2',
  losetup: 'mount',
  mount: 'mount',
  umount: 'mount',
  nft: 'nftables',
  nsenter: 'util-linux',
  openssl: 'openssl',
  pigz: 'pigz',
  rsync: 'rsync',
  tar: 'tar',
  unsquashfs: 'squashfs-tools',
  mksquashfs: 'squashfs-tools',
  xz: 'xz-utils',
  zstd: 'zstd',
};

/** The text for a program that is not installed. */
function missing(program: string): Fault {
  const name = program.slice(program.lastIndexOf('/') + 1);
  const known = Object.hasOwn(PACKAGES, name) ? PACKAGES[name] : undefined;
  const cure = known === undefined ? 'install it' : `install the package ${known} (apt-get install ${known})`;
  return new Fault('tool_failed', `run ${name}: the program is not installed; ${cure}`, {
    facts: { program: name },
  });
}

/** What went wrong, from the last lines a program wrote. */
function lastLines(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines.slice(-SHOWN_LINES).join('; ');
}

interface Ended {
  readonly code: number;
  readonly killedBy: string | null;
}

/** Resolves at the end of the program and of its output; rejects when it could not be started. */
function ended(child: ChildProcess, program: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    child.once('error', (err: NodeJS.ErrnoException) => {
      // A killed program also emits `error` with AbortError; the close that follows tells the rest.
      if (err.code === 'ENOENT') reject(missing(program));
      else if (child.pid === undefined) reject(new Fault('tool_failed', `start ${program}`, { cause: err }));
    });
    child.once('close', (code, signal) => {
      const number = signal === null ? 0 : constants.signals[signal];
      resolve({ code: code ?? 128 + number, killedBy: signal });
    });
  });
}

function failure(program: string, end: Ended, stderr: string): Fault {
  const how = end.killedBy === null ? `exit code ${String(end.code)}` : `killed by ${end.killedBy}`;
  const said = lastLines(stderr);
  return new Fault('tool_failed', `run ${program}: ${how}${said === '' ? '' : `: ${said}`}`, {
    facts: { program, exitCode: end.code },
  });
}

/** Collects output up to a limit; `over` is called once when there is more. */
function collect(stream: Readable, limit: number, over: () => void): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= limit) chunks.push(chunk);
    else over();
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Keeps the end of what is written to a stream. */
function collectTail(stream: Readable): () => string {
  let tail = '';
  stream.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString('utf8')).slice(-STDERR_TAIL);
  });
  return () => tail;
}

/**
 * Runs a program to its end. Fault `tool_failed` with the last lines of its
 * standard error, `timeout` when it took too long; throws the signal's reason
 * when it was aborted.
 */
export async function runTool(
  program: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  options.signal?.throwIfAborted();
  const endsWithUs = options.endsWithUs === true;
  const command = endsWithUs
    ? ['setpriv', '--pdeathsig', 'KILL', '--', program, ...args]
    : [program, ...args];
  const child = spawn(command[0] ?? program, command.slice(1), {
    cwd: options.cwd,
    env: { PATH, LC_ALL: 'C.UTF-8', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stopped: { reason: Error | null } = { reason: null };
  const stop = (reason: Error): void => {
    stopped.reason ??= reason;
    child.kill('SIGKILL');
  };
  const onAbort = (): void => {
    stop(new Error('aborted'));
  };
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const timer =
    timeoutMs > 0
      ? setTimeout(() => {
          stop(new Fault('timeout', `run ${program}: not done after ${String(timeoutMs / 1000)} s`));
        }, timeoutMs)
      : undefined;
  const limit = options.maxOutputBytes ?? DEFAULT_OUTPUT;
  const stdout = collect(child.stdout, limit, () => {
    stop(new Fault('tool_failed', `run ${program}: it printed more than ${String(limit)} bytes`));
  });
  const stderr = collectTail(child.stderr);
  // A program that does not read its input closes the pipe; that is no error of ours.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin);
  try {
    const end = await ended(child, program);
    options.signal?.throwIfAborted();
    if (stopped.reason !== null) throw stopped.reason;
    if (endsWithUs && end.code === NOT_FOUND) throw missing(program);
    if (!(options.okCodes ?? [0]).includes(end.code)) throw failure(program, end, stderr());
    return { stdout: stdout(), stderr: stderr(), code: end.code };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

export interface ToolStream {
  readonly stdout: Readable;
  /** Resolves when the program ended well and its output was read to the end. */
  readonly finished: Promise<void>;
  /** Ends the program. Harmless after its end. */
  stop(): void;
}

/** Starts a program that reads a descriptor and whose output is read as a stream. No time limit. */
export function streamTool(program: string, args: readonly string[], stdinFd: number): ToolStream {
  const child = spawn(program, args, {
    env: { PATH, LC_ALL: 'C.UTF-8' },
    stdio: [stdinFd, 'pipe', 'pipe'],
  });
  const stdout = child.stdout;
  const stderr = child.stderr;
  if (stdout === null || stderr === null) throw new Error('spawn gave no pipes');
  const tail = collectTail(stderr);
  const finished = ended(child, program).then((end) => {
    if (end.code !== 0) throw failure(program, end, tail());
  });
  // The reader may stop before it asks for the end.
  finished.catch(() => undefined);
  return { stdout, finished, stop: () => void child.kill('SIGKILL') };
}

/** True when the program can be run. */
export async function hasTool(program: string): Promise<boolean> {
  try {
    await runTool(program, ['--version'], { okCodes: [0, 1, 2], timeoutMs: 5000 });
    return true;
  } catch (err) {
    if (err instanceof Fault && err.code === 'tool_failed') return false;
    throw err;
  }
}
