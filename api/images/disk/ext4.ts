/**
 * Reads ext2, ext3 and ext4. The layout is the kernel documentation's
 * ("ext4 Data Structures and Algorithms"); numbers in the code are offsets there.
 */
import { attributesIn } from './ext4-attributes.ts';
import { mappedRuns } from './ext4-blocks.ts';
import { replayJournal } from './ext4-journal.ts';
import { kindOf } from './file-system.ts';
import type { DirectoryEntry, FileSystem, Inode, Run } from './file-system.ts';
import { RecentBuffers, damaged, refused } from './source.ts';
import type { Source } from './source.ts';

const SUPER_AT = 1024;
const MAGIC = 0xef53;
const ROOT_INODE = 2;
const JOURNAL_INODE = 8;
const CACHE_BYTES = 16 * 2 ** 20;
const MAX_DIRECTORY_BYTES = 256 * 2 ** 20;

const INCOMPATIBLE = {
  compression: 0x1,
  fileType: 0x2,
  recover: 0x4,
  journalDevice: 0x8,
  metaGroups: 0x10,
  wide: 0x80,
} as const;
/** Also: extents, mmp, flex_bg, ea_inode, dirdata, csum_seed, largedir, inline_data, encrypt, casefold. */
const READABLE =
  0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000;
const SPARSE_SUPER = 0x1;

const FLAG = { encrypted: 0x800, extents: 0x80000, inline: 0x10000000 } as const;
/** A target this short stands in the inode itself. */
const FAST_LINK_BYTES = 60;

/** An inode with what only this file needs of it. */
interface Ext4Inode extends Inode {
  readonly flags: number;
  /** i_block: sixty bytes of block map, extent tree, short target or contents. */
  readonly block: Buffer;
  readonly raw: Buffer;
  readonly attributeBlock: number;
}

export function isExt4(source: Source): boolean {
  if (source.size < 4096) return false;
  return source.read(SUPER_AT, 1024).readUInt16LE(0x38) === MAGIC;
}

/** Fault bad_request when it is damaged or has features that are not known. */
export function openExt4(source: Source): FileSystem {
  const system = new Ext4(source);
  system.recover();
  return system;
}

class Ext4 implements FileSystem {
  readonly kind = 'ext4';
  private readonly source: Source;
  private readonly super: Buffer;
  readonly blockBytes: number;
  private readonly incompatible: number;
  private readonly inodeBytes: number;
  private readonly inodeCount: number;
  private readonly inodesPerGroup: number;
  private readonly descriptorBytes: number;
  private readonly tables = new RecentBuffers(CACHE_BYTES);
  private readonly known = new Map<number, Ext4Inode>();
  /** Blocks whose newest version is still in the journal, and where it is. */
  private replayed: ReadonlyMap<number, Buffer> = new Map();

  constructor(source: Source) {
    this.source = source;
    this.super = source.read(SUPER_AT, 1024);
    const exponent = this.super.readUInt32LE(0x18);
    if (exponent > 6) throw damaged('its block size is impossible');
    this.blockBytes = 1024 * 2 ** exponent;
    this.incompatible = this.super.readUInt32LE(0x60);
    this.inodeBytes = this.super.readUInt32LE(0x4c) === 0 ? 128 : this.super.readUInt16LE(0x58);
    this.inodeCount = this.super.readUInt32LE(0x00);
    this.inodesPerGroup = this.super.readUInt32LE(0x28);
    this.descriptorBytes = this.has(INCOMPATIBLE.wide) ? this.super.readUInt16LE(0xfe) : 32;
    this.checkSuper();
  }

  get root(): Inode {
    return this.inode(ROOT_INODE);
  }

  *entries(directory: Inode): Iterable<DirectoryEntry> {
    const own = this.own(directory);
    if ((own.flags & FLAG.encrypted) !== 0) throw refused('it has encrypted directories');
    for (const block of this.directoryBlocks(own)) yield* this.entriesIn(block);
  }

  *attributes(inode: Inode): Iterable<readonly [string, Buffer]> {
    for (const [name, value] of this.allAttributes(this.own(inode))) {
      if (name !== 'system.data') yield [name, value];
    }
  }

  target(link: Inode): string {
    const own = this.own(link);
    if (own.size > 4096 || (own.flags & FLAG.encrypted) !== 0) throw damaged('a symbolic link is too long');
    if ((own.flags & FLAG.inline) === 0 && (own.flags & FLAG.extents) === 0 && own.size < FAST_LINK_BYTES) {
      return own.block.toString('latin1', 0, own.size);
    }
    return this.whole(own).toString('latin1');
  }

  runs(file: Inode): Run[] {
    const own = this.own(file);
    if ((own.flags & FLAG.encrypted) !== 0) throw refused('it has encrypted files');
    if ((own.flags & FLAG.inline) !== 0) {
      const content = this.inlineContent(own);
      return content.length === 0
        ? []
        : [{ at: 0, length: content.length, read: (from, length) => content.subarray(from, from + length) }];
    }
    const isTree = (own.flags & FLAG.extents) !== 0;
    const found: Run[] = [];
    for (const piece of mappedRuns(this, own.block, isTree)) {
      const at = piece.logical * this.blockBytes;
      // Blocks may be kept beyond the end of a file.
      const length = Math.min(piece.count * this.blockBytes, own.size - at);
      if (length <= 0) break;
      found.push({
        at,
        length,
        read: (from, wanted) => this.bytes(piece.physical * this.blockBytes + from, wanted),
      });
    }
    return found;
  }

  /** One block, in its newest version. */
  block(number: number): Buffer {
    return this.bytes(number * this.blockBytes, this.blockBytes);
  }

  /** Takes in what the journal holds and the file system does not have yet. */
  recover(): void {
    if (!this.has(INCOMPATIBLE.recover)) return;
    const journal = this.inode(this.super.readUInt32LE(0xe0) || JOURNAL_INODE);
    const pieces = mappedRuns(this, journal.block, (journal.flags & FLAG.extents) !== 0);
    this.replayed = replayJournal(this, pieces);
    this.known.clear();
  }

  /** Bytes of the file system, blocks out of the journal in place of their old versions. */
  private bytes(at: number, length: number): Buffer {
    const plain = this.source.read(at, length);
    if (this.replayed.size === 0) return plain;
    const first = Math.floor(at / this.blockBytes);
    const last = Math.floor((at + length - 1) / this.blockBytes);
    for (let number = first; number <= last; number += 1) {
      const newer = this.replayed.get(number);
      if (newer === undefined) continue;
      const offset = number * this.blockBytes - at;
      newer.copy(
        plain,
        Math.max(0, offset),
        Math.max(0, -offset),
        Math.min(this.blockBytes, length - offset),
      );
    }
    return plain;
  }

  private checkSuper(): void {
    const unknown = this.incompatible & ~READABLE;
    if (unknown !== 0) {
      throw refused(`its ext4 file system has features that are not known (0x${unknown.toString(16)})`);
    }
    const { inodeBytes, descriptorBytes } = this;
    if (inodeBytes < 128 || inodeBytes > this.blockBytes || inodeBytes % 4 !== 0)
      throw damaged('the size of its inodes is impossible');
    if (descriptorBytes < 32 || descriptorBytes > 1024 || this.inodesPerGroup === 0)
      throw damaged('its block groups are impossible');
    const high = this.has(INCOMPATIBLE.wide) ? this.super.readUInt32LE(0x150) : 0;
    const blocks = high * 2 ** 32 + this.super.readUInt32LE(0x04);
    if (blocks * this.blockBytes > this.source.size) {
      throw damaged('it is cut short: its file system is larger than the disk it is on');
    }
  }

  private has(feature: number): boolean {
    return (this.incompatible & feature) !== 0;
  }

  private own(inode: Inode): Ext4Inode {
    return this.inode(Number(inode.id));
  }

  private inode(number: number): Ext4Inode {
    const known = this.known.get(number);
    if (known !== undefined) return known;
    if (number < 1 || number > this.inodeCount) throw damaged('an entry names an inode that there is not');
    const group = Math.floor((number - 1) / this.inodesPerGroup);
    const at =
      this.inodeTable(group) * this.blockBytes + ((number - 1) % this.inodesPerGroup) * this.inodeBytes;
    const start = Math.floor(at / this.blockBytes);
    const block = this.tables.get(start, () => this.block(start));
    const raw = block.subarray(at % this.blockBytes, (at % this.blockBytes) + this.inodeBytes);
    const inode = parseInode(number, Buffer.from(raw));
    // Asked for again and again while one file is looked at.
    if (this.known.size > 1000) this.known.clear();
    this.known.set(number, inode);
    return inode;
  }

  /** Block number of a group's inode table. */
  private inodeTable(group: number): number {
    const perBlock = Math.floor(this.blockBytes / this.descriptorBytes);
    const index = Math.floor(group / perBlock);
    const place = this.descriptorBlock(index, perBlock);
    const block = this.tables.get(place, () => this.block(place));
    const at = (group % perBlock) * this.descriptorBytes;
    const high = this.descriptorBytes >= 64 ? block.readUInt32LE(at + 0x28) : 0;
    return high * 2 ** 32 + block.readUInt32LE(at + 0x08);
  }

  private descriptorBlock(index: number, perBlock: number): number {
    const first = this.super.readUInt32LE(0x14);
    if (!this.has(INCOMPATIBLE.metaGroups) || index < this.super.readUInt32LE(0x104))
      return first + 1 + index;
    const group = index * perBlock;
    const start = first + group * this.super.readUInt32LE(0x20);
    return start + (this.hasSuper(group) ? 1 : 0);
  }

  /** Copies of the superblock are in groups 0, 1 and the powers of 3, 5 and 7, unless in all. */
  private hasSuper(group: number): boolean {
    if (group <= 1 || (this.super.readUInt32LE(0x64) & SPARSE_SUPER) === 0) return true;
    return [3, 5, 7].some((base) => {
      let power: number = base;
      while (power < group) power *= base;
      return power === group;
    });
  }

  private whole(inode: Ext4Inode): Buffer {
    const out = Buffer.alloc(inode.size);
    for (const run of this.runs(inode)) run.read(0, run.length).copy(out, run.at);
    return out;
  }

  private *directoryBlocks(directory: Ext4Inode): Iterable<Buffer> {
    if (directory.size > MAX_DIRECTORY_BYTES) throw damaged('a directory is impossibly large');
    if ((directory.flags & FLAG.inline) !== 0) {
      // The first four bytes are the number of the parent.
      yield directory.block.subarray(4);
      const more = this.inlineRest(directory);
      if (more.length > 0) yield more;
      return;
    }
    for (const run of this.runs(directory)) {
      for (let at = 0; at + this.blockBytes <= run.length; at += this.blockBytes) {
        yield run.read(at, this.blockBytes);
      }
    }
  }

  private *entriesIn(block: Buffer): Iterable<DirectoryEntry> {
    const hasType = this.has(INCOMPATIBLE.fileType);
    let at = 0;
    while (at + 8 <= block.length) {
      const number = block.readUInt32LE(at);
      const stored = block.readUInt16LE(at + 4);
      // The largest block does not fit into the field.
      const length = stored === 0xffff || stored === 0 ? block.length - at : stored;
      const nameBytes = hasType ? block.readUInt8(at + 6) : block.readUInt16LE(at + 6);
      if (length < 8 || at + length > block.length) throw damaged('a directory of it is broken');
      if (number !== 0) {
        if (8 + nameBytes > length) throw damaged('a directory of it is broken');
        const name = block.toString('latin1', at + 8, at + 8 + nameBytes);
        if (name !== '.' && name !== '..') yield { name, inode: this.inode(number) };
      }
      at += length;
    }
  }

  private inlineContent(inode: Ext4Inode): Buffer {
    const all = Buffer.concat([inode.block, this.inlineRest(inode)]);
    return all.subarray(0, Math.min(inode.size, all.length));
  }

  private inlineRest(inode: Ext4Inode): Buffer {
    for (const [name, value] of this.allAttributes(inode)) if (name === 'system.data') return value;
    return Buffer.alloc(0);
  }

  private allAttributes(inode: Ext4Inode): Iterable<readonly [string, Buffer]> {
    const block = inode.attributeBlock === 0 ? null : this.block(inode.attributeBlock);
    return attributesIn(inode.raw, block, (number, size) => {
      const holder = this.inode(number);
      if (holder.kind !== 'file' || holder.size !== size) throw damaged('an extended attribute is broken');
      return this.whole(holder);
    });
  }
}

function parseInode(number: number, raw: Buffer): Ext4Inode {
  const mode = raw.readUInt16LE(0x00);
  const kind = kindOf(mode);
  const low = raw.readUInt32LE(0x04);
  const size = raw.readUInt32LE(0x6c) * 2 ** 32 + low;
  if (!Number.isSafeInteger(size)) throw damaged('a file of it is impossibly large');
  return {
    id: String(number),
    kind,
    mode: mode & 0o7777,
    uid: raw.readUInt16LE(0x78) * 65_536 + raw.readUInt16LE(0x02),
    gid: raw.readUInt16LE(0x7a) * 65_536 + raw.readUInt16LE(0x18),
    mtimeS: raw.readInt32LE(0x10) + epochOf(raw),
    links: raw.readUInt16LE(0x1a),
    size: kind === 'symlink' ? low : size,
    flags: raw.readUInt32LE(0x20),
    block: raw.subarray(0x28, 0x28 + 60),
    raw,
    attributeBlock: raw.readUInt16LE(0x76) * 2 ** 32 + raw.readUInt32LE(0x68),
  };
}

/** Two more bits of the time of change, where the inode is large enough. */
function epochOf(raw: Buffer): number {
  const isThere = raw.length > 0x8c && raw.readUInt16LE(0x80) >= 0x0c;
  return isThere ? (raw.readUInt32LE(0x88) & 3) * 2 ** 32 : 0;
}
