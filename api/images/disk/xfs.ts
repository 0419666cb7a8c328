/**
 * Reads xfs, versions 4 and 5. Layout: "XFS Filesystem Structure"; numbers in
 * the code are offsets there. Big endian throughout. The log is not played
 * back: a file system that needs that is refused.
 */
import { kindOf } from './file-system.ts';
import type { DirectoryEntry, FileSystem, Inode, Run } from './file-system.ts';
import { RecentBuffers, damaged, refused, safe } from './source.ts';
import type { Source } from './source.ts';
import { xfsAttributes } from './xfs-attributes.ts';
import { blockEntries, shortEntries } from './xfs-directory.ts';
import { forkExtents } from './xfs-extents.ts';
import type { Extent } from './xfs-extents.ts';
import { assertUnmounted } from './xfs-log.ts';

const MAGIC = 0x58465342;
const INODE_MAGIC = 0x494e;
const CACHE_BYTES = 16 * 2 ** 20;
const MAX_DIRECTORY_BYTES = 256 * 2 ** 20;
/** Directories: names below this offset, hashes from here on. */
const LEAF_AT = 32 * 2 ** 30;
const FORMAT = { device: 0, local: 1, extents: 2, btree: 3 } as const;
const INCOMPATIBLE_READABLE = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80;
const INCOMPATIBLE = { fileType: 0x1, bigTime: 0x8, wideExtents: 0x20 } as const;
const FEATURES2_FILE_TYPE = 0x200;
/** Seconds before 1970 that big timestamps begin at. */
const BIG_EPOCH_S = 2 ** 31;
const REALTIME = 0x1;

export interface Fork {
  readonly format: number;
  readonly data: Buffer;
  readonly extents: number;
}

interface XfsInode extends Inode {
  readonly number: bigint;
  readonly data: Fork;
  readonly attributes: Fork | null;
  readonly isRealtime: boolean;
}

export function isXfs(source: Source): boolean {
  return source.size >= 4096 && source.read(0, 4).readUInt32BE(0) === MAGIC;
}

/** Fault bad_request when it is damaged or has features that are not known. */
export function openXfs(source: Source): FileSystem {
  const system = new Xfs(source);
  system.checkLog();
  return system;
}

export class Xfs implements FileSystem {
  readonly kind = 'xfs';
  readonly isV5: boolean;
  readonly blockBytes: number;
  readonly directoryBytes: number;
  readonly hasFileType: boolean;
  private readonly source: Source;
  private readonly groupBlocks: number;
  private readonly groupShift: number;
  private readonly perBlockShift: number;
  private readonly inodeBytes: number;
  private readonly rootNumber: bigint;
  private readonly incompatible: number;
  private readonly blocks = new RecentBuffers(CACHE_BYTES);
  private readonly known = new Map<bigint, XfsInode>();

  constructor(source: Source) {
    this.source = source;
    const head = source.read(0, 512);
    const version = head.readUInt16BE(100) & 0xf;
    this.isV5 = version === 5;
    this.blockBytes = head.readUInt32BE(4);
    this.rootNumber = head.readBigUInt64BE(56);
    this.groupBlocks = head.readUInt32BE(84);
    this.inodeBytes = head.readUInt16BE(104);
    this.perBlockShift = head.readUInt8(123);
    this.groupShift = head.readUInt8(124);
    this.directoryBytes = this.blockBytes * 2 ** head.readUInt8(192);
    this.incompatible = this.isV5 ? head.readUInt32BE(216) : 0;
    const features2 = head.readUInt32BE(200);
    this.hasFileType = this.isV5
      ? (this.incompatible & INCOMPATIBLE.fileType) !== 0
      : (features2 & FEATURES2_FILE_TYPE) !== 0;
    this.check(version, safe(head.readBigUInt64BE(8)));
  }

  get root(): Inode {
    return this.inode(this.rootNumber);
  }

  *entries(directory: Inode): Iterable<DirectoryEntry> {
    const own = this.own(directory);
    if (own.data.format === FORMAT.local) {
      for (const [name, number] of shortEntries(own.data.data, this.hasFileType)) {
        yield { name, inode: this.inode(number) };
      }
      return;
    }
    if (own.size > MAX_DIRECTORY_BYTES) throw damaged('a directory is impossibly large');
    for (const block of this.directoryBlocks(own)) {
      for (const [name, number] of blockEntries(block, this)) yield { name, inode: this.inode(number) };
    }
  }

  attributes(inode: Inode): Iterable<readonly [string, Buffer]> {
    const fork = this.own(inode).attributes;
    return fork === null ? [] : xfsAttributes(this, fork);
  }

  target(link: Inode): string {
    const own = this.own(link);
    if (own.size > 1024) throw damaged('a symbolic link is too long');
    if (own.data.format === FORMAT.local) return own.data.data.toString('latin1', 0, own.size);
    // Version 5 has a header in each block.
    const headBytes = this.isV5 ? 56 : 0;
    let text = '';
    for (const extent of this.extents(own.data)) {
      for (let i = 0; i < extent.count && text.length < own.size; i += 1) {
        const block = this.block(extent.physical + i);
        text += block.toString('latin1', headBytes, headBytes + own.size - text.length);
      }
    }
    return text;
  }

  runs(file: Inode): Run[] {
    const own = this.own(file);
    if (own.isRealtime) throw refused('it has files on an xfs realtime device');
    if (own.data.format === FORMAT.local) throw damaged('a file has its contents in its inode');
    const found: Run[] = [];
    for (const { logical, physical, count } of this.extents(own.data)) {
      const at = logical * this.blockBytes;
      const length = Math.min(count * this.blockBytes, own.size - at);
      if (length <= 0) break;
      const from = this.place(physical);
      found.push({ at, length, read: (offset, wanted) => this.source.read(from + offset, wanted) });
    }
    return found;
  }

  /** By its number as extents have it: group in the high bits. */
  block(number: number): Buffer {
    return this.blocks.get(number, () => this.source.read(this.place(number), this.blockBytes));
  }

  /** In order, and only what was written. */
  extents(fork: Fork): Extent[] {
    if (fork.format === FORMAT.local) return [];
    return forkExtents(this, fork, fork.format === FORMAT.btree);
  }

  /** Fault bad_request when the log holds what is missing elsewhere. */
  checkLog(): void {
    const head = this.source.read(0, 512);
    const start = safe(head.readBigUInt64BE(48));
    if (start === 0) throw refused('its xfs has its log on another device');
    assertUnmounted(this.source, this.place(start), head.readUInt32BE(96) * this.blockBytes);
  }

  private place(block: number): number {
    const size = 2 ** this.groupShift;
    return (Math.floor(block / size) * this.groupBlocks + (block % size)) * this.blockBytes;
  }

  private check(version: number, blocks: number): void {
    if (version !== 4 && version !== 5) throw refused(`xfs version ${String(version)} is not known`);
    const unknown = this.incompatible & ~INCOMPATIBLE_READABLE;
    if (unknown !== 0) {
      throw refused(`its xfs file system has features that are not known (0x${unknown.toString(16)})`);
    }
    const sizes = [this.blockBytes, this.inodeBytes];
    const arePowers = sizes.every(
      (size) => size >= 256 && size <= 65_536 && Number.isInteger(Math.log2(size)),
    );
    if (!arePowers || this.directoryBytes > 65_536 || this.groupShift > 31 || this.groupBlocks === 0) {
      throw damaged('the head of its xfs is impossible');
    }
    if (2 ** this.perBlockShift * this.inodeBytes !== this.blockBytes) throw damaged('its inodes do not fit');
    if (blocks * this.blockBytes > this.source.size) {
      throw damaged('it is cut short: its file system is larger than the disk it is on');
    }
  }

  private own(inode: Inode): XfsInode {
    return this.inode(BigInt(inode.id));
  }

  private inode(number: bigint): XfsInode {
    const known = this.known.get(number);
    if (known !== undefined) return known;
    const inGroup = BigInt(this.groupShift + this.perBlockShift);
    const group = safe(number >> inGroup);
    const rest = Number(number & ((1n << inGroup) - 1n));
    const block = Math.floor(rest / 2 ** this.perBlockShift);
    const index = rest % 2 ** this.perBlockShift;
    const raw = this.block(group * 2 ** this.groupShift + block).subarray(
      index * this.inodeBytes,
      (index + 1) * this.inodeBytes,
    );
    const inode = this.parse(number, Buffer.from(raw));
    if (this.known.size > 1000) this.known.clear();
    this.known.set(number, inode);
    return inode;
  }

  private parse(number: bigint, raw: Buffer): XfsInode {
    if (raw.readUInt16BE(0) !== INODE_MAGIC) throw damaged('an entry names an inode that there is not');
    const mode = raw.readUInt16BE(2);
    const version = raw.readUInt8(4);
    const core = version >= 3 ? 176 : 100;
    const forkAt = raw.readUInt8(82) * 8;
    if (core + forkAt > raw.length) throw damaged('an inode is broken');
    const flags2 = version >= 3 ? raw.readBigUInt64BE(120) : 0n;
    const areWide = (flags2 & 16n) !== 0n;
    return {
      number,
      id: number.toString(),
      kind: kindOf(mode),
      mode: mode & 0o7777,
      uid: raw.readUInt32BE(8),
      gid: raw.readUInt32BE(12),
      links: version === 1 ? raw.readUInt16BE(6) : raw.readUInt32BE(16),
      mtimeS: mtimeOf(raw, (flags2 & 8n) !== 0n),
      size: safe(raw.readBigUInt64BE(56)),
      isRealtime: (raw.readUInt16BE(90) & REALTIME) !== 0,
      data: {
        format: raw.readUInt8(5),
        data: raw.subarray(core, forkAt === 0 ? raw.length : core + forkAt),
        extents: areWide ? safe(raw.readBigUInt64BE(24)) : raw.readUInt32BE(76),
      },
      attributes:
        forkAt === 0
          ? null
          : {
              format: raw.readUInt8(83),
              data: raw.subarray(core + forkAt),
              extents: areWide ? raw.readUInt32BE(76) : raw.readUInt16BE(80),
            },
    };
  }

  /** Each as long as the file system wants directory blocks to be. */
  private *directoryBlocks(directory: XfsInode): Iterable<Buffer> {
    const perBlock = this.directoryBytes / this.blockBytes;
    let parts: Buffer[] = [];
    let first = -1;
    for (const extent of this.extents(directory.data)) {
      for (let i = 0; i < extent.count; i += 1) {
        const logical = extent.logical + i;
        if (logical * this.blockBytes >= LEAF_AT) return;
        const index = Math.floor(logical / perBlock);
        if (index !== first) parts = [];
        first = index;
        parts.push(this.block(extent.physical + i));
        if (parts.length === perBlock)
          yield parts.length === 1 ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts);
      }
    }
  }
}

function mtimeOf(raw: Buffer, isBig: boolean): number {
  if (!isBig) return raw.readInt32BE(40);
  return Math.floor(Number(raw.readBigUInt64BE(40)) / 1e9) - BIG_EPOCH_S;
}
