/**
 * Debian's unmodified `lxc` client (package lxd-client) as a child of a test,
 * with its own configuration folder, at a daemon's socket or at a remote.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { SlipwayDaemon } from './slipway-daemon.ts';

const CLIENT = '/usr/bin/lxc';
const DEADLINE_MS = 120_000;

/** For `test(name, { skip: SKIP }, …)`: false, or why the client cannot be tried. */
export const SKIP = existsSync(CLIENT) ? false : `needs ${CLIENT} (package lxd-client)`;

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly input?: string | Readable;
  readonly env?: Readonly<Record<string, string>>;
}

export class LxcClient {
  readonly conf: string;
  private readonly daemon: SlipwayDaemon;

  private constructor(daemon: SlipwayDaemon, conf: string) {
    this.daemon = daemon;
    this.conf = conf;
  }

  /** A client with a configuration of its own. */
  static async create(daemon: SlipwayDaemon): Promise<LxcClient> {
    const client = new LxcClient(daemon, await mkdtemp(join(tmpdir(), 'lxc-client-')));
    // Its first run greets.
    if (SKIP === false) await client.ok('list');
    return client;
  }

  /** Runs to the end, whatever the exit code; rejects at the deadline. */
  run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return this.program(CLIENT, args, options);
  }

  /** Runs a command that must succeed; returns what it wrote to standard output. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, out, err } = await this.run(args);
    if (code !== 0) throw new Error(`lxc ${args.join(' ')}: exit code ${String(code)}: ${err}`);
    return out;
  }

  /** Runs a command that must fail with exit code 1; returns its error text. */
  async refused(...args: readonly string[]): Promise<string> {
    const { code, out, err } = await this.run(args);
    if (code !== 1)
      throw new Error(`lxc ${args.join(' ')}: exit code ${String(code)}, wanted 1: ${out}${err}`);
    return err.trim();
  }

  /** As `ok`, with a terminal (of script(1)) and an editor that is a shell command on "$1". */
  async edit(editor: string, ...args: readonly string[]): Promise<void> {
    const script = join(this.conf, 'editor.sh');
    await writeFile(script, `#!/bin/sh\n${editor}\n`, { mode: 0o755 });
    const { code, out } = await this.terminal(args, { env: { EDITOR: script } });
    if (code !== 0) throw new Error(`lxc ${args.join(' ')}: exit code ${String(code)}: ${out}`);
  }

  /** Runs to the end on a terminal of script(1); its exit code is that of lxc. */
  terminal(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const line = [CLIENT, ...args].map(quote).join(' ');
    return this.program('/usr/bin/script', ['-qec', line, '/dev/null'], options);
  }

  /** Runs a line of shell in the client's environment; it must succeed. Returns its output. */
  async shell(line: string): Promise<string> {
    const { code, out, err } = await this.program('/bin/sh', ['-c', line]);
    if (code !== 0) throw new Error(`${line}: exit code ${String(code)}: ${err}`);
    return out;
  }

  /** A client that goes on running (monitor, console); ended by the caller through its input or `kill`. */
  start(program: string, args: readonly string[]): ReturnType<typeof spawn> {
    return spawn(program, [...args], { env: this.environment({}), stdio: ['pipe', 'pipe', 'pipe'] });
  }

  async close(): Promise<void> {
    await rm(this.conf, { recursive: true, force: true });
  }

  private environment(added: Readonly<Record<string, string>>): Record<string, string> {
    return {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: this.conf,
      LXD_CONF: this.conf,
      LXD_DIR: this.daemon.state,
      TERM: 'xterm',
      LANG: 'C.UTF-8',
      ...added,
    };
  }

  private program(path: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return new Promise((resolve, reject) => {
      const child = spawn(path, [...args], {
        env: this.environment(options.env ?? {}),
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      let out = '';
      let err = '';
      const deadline = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`${path} ${args.join(' ')} did not end: ${out}${err}`));
      }, DEADLINE_MS);
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
      child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
      // A program that has ended does not read its input.
      child.stdin.on('error', () => undefined);
      if (typeof options.input === 'string' || options.input === undefined) child.stdin.end(options.input);
      else options.input.pipe(child.stdin);
      child.once('error', reject);
      child.once('close', (code) => {
        clearTimeout(deadline);
        resolve({ code, out, err });
      });
    });
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
