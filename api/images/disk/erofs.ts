/**
 * Reads erofs whose files are not compressed. Layout: the kernel's
 * erofs_fs.h; numbers in the code are offsets there. Little endian.
 */
import { kindOf } from './file-system.ts';
import type { DirectoryEntry, FileSystem, Inode, Run } from './file-system.ts';
import { damaged, refused, safe } from './source.ts';
import type { Source } from './source.ts';

const SUPER_AT = 1024;
const MAGIC = 0xe0f5e1e2;
/** What has to do with compression does not matter to files that are not compressed. */
const UNREADABLE = { devices: 0x8, wide: 0x80 } as const;
const LAYOUT = { plain: 0, inline: 2, chunks: 4 } as const;
const SLOT_BYTES = 32;
const ENTRY_BYTES = 12;
const MAX_DIRECTORY_BYTES = 256 * 2 ** 20;
const MAX_CHUNKS = 4_000_000;
const HOLE = 0xffffffff;
const PREFIXES: Readonly<Record<number, string>> = { 1: 'user.', 4: 'trusted.', 6: 'security.' };
const ATTRIBUTES_HEAD = 12;

interface ErofsInode extends Inode {
  readonly layout: number;
  readonly place: number;
  /** Where its attributes begin, and where what follows them does. */
  readonly attributesAt: number;
  readonly attributesBytes: number;
}

export function isErofs(source: Source): boolean {
  return source.size >= 4096 && source.read(SUPER_AT, 4).readUInt32LE(0) === MAGIC;
}

/** Fault bad_request when it is damaged or has features that are not known. */
export function openErofs(source: Source): FileSystem {
  return new Erofs(source);
}

class Erofs implements FileSystem {
  readonly kind = 'erofs';
  private readonly source: Source;
  private readonly blockBytes: number;
  private readonly inodesAt: number;
  private readonly sharedAt: number;
  private readonly builtS: number;
  private readonly rootNumber: number;

  constructor(source: Source) {
    this.source = source;
    const head = source.read(SUPER_AT, 128);
    const bits = head.readUInt8(12);
    const features = head.readUInt32LE(80);
    // Two meanings of one bit: with no device there is no table of devices.
    const hasDevices = (features & UNREADABLE.devices) !== 0 && head.readUInt16LE(86) !== 0;
    if (bits < 9 || bits > 16) throw damaged('the head of its erofs is impossible');
    if (hasDevices || (features & UNREADABLE.wide) !== 0 || features > 0xff) {
      throw refused(`its erofs has features that are not known (0x${features.toString(16)})`);
    }
    this.blockBytes = 2 ** bits;
    this.rootNumber = head.readUInt16LE(14);
    this.builtS = safe(head.readBigUInt64LE(24));
    this.inodesAt = head.readUInt32LE(40) * this.blockBytes;
    this.sharedAt = head.readUInt32LE(44) * this.blockBytes;
    if (head.readUInt32LE(36) * this.blockBytes > source.size) {
      throw damaged('it is cut short: its file system is larger than the disk it is on');
    }
  }

  get root(): Inode {
    return this.inode(this.rootNumber);
  }

  *entries(directory: Inode): Iterable<DirectoryEntry> {
    if (directory.size > MAX_DIRECTORY_BYTES) throw damaged('a directory is impossibly large');
    const content = this.whole(directory);
    for (let at = 0; at < content.length; at += this.blockBytes) {
      yield* this.entriesIn(content.subarray(at, at + this.blockBytes));
    }
  }

  *attributes(inode: Inode): Iterable<readonly [string, Buffer]> {
    const own = inode as ErofsInode; // all of ours are
    if (own.attributesBytes === 0) return;
    const area = this.source.read(own.attributesAt, own.attributesBytes);
    const shared = area.readUInt8(4);
    let at = ATTRIBUTES_HEAD;
    for (let i = 0; i < shared; i += 1, at += 4) {
      const place = this.sharedAt + area.readUInt32LE(at) * 4;
      const head = this.source.read(place, 4);
      const length = 4 + head.readUInt8(0) + head.readUInt16LE(2);
      yield* attribute(this.source.read(place, length));
    }
    while (at + 4 < area.length) {
      const length = 4 + area.readUInt8(at) + area.readUInt16LE(at + 2);
      if (at + length > area.length) throw damaged('the extended attributes of a file are broken');
      yield* attribute(area.subarray(at, at + length));
      at += Math.ceil(length / 4) * 4;
    }
  }

  target(link: Inode): string {
    if (link.size > 4096) throw damaged('a symbolic link is too long');
    return this.whole(link).toString('latin1');
  }

  runs(file: Inode): Run[] {
    const own = file as ErofsInode; // all of ours are
    if (own.size === 0) return [];
    switch (own.layout) {
      case LAYOUT.plain:
        return [this.run(0, own.place * this.blockBytes, own.size)];
      case LAYOUT.inline: {
        const whole = Math.floor((own.size - 1) / this.blockBytes) * this.blockBytes;
        const tail = this.run(whole, own.attributesAt + own.attributesBytes, own.size - whole);
        return whole === 0 ? [tail] : [this.run(0, own.place * this.blockBytes, whole), tail];
      }
      case LAYOUT.chunks:
        return this.chunks(own);
      default:
        throw refused('its erofs is compressed; make it without compression, or send a tar archive');
    }
  }

  private run(at: number, from: number, length: number): Run {
    return { at, length, read: (offset, wanted) => this.source.read(from + offset, wanted) };
  }

  private chunks(inode: ErofsInode): Run[] {
    const chunkBytes = this.blockBytes * 2 ** (inode.place & 0x1f);
    const width = (inode.place & 0x20) !== 0 ? 8 : 4;
    const count = Math.ceil(inode.size / chunkBytes);
    if (count > MAX_CHUNKS) throw damaged('a file of it is in impossibly many pieces');
    const at = Math.ceil((inode.attributesAt + inode.attributesBytes) / width) * width;
    const map = this.source.read(at, count * width);
    const found: Run[] = [];
    for (let i = 0; i < count; i += 1) {
      const place = map.readUInt32LE(i * width + (width - 4));
      const length = Math.min(chunkBytes, inode.size - i * chunkBytes);
      if (place !== HOLE) found.push(this.run(i * chunkBytes, place * this.blockBytes, length));
    }
    return found;
  }

  private whole(inode: Inode): Buffer {
    const out = Buffer.alloc(inode.size);
    for (const run of this.runs(inode)) run.read(0, run.length).copy(out, run.at);
    return out;
  }

  private *entriesIn(block: Buffer): Iterable<DirectoryEntry> {
    const first = block.readUInt16LE(8);
    if (first % ENTRY_BYTES !== 0 || first === 0) throw damaged('a directory of it is broken');
    for (let at = 0; at < first; at += ENTRY_BYTES) {
      const from = block.readUInt16LE(at + 8);
      const to = at + ENTRY_BYTES < first ? block.readUInt16LE(at + ENTRY_BYTES + 8) : block.length;
      if (to < from || to > block.length) throw damaged('a directory of it is broken');
      // The last name may be followed by zeros.
      const name = block.toString('latin1', from, to).replace(/\0.*$/s, '');
      if (name === '.' || name === '..') continue;
      yield { name, inode: this.inode(safe(block.readBigUInt64LE(at))) };
    }
  }

  private inode(number: number): ErofsInode {
    const at = this.inodesAt + number * SLOT_BYTES;
    const format = this.source.read(at, 2).readUInt16LE(0);
    const isLong = (format & 1) === 1;
    const raw = this.source.read(at, isLong ? 64 : 32);
    const slots = raw.readUInt16LE(2);
    const mode = raw.readUInt16LE(4);
    return {
      id: String(number),
      kind: kindOf(mode),
      mode: mode & 0o7777,
      uid: isLong ? raw.readUInt32LE(24) : raw.readUInt16LE(24),
      gid: isLong ? raw.readUInt32LE(28) : raw.readUInt16LE(26),
      links: isLong ? raw.readUInt32LE(44) : raw.readUInt16LE(6),
      mtimeS: isLong ? safe(raw.readBigUInt64LE(32)) : this.builtS,
      size: isLong ? safe(raw.readBigUInt64LE(8)) : raw.readUInt32LE(8),
      layout: (format >>> 1) & 7,
      place: raw.readUInt32LE(16),
      attributesAt: at + raw.length,
      attributesBytes: slots === 0 ? 0 : ATTRIBUTES_HEAD + (slots - 1) * 4,
    };
  }
}

/** None for one whose kind of name is not known. */
function* attribute(entry: Buffer): Iterable<readonly [string, Buffer]> {
  const prefix = PREFIXES[entry.readUInt8(1)];
  const nameEnd = 4 + entry.readUInt8(0);
  if (prefix !== undefined) yield [prefix + entry.toString('latin1', 4, nameEnd), entry.subarray(nameEnd)];
}
