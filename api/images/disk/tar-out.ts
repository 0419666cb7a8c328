/**
 * Writes entries as a tar archive that GNU tar unpacks: its own form for long
 * names, large numbers and sparse files, pax records for extended attributes.
 */
import { writeSync } from 'node:fs';
import type { Inode, Run } from './file-system.ts';

const BLOCK = 512;
const NAME_BYTES = 100;
const BUFFER_BYTES = 1024 * 1024;
/** Holes shorter than this are written as zeros. */
const WORTH_BYTES = 64 * 1024;
/** Entries of the map in the header of a sparse file, and in each block after it. */
const MAP_FIRST = 4;
const MAP_MORE = 21;

/** Attributes that are unpacked; tar is told the same. */
export function isWantedAttribute(name: string): boolean {
  return name.startsWith('user.') || name === 'security.capability';
}

export type EntryType = 'file' | 'directory' | 'symlink' | 'fifo' | 'hardlink';

const FLAGS: Readonly<Record<EntryType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  directory: '5',
  fifo: '6',
};

interface Piece {
  readonly at: number;
  readonly length: number;
}

export class TarOut {
  private readonly fd: number;
  private readonly buffer = Buffer.alloc(BUFFER_BYTES);
  private filled = 0;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Anything but a file's contents. `target` for links. */
  entry(
    path: string,
    type: EntryType,
    inode: Inode,
    rest: { readonly target?: string; readonly attributes?: readonly (readonly [string, Buffer])[] } = {},
  ): void {
    this.before(path, rest.target ?? '', rest.attributes ?? []);
    this.put(header(path, FLAGS[type], inode, 0, rest.target ?? ''));
  }

  /** A file out of its runs. */
  file(
    path: string,
    inode: Inode,
    runs: readonly Run[],
    attributes: readonly (readonly [string, Buffer])[],
  ): void {
    this.before(path, '', attributes);
    const pieces = piecesOf(runs, inode.size);
    const stored = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (stored === inode.size) this.put(header(path, FLAGS.file, inode, stored, ''));
    else this.sparseHeader(path, inode, pieces, stored);
    let next = 0;
    for (const piece of pieces) next = this.contents(piece, runs, next);
    this.pad(stored);
  }

  /** A small file with these contents. */
  text(path: string, inode: Inode, content: Buffer): void {
    this.before(path, '', []);
    this.put(header(path, FLAGS.file, inode, content.length, ''));
    this.put(content);
    this.pad(content.length);
  }

  end(): void {
    this.put(Buffer.alloc(2 * BLOCK));
    this.flush();
  }

  /** What stands in front of a header that cannot say everything. */
  private before(path: string, target: string, attributes: readonly (readonly [string, Buffer])[]): void {
    if (path.length > NAME_BYTES) this.long('L', path);
    if (target.length > NAME_BYTES) this.long('K', target);
    if (attributes.length === 0) return;
    const records = Buffer.concat(attributes.map(([name, value]) => paxRecord(name, value)));
    this.put(plainHeader('PaxHeader', 'x', records.length));
    this.put(records);
    this.pad(records.length);
  }

  private long(flag: string, text: string): void {
    const content = Buffer.from(`${text}\0`, 'latin1');
    this.put(plainHeader('././@LongLink', flag, content.length));
    this.put(content);
    this.pad(content.length);
  }

  private sparseHeader(path: string, inode: Inode, pieces: readonly Piece[], stored: number): void {
    // A last piece of no bytes says where the file ends.
    const map = [...pieces, { at: inode.size, length: 0 }];
    const first = header(path, 'S', inode, stored, '');
    mapInto(first, 386, map.slice(0, MAP_FIRST));
    first[482] = map.length > MAP_FIRST ? 1 : 0;
    number(first, 483, 12, inode.size);
    this.put(summed(first));
    for (let at = MAP_FIRST; at < map.length; at += MAP_MORE) {
      const more = Buffer.alloc(BLOCK);
      mapInto(more, 0, map.slice(at, at + MAP_MORE));
      more[504] = map.length > at + MAP_MORE ? 1 : 0;
      this.put(more);
    }
  }

  /** Bytes of one piece, which may span runs and short holes. Gives the run to go on with. */
  private contents(piece: Piece, runs: readonly Run[], from: number): number {
    let at = piece.at;
    let index = from;
    const end = piece.at + piece.length;
    while (at < end) {
      const run = runs[index];
      if (run === undefined || run.at >= end) {
        this.zeros(end - at);
        return index;
      }
      if (run.at > at) {
        this.zeros(run.at - at);
        at = run.at;
      }
      const length = Math.min(run.at + run.length, end) - at;
      for (let done = 0; done < length; done += BUFFER_BYTES) {
        this.put(run.read(at - run.at + done, Math.min(BUFFER_BYTES, length - done)));
      }
      at += length;
      if (at >= run.at + run.length) index += 1;
    }
    return index;
  }

  private pad(length: number): void {
    this.zeros((BLOCK - (length % BLOCK)) % BLOCK);
  }

  private zeros(length: number): void {
    for (let left = length; left > 0; left -= WORTH_BYTES)
      this.put(Buffer.alloc(Math.min(left, WORTH_BYTES)));
  }

  private put(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      const n = bytes.copy(this.buffer, this.filled, at);
      this.filled += n;
      at += n;
      if (this.filled === this.buffer.length) this.flush();
    }
  }

  private flush(): void {
    let at = 0;
    while (at < this.filled) at += writeSync(this.fd, this.buffer, at, this.filled - at);
    this.filled = 0;
  }
}

/** Runs with short holes between them closed. */
function piecesOf(runs: readonly Run[], size: number): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const run of runs) {
    const last = pieces.at(-1);
    if (run.at - end >= WORTH_BYTES) pieces.push({ at: run.at, length: run.length });
    else if (last === undefined) pieces.push({ at: 0, length: run.at + run.length });
    else pieces[pieces.length - 1] = { at: last.at, length: run.at + run.length - last.at };
    end = run.at + run.length;
  }
  const last = pieces.at(-1);
  if (size - end > 0 && size - end < WORTH_BYTES) {
    if (last === undefined) pieces.push({ at: 0, length: size });
    else pieces[pieces.length - 1] = { at: last.at, length: size - last.at };
  }
  return pieces;
}

function paxRecord(name: string, value: Buffer): Buffer {
  const key = `SCHILY.xattr.${name.replaceAll('%', '%25').replaceAll('=', '%3D')}`;
  const body = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')]);
  // The length counts its own digits.
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

function plainHeader(name: string, flag: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 'latin1');
  return filled(block, flag, { mode: 0o644, uid: 0, gid: 0, mtimeS: 0 }, size);
}

function header(path: string, flag: string, inode: Inode, size: number, target: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(path.slice(0, NAME_BYTES), 0, 'latin1');
  block.write(target.slice(0, NAME_BYTES), 157, 'latin1');
  return filled(block, flag, inode, size);
}

function filled(
  block: Buffer,
  flag: string,
  of: Pick<Inode, 'mode' | 'uid' | 'gid' | 'mtimeS'>,
  size: number,
): Buffer {
  number(block, 100, 8, of.mode);
  number(block, 108, 8, of.uid);
  number(block, 116, 8, of.gid);
  number(block, 124, 12, size);
  number(block, 136, 12, Math.max(0, of.mtimeS));
  block.write(flag, 156, 'latin1');
  block.write('ustar  \0', 257, 'latin1');
  return summed(block);
}

function summed(block: Buffer): Buffer {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function mapInto(block: Buffer, at: number, pieces: readonly Piece[]): void {
  for (const [i, piece] of pieces.entries()) {
    number(block, at + i * 24, 12, piece.at);
    number(block, at + i * 24 + 12, 12, piece.length);
  }
}

/** Octal, or GNU's base-256 when it does not fit. */
function number(block: Buffer, at: number, width: number, value: number): void {
  const text = value.toString(8);
  if (text.length < width) {
    block.write(`${text.padStart(width - 1, '0')}\0`, at, 'latin1');
    return;
  }
  let left = value;
  for (let i = width - 1; i > 0; i -= 1) {
    block[at + i] = left % 256;
    left = Math.floor(left / 256);
  }
  block[at] = 0x80;
}
