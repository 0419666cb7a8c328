/**
 * Reads the headers of a tar stream without writing anything: which entries
 * there are, how large they are, and the contents of a few small ones.
 *
 * Knows ustar, GNU (long names, sparse files, base-256 sizes) and pax. Damage
 * and a missing end are Faults bad_request.
 */
import { Fault } from '../../process/fault.ts';
import { isTarHeader } from './sniff.ts';

export interface TarEntry {
  /** Without a leading `./` or `/`. */
  readonly name: string;
  /** The type flag: `0` file, `1` hard link, `2` symbolic link, `5` directory … */
  readonly type: string;
  readonly size: number;
}

export interface TarVisitor {
  /** Called for every entry. Returns true when `onContent` wants its contents. */
  onEntry(entry: TarEntry): boolean;
  onContent(entry: TarEntry, content: Buffer): void;
}

const BLOCK = 512;
/** Longest extended header (long names, pax records) that is kept in memory. */
const MAX_EXTENDED = 1024 * 1024;

interface Extended {
  path: string | null;
  size: number | null;
}

export class TarWalk {
  private readonly visitor: TarVisitor;
  private readonly block = Buffer.alloc(BLOCK);
  private filled = 0;
  private skipLeft = 0;
  private body: { readonly into: Buffer; filled: number; readonly done: (content: Buffer) => void } | null =
    null;
  private sparseHeaders = false;
  /** Size of a sparse file whose extra headers are being read. */
  private afterSparse: number | null = null;
  private zeroBlocks = 0;
  private next: Extended = { path: null, size: null };

  constructor(visitor: TarVisitor) {
    this.visitor = visitor;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.zeroBlocks < 2) {
      if (this.body !== null) at += this.fillBody(this.body, chunk, at);
      else if (this.skipLeft > 0) at += this.skip(chunk.length - at);
      else at += this.fillBlock(chunk, at);
    }
  }

  /** The stream is at its end. Fault bad_request when the archive is not. */
  end(): void {
    // One block of zeros is enough: some writers put only one.
    if (this.zeroBlocks === 0 || this.body !== null || this.skipLeft > 0 || this.filled > 0) {
      throw new Fault('bad_request', 'the archive is cut short: its end is missing');
    }
  }

  private skip(available: number): number {
    const n = Math.min(this.skipLeft, available);
    this.skipLeft -= n;
    return n;
  }

  private fillBody(body: NonNullable<TarWalk['body']>, chunk: Buffer, at: number): number {
    const n = chunk.copy(body.into, body.filled, at, at + body.into.length - body.filled);
    body.filled += n;
    if (body.filled === body.into.length) {
      this.body = null;
      this.skipLeft = padding(body.into.length);
      body.done(body.into);
    }
    return n;
  }

  private fillBlock(chunk: Buffer, at: number): number {
    const n = chunk.copy(this.block, this.filled, at, at + BLOCK - this.filled);
    this.filled += n;
    if (this.filled === BLOCK) {
      this.filled = 0;
      if (this.sparseHeaders) this.sparseHeaders = this.block[504] === 1;
      else this.header();
      if (!this.sparseHeaders && this.afterSparse !== null) {
        this.skipLeft = padded(this.afterSparse);
        this.afterSparse = null;
      }
    }
    return n;
  }

  private header(): void {
    if (this.block.every((byte) => byte === 0)) {
      this.zeroBlocks += 1;
      return;
    }
    if (!isTarHeader(this.block)) {
      throw new Fault('bad_request', 'the archive is damaged: a header is wrong (or it is no tar at all)');
    }
    const type = this.block[156] === 0 ? '0' : this.block.toString('latin1', 156, 157);
    const size = number(this.block, 124, 12);
    if (type === 'L' || type === 'K' || type === 'x' || type === 'g') this.extended(type, size);
    else this.entry(type, size);
  }

  private extended(type: string, size: number): void {
    if (type === 'g' || type === 'K') {
      this.skipLeft = padded(size);
      return;
    }
    this.keep(size, MAX_EXTENDED, (content) => {
      if (type === 'L') this.next.path = cString(content);
      else this.next = { ...this.next, ...paxRecords(content) };
    });
  }

  private entry(type: string, headerSize: number): void {
    const { path, size: paxSize } = this.next;
    this.next = { path: null, size: null };
    // A hard link has no data, whatever its header says.
    const size = type === '1' ? 0 : (paxSize ?? headerSize);
    const name = (path ?? nameOf(this.block)).replace(/^(\.?\/+)+/, '').replace(/\/+$/, '');
    const entry: TarEntry = { name: name === '.' ? '' : name, type, size };
    const wanted = this.visitor.onEntry(entry);
    if (type === 'S') {
      this.afterSparse = size;
      this.sparseHeaders = this.block[482] === 1;
    } else if (wanted) {
      this.keep(size, MAX_EXTENDED, (content) => {
        this.visitor.onContent(entry, content);
      });
    } else {
      this.skipLeft = padded(size);
    }
  }

  private keep(size: number, limit: number, done: (content: Buffer) => void): void {
    if (size > limit) {
      throw new Fault('bad_request', `the archive has a header or description of ${String(size)} bytes`);
    }
    if (size === 0) done(Buffer.alloc(0));
    else this.body = { into: Buffer.alloc(size), filled: 0, done };
  }
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function padded(size: number): number {
  return size + padding(size);
}

function cString(buffer: Buffer): string {
  const end = buffer.indexOf(0);
  return buffer.toString('utf8', 0, end < 0 ? buffer.length : end);
}

function nameOf(block: Buffer): string {
  const name = cString(block.subarray(0, 100));
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? cString(block.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Octal text, or GNU's base-256 when the first bit is set. */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  let value = 0;
  if ((first & 0x80) !== 0) {
    value = first & 0x7f;
    for (let i = 1; i < length; i += 1) value = value * 256 + (block[at + i] ?? 0);
  } else {
    const text = block
      .toString('latin1', at, at + length)
      .replace(/[\0 ]+/g, ' ')
      .trim();
    value = text === '' ? 0 : /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : NaN;
  }
  if (!Number.isSafeInteger(value)) {
    throw new Fault('bad_request', 'the archive is damaged: an entry has no valid size');
  }
  return value;
}

/** `<length> <key>=<value>\n` records; only what changes where the next header is, and its name. */
function paxRecords(content: Buffer): Partial<Extended> {
  const found: Partial<Extended> = {};
  let at = 0;
  while (at < content.length) {
    const space = content.indexOf(0x20, at);
    const length = space < 0 ? NaN : Number(content.toString('latin1', at, space));
    if (!Number.isSafeInteger(length) || length <= 0 || at + length > content.length) {
      throw new Fault('bad_request', 'the archive is damaged: an extended header is wrong');
    }
    const record = content.toString('utf8', space + 1, at + length - 1);
    const eq = record.indexOf('=');
    const key = record.slice(0, eq);
    if (key === 'path' || key === 'GNU.sparse.name') found.path = record.slice(eq + 1);
    if (key === 'size') found.size = sizeRecord(record.slice(eq + 1));
    at += length;
  }
  return found;
}

function sizeRecord(text: string): number {
  const size = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(size)) throw new Fault('bad_request', 'the archive is damaged: a size is wrong');
  return size;
}
