/** Disks and file systems for tests, made with the tools of this machine; nothing is mounted. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';

export type FileSystemName = 'ext2' | 'ext4' | 'xfs' | 'btrfs' | 'erofs';

const MIB = 2 ** 20;
/** Smaller ones are refused by mkfs.xfs and mkfs.btrfs. */
const SIZE_MIB: Readonly<Record<FileSystemName, number>> = {
  ext2: 16,
  ext4: 16,
  xfs: 300,
  btrfs: 128,
  erofs: 0,
};

/** A file system with the contents of a folder. xfs takes over neither attributes nor hard links. */
export function makeFileSystem(kind: FileSystemName, file: string, folder: string): string {
  empty(file, SIZE_MIB[kind] * MIB);
  const run = (program: string, ...args: string[]): void => {
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  };
  if (kind === 'btrfs') run('mkfs.btrfs', '-q', '--rootdir', folder, file);
  else if (kind === 'erofs') run('mkfs.erofs', '-x1', file, folder);
  else if (kind === 'xfs') run('mkfs.xfs', '-q', '-p', protoOf(file, folder), file);
  else run(`mkfs.${kind}`, '-q', '-d', folder, file);
  return file;
}

/** What mkfs.xfs fills a file system from. */
function protoOf(file: string, folder: string): string {
  const list = execFileSync('find', [folder, '-mindepth', '1', '-printf', '%y|%m|%U|%G|%d|%f|%l|%p\\n'], {
    encoding: 'utf8',
  });
  const lines = ['/dev/null', '0 0', 'd--755 0 0'];
  let depth = 1;
  for (const line of list.trimEnd().split('\n')) {
    const [type = '', mode = '', uid = '', gid = '', own = '', name = '', target = '', path = ''] =
      line.split('|');
    for (; depth > Number(own); depth -= 1) lines.push('$');
    const bits = Number.parseInt(mode, 8);
    const setId = `${(bits & 0o4000) === 0 ? '-' : 'u'}${(bits & 0o2000) === 0 ? '-' : 'g'}`;
    const kind = { d: 'd', l: 'l', f: '-', p: 'p' }[type] ?? '';
    if (kind === '') continue;
    const rest = kind === 'l' ? ` ${target}` : kind === '-' ? ` ${path}` : '';
    const permissions = (bits & 0o777).toString(8).padStart(3, '0');
    lines.push(`${name} ${kind}${setId}${permissions} ${uid} ${gid}${rest}`);
    if (kind === 'd') depth = Number(own) + 1;
  }
  for (; depth > 0; depth -= 1) lines.push('$');
  const proto = `${file}.proto`;
  writeFileSync(proto, `${lines.join('\n')}\n`);
  return proto;
}

export interface PartitionWish {
  /** As sfdisk takes it. */
  readonly type: string;
  readonly sizeMib: number;
  /** File whose contents it gets. */
  readonly content?: string;
}

/** A disk with these partitions, the first at 1 MiB. */
export function makeDisk(label: 'gpt' | 'dos', file: string, wishes: readonly PartitionWish[]): string {
  const total = wishes.reduce((sum, wish) => sum + wish.sizeMib, 2);
  empty(file, total * MIB);
  const lines = wishes.map(({ type, sizeMib }) => `size=${String(sizeMib)}MiB, type=${type}`);
  execFileSync('sfdisk', ['--quiet', file], { input: [`label: ${label}`, ...lines, ''].join('\n') });
  let at = 1;
  for (const { content, sizeMib } of wishes) {
    if (content !== undefined) {
      execFileSync('dd', [
        `if=${content}`,
        `of=${file}`,
        'bs=1M',
        `seek=${String(at)}`,
        'conv=notrunc',
        'status=none',
      ]);
    }
    at += sizeMib;
  }
  return file;
}

/** The same disk as a qcow2, with options of qemu-img's convert. */
export function qcow2(from: string, to: string, ...options: string[]): string {
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', ...options, from, to]);
  return to;
}

/** A qcow2 that reads from another file what it does not hold itself; nobody looks whether that is there. */
export function backedQcow2(backing: string, to: string): void {
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', 'raw', '-u', to, '1M']);
}

/** A copy with some bytes changed. */
export function patched(file: string, to: string, at: number, bytes: Buffer): string {
  copyFileSync(file, to);
  const fd = openSync(to, 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
  return to;
}

/** The first bytes of a file. */
export function cut(file: string, to: string, length: number): string {
  writeFileSync(to, readFileSync(file).subarray(0, length));
  return to;
}

function empty(file: string, size: number): void {
  const fd = openSync(file, 'w');
  ftruncateSync(fd, size);
  closeSync(fd);
}
