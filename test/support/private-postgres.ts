/** A PostgreSQL server of a test's own: scratch folder, unix socket only, stopped by its process. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_MS = 30_000;

export interface PrivatePostgres {
  /** Address of a new, empty database. */
  database(name: string): string;
  /** Runs one statement as the superuser and gives its answer as text. */
  psql(sql: string, database?: string): string;
  start(): Promise<void>;
  /** `fast` ends the sessions; `immediate` is a crash. */
  stop(how: 'fast' | 'immediate'): Promise<void>;
  /** Stops the server and removes its folder. */
  remove(): Promise<void>;
}

/** Why no server can be started here, or null. */
export function postgresLacks(): string | null {
  if (programs() === null) return 'PostgreSQL is not installed (apt-get install postgresql)';
  return process.getuid?.() === 0 ? null : 'a PostgreSQL server is started as another user, which needs root';
}

/** A started server with nothing in it. */
export async function privatePostgres(): Promise<PrivatePostgres> {
  const bin = programs();
  if (bin === null) throw new Error('PostgreSQL is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'slipway-pg-'));
  const server = new Server(bin, folder, owner());
  server.make();
  await server.start();
  return server;
}

class Server implements PrivatePostgres {
  private readonly bin: string;
  private readonly folder: string;
  private readonly ids: { readonly uid: number; readonly gid: number };
  private child: ChildProcess | null = null;

  constructor(bin: string, folder: string, ids: { readonly uid: number; readonly gid: number }) {
    this.bin = bin;
    this.folder = folder;
    this.ids = ids;
  }

  make(): void {
    chownSync(this.folder, this.ids.uid, this.ids.gid);
    this.run('initdb', [
      '-D',
      join(this.folder, 'data'),
      '-U',
      'postgres',
      '-A',
      'trust',
      '--no-sync',
      '-E',
      'UTF8',
    ]);
  }

  async start(): Promise<void> {
    const options = ['-D', join(this.folder, 'data'), '-k', this.folder, '-c', 'listen_addresses='];
    const child = spawn(join(this.bin, 'postgres'), options, {
      ...this.ids,
      cwd: this.folder,
      stdio: 'ignore',
    });
    this.child = child;
    const deadline = Date.now() + READY_MS;
    while (spawnSync(join(this.bin, 'pg_isready'), ['-q', '-h', this.folder]).status !== 0) {
      if (child.exitCode !== null || Date.now() > deadline)
        throw new Error('the PostgreSQL server did not start');
      await sleep(20);
    }
  }

  async stop(how: 'fast' | 'immediate'): Promise<void> {
    const child = this.child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(how === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop('immediate');
    rmSync(this.folder, { recursive: true, force: true });
  }

  database(name: string): string {
    this.psql(`CREATE DATABASE "${name}"`);
    return `postgresql://postgres@localhost/${name}?host=${encodeURIComponent(this.folder)}`;
  }

  psql(sql: string, database = 'postgres'): string {
    return this.run('psql', ['-h', this.folder, '-U', 'postgres', '-d', database, '-Atqc', sql]);
  }

  private run(program: string, args: readonly string[]): string {
    const done = spawnSync(join(this.bin, program), args, {
      ...this.ids,
      cwd: this.folder,
      encoding: 'utf8',
    });
    if (done.status !== 0) throw new Error(`${program} failed: ${done.stderr}`);
    return done.stdout.trim();
  }
}

function programs(): string | null {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return null;
  const versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
  const bin = versions
    .map((version) => join(root, version, 'bin'))
    .find((at) => existsSync(join(at, 'initdb')));
  return bin ?? null;
}

/** The server refuses to run as root. */
function owner(): { uid: number; gid: number } {
  const id = (flag: string) =>
    Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout || 65534);
  return { uid: id('-u'), gid: id('-g') };
}
