/** Goes through a file system from its root: what is in it, how much, and all of it as tar. */
import { Fault } from '../../../process/fault.ts';
import type { FileSystem, Inode } from './file-system.ts';
import { containerFstab } from './fstab.ts';
import { damaged } from './source.ts';
import { isWantedAttribute } from './tar-out.ts';
import type { TarOut } from './tar-out.ts';

export interface Limits {
  /** Of the contents of all files, holes not counted. */
  readonly bytes: number;
  readonly entries: number;
}

export interface Total {
  readonly bytes: number;
  readonly entries: number;
}

const MAX_PATH_BYTES = 3500;
const MAX_DEPTH = 500;
const FSTAB = 'etc/fstab';
const MAX_FSTAB_BYTES = 1024 * 1024;
/** At the top of every ext4: where e2fsck puts what it finds. */
const LOST = 'lost+found';

/**
 * With `out` everything is written there: owners, modes, links, attributes and
 * holes as they are, but no device nodes and sockets, and /etc/fstab without
 * the disks of the machine this was. Faults bad_request: damaged, over a limit.
 */
export function walkTree(system: FileSystem, limits: Limits, out: TarOut | null): Total {
  const walk = new Walk(system, limits, out);
  walk.directory('', system.root, 0);
  out?.end();
  return { bytes: walk.bytes, entries: walk.entries };
}

class Walk {
  bytes = 0;
  entries = 0;
  private readonly system: FileSystem;
  private readonly limits: Limits;
  private readonly out: TarOut | null;
  /** A directory has one name: a second one may be a circle. */
  private readonly directories = new Set<string>();
  /** First names of files that have several. */
  private readonly linked = new Map<string, string>();

  constructor(system: FileSystem, limits: Limits, out: TarOut | null) {
    this.system = system;
    this.limits = limits;
    this.out = out;
  }

  directory(path: string, inode: Inode, depth: number): void {
    if (this.directories.has(inode.id)) throw damaged('a directory of it is in two places');
    if (depth > MAX_DEPTH) throw damaged('its directories are impossibly deep');
    this.directories.add(inode.id);
    this.count(0);
    this.out?.entry(`./${path}${path === '' ? '' : '/'}`, 'directory', inode, {
      attributes: this.attributes(inode),
    });
    const names = new Set<string>();
    for (const { name, inode: found } of this.system.entries(inode)) {
      if (!isName(name) || names.has(name)) throw damaged('a directory of it has an impossible name');
      names.add(name);
      if (depth === 0 && name === LOST) continue;
      this.entry(path === '' ? name : `${path}/${name}`, found, depth);
    }
  }

  private entry(path: string, inode: Inode, depth: number): void {
    if (path.length > MAX_PATH_BYTES) throw damaged('a path in it is impossibly long');
    if (inode.kind === 'directory') this.directory(path, inode, depth + 1);
    else if (inode.kind !== 'other') this.leaf(path, inode, inode.kind);
  }

  private leaf(path: string, inode: Inode, kind: 'file' | 'symlink' | 'fifo'): void {
    const name = `./${path}`;
    const first = this.linked.get(inode.id);
    if (first !== undefined) {
      this.count(0);
      this.out?.entry(name, 'hardlink', inode, { target: first });
      return;
    }
    if (inode.links > 1) this.linked.set(inode.id, name);
    if (kind === 'file') {
      this.file(path, inode);
      return;
    }
    this.count(0);
    const attributes = this.attributes(inode);
    const link = kind === 'symlink' ? { target: this.target(inode), attributes } : { attributes };
    this.out?.entry(name, kind, inode, link);
  }

  private file(path: string, inode: Inode): void {
    const runs = this.system.runs(inode);
    this.count(runs.reduce((sum, run) => sum + run.length, 0));
    if (this.out === null) return;
    if (path === FSTAB && inode.size <= MAX_FSTAB_BYTES) {
      const text = Buffer.alloc(inode.size);
      for (const run of runs) run.read(0, run.length).copy(text, run.at);
      this.out.text(`./${path}`, inode, Buffer.from(containerFstab(text.toString('latin1')), 'latin1'));
    } else {
      this.out.file(`./${path}`, inode, runs, this.attributes(inode));
    }
  }

  private target(inode: Inode): string {
    const target = this.system.target(inode);
    if (target === '' || target.includes('\0'))
      throw damaged('a symbolic link of it has an impossible target');
    return target;
  }

  private attributes(inode: Inode): (readonly [string, Buffer])[] {
    if (this.out === null) return [];
    return [...this.system.attributes(inode)].filter(([name]) => isWantedAttribute(name));
  }

  private count(bytes: number): void {
    this.entries += 1;
    this.bytes += bytes;
    if (this.entries > this.limits.entries || this.bytes > this.limits.bytes) {
      throw new Fault(
        'bad_request',
        `the image unpacks to more than ${gib(this.limits.bytes)} GiB or ${String(this.limits.entries)} files`,
      );
    }
  }
}

function gib(bytes: number): string {
  return String(Math.round((bytes / 2 ** 30) * 100) / 100);
}

function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0');
}

/** What is at a path, no link followed; null when it is not there. */
export function lookUp(system: FileSystem, path: string): Inode | null {
  let at = system.root;
  for (const part of path.split('/')) {
    if (at.kind !== 'directory') return null;
    const found = childOf(system, at, part);
    if (found === null) return null;
    at = found;
  }
  return at;
}

function childOf(system: FileSystem, directory: Inode, name: string): Inode | null {
  for (const entry of system.entries(directory)) if (entry.name === name) return entry.inode;
  return null;
}

/** A small file's text; null when it is no file or larger. */
export function readText(system: FileSystem, path: string, limit: number): string | null {
  const inode = lookUp(system, path);
  if (inode?.kind !== 'file' || inode.size > limit) return null;
  const text = Buffer.alloc(inode.size);
  for (const run of system.runs(inode)) run.read(0, run.length).copy(text, run.at);
  return text.toString('utf8');
}
