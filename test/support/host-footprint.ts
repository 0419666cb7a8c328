/**
 * Everything a daemon under test has on the host: files, mounts, loop devices,
 * cgroups, links, firewall rules, rows. Two footprints that should be alike are
 * compared as lists of lines.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { SlipwayDaemon } from './slipway-daemon.ts';

export interface Owned {
  readonly daemon: SlipwayDaemon;
  /** What the names of its instances begin with. */
  readonly prefix: string;
  /** Names of its bridges begin with this. */
  readonly bridges: string;
}

const CGROUPS = '/sys/fs/cgroup';
const DEADLINE_MS = 15_000;
/** Written by dnsmasq and nobody else, or passing by itself. */
const IGNORED = /\.unsynced$|dnsmasq\.(pid|leases|raw|log)$/;

/** Sorted lines; equal when nothing was left behind. */
export function footprint(owned: Owned): string[] {
  const { daemon } = owned;
  return [
    ...['images', 'storage-pools', 'networks', 'devices', 'disks'].flatMap((name) =>
      files(daemon.state, name, 3),
    ),
    ...files(daemon.dir, 'log', 2),
    ...lines('/proc/self/mountinfo').filter((line) => line.includes(daemon.dir)),
    ...run('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE']).filter((line) =>
      line.includes(daemon.dir),
    ),
    ...cgroups(owned.prefix).map((path) => `cgroup ${path}`),
    ...links(owned.bridges).map((name) => `link ${name}`),
    ...run('nft', ['list', 'ruleset']).filter((line) => line.includes(owned.bridges)),
    ...rows(daemon),
  ].sort();
}

/** Waits until the footprint is the expected one; throws with the difference. Removal goes on behind answers. */
export async function expectFootprint(
  owned: Owned,
  expected: readonly string[],
  when: string,
): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const now = footprint(owned);
    const more = now.filter((line) => !expected.includes(line));
    const less = expected.filter((line) => !now.includes(line));
    if (more.length + less.length === 0) return;
    if (Date.now() > end) {
      throw new Error(`${when}: left behind:\n  ${more.join('\n  ')}\nmissing:\n  ${less.join('\n  ')}`);
    }
    await sleep(50);
  }
}

function files(folder: string, name: string, depth: number): string[] {
  const path = join(folder, name);
  if (depth === 0 || !existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => !IGNORED.test(entry.name))
    .flatMap((entry) => [
      `file ${name}/${entry.name}`,
      ...(entry.isDirectory() ? files(path, entry.name, depth - 1).map((line) => `${line} in ${name}`) : []),
    ]);
}

/** Control groups of containers whose names begin with the prefix, in all trees. */
export function cgroups(prefix: string): string[] {
  return readdirSync(CGROUPS).flatMap((tree) => {
    const path = join(CGROUPS, tree);
    let names: string[];
    try {
      names = readdirSync(path);
    } catch {
      return []; // a file of the v2 tree
    }
    return names
      .filter((name) => new RegExp(`^lxc\\.(payload|monitor)\\.${prefix}`).test(name))
      .map((name) => join(path, name));
  });
}

/** Bridges of the daemon, and what is plugged into them. */
export function links(bridges: string): string[] {
  return run('ip', ['-o', 'link', 'show'])
    .map((line) => ({
      name: /^\d+: ([^:@]+)/.exec(line)?.[1] ?? '',
      master: / master (\S+)/.exec(line)?.[1] ?? '',
    }))
    .filter((link) => link.name.startsWith(bridges) || link.master.startsWith(bridges))
    .map((link) => (link.master === '' ? link.name : `in ${link.master}`));
}

function rows(daemon: SlipwayDaemon): string[] {
  const database = new Database(join(daemon.state, 'database', 'local.db'), { readonly: true });
  try {
    const all = (table: string, columns: string): string[] =>
      database
        .prepare(`SELECT ${columns} FROM "${table}"`)
        .raw()
        .all()
        .map((row) => `row ${table} ${JSON.stringify(row)}`);
    return [
      ...all('instances', 'name, phase'),
      ...all('images', 'fingerprint'),
      ...all('aliases', 'name'),
      ...all('networks', 'name, status'),
      ...all('pools', 'name, status'),
    ];
  } finally {
    database.close();
  }
}

/** Processes that live in this session. */
export function sessionMembers(session: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => Number(stat(name)[3]) === session && stat(name)[0] !== 'Z')
    .map(Number);
}

/** The daemon's process that forks its helpers; 0 when it was not needed yet. */
export function launcherOf(daemon: number): number {
  const found = readdirSync('/proc').find(
    (name) => /^\d+$/.test(name) && Number(stat(name)[1]) === daemon && exe(name).includes('slipway-helper'),
  );
  return Number(found ?? '0');
}

/** Fields of /proc/PID/stat after the program's name: state, parent, group, session … */
function stat(pid: string): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return []; // gone
  }
}

function exe(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return '';
  }
}

function lines(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n');
}

function run(program: string, args: readonly string[]): string[] {
  return execFileSync(program, args, {
    encoding: 'utf8',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
  }).split('\n');
}
