/** Bytes of somebody else's disk, read where they are wanted. All reading here is synchronous: it is done in a process of its own. */
import { readSync } from 'node:fs';
import { Fault } from '../../../process/fault.ts';

export interface Source {
  /** Bytes. */
  readonly size: number;
  /** Exactly `length` bytes. Fault bad_request when they lie outside. */
  read(at: number, length: number): Buffer;
}

export const SECTOR_BYTES = 512;

/** Nothing that a disk says makes us take more memory than this at once. */
export const MOST_AT_ONCE = 64 * 2 ** 20;

export function damaged(what: string): Fault {
  return new Fault('bad_request', `the image is damaged: ${what}`);
}

export function refused(what: string): Fault {
  return new Fault('bad_request', `the image cannot be used: ${what}`);
}

/** Throws unless this range is one, inside, and not absurdly long. */
export function assertInside(source: Source, at: number, length: number): void {
  const isRange = Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0;
  if (!isRange || length > MOST_AT_ONCE || at + length > source.size) {
    throw damaged(`it names ${String(length)} bytes at ${String(at)}, and ends at ${String(source.size)}`);
  }
}

/** An open file. */
export class FileSource implements Source {
  readonly size: number;
  private readonly fd: number;

  constructor(fd: number, size: number) {
    this.fd = fd;
    this.size = size;
  }

  read(at: number, length: number): Buffer {
    assertInside(this, at, length);
    const buffer = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const got = readSync(this.fd, buffer, filled, length - filled, at + filled);
      if (got === 0) throw damaged('its file is shorter than it was');
      filled += got;
    }
    return buffer;
  }
}

/** A part of another source, such as a partition. */
export class SliceSource implements Source {
  readonly size: number;
  private readonly whole: Source;
  private readonly from: number;

  constructor(whole: Source, from: number, size: number) {
    this.whole = whole;
    this.from = from;
    this.size = size;
  }

  read(at: number, length: number): Buffer {
    assertInside(this, at, length);
    return this.whole.read(this.from + at, length);
  }
}

/** The latest of what was read, up to a number of bytes. */
export class RecentBuffers {
  private readonly kept = new Map<number, Buffer>();
  private readonly limit: number;
  private bytes = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get(key: number, make: () => Buffer): Buffer {
    const known = this.kept.get(key);
    if (known !== undefined) {
      this.kept.delete(key);
      this.kept.set(key, known);
      return known;
    }
    const made = make();
    this.kept.set(key, made);
    this.bytes += made.length;
    for (const [oldest, buffer] of this.kept) {
      if (this.bytes <= this.limit || oldest === key) break;
      this.kept.delete(oldest);
      this.bytes -= buffer.length;
    }
    return made;
  }
}

/** A number of 64 bits that must be an ordinary one. */
export function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged('a number in it is far too large');
  return Number(value);
}
