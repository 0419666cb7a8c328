/**
 * The disk inside a qcow2 file (versions 2 and 3), read cluster by cluster;
 * nothing is written anywhere.
 *
 * The file is somebody else's. One that names another file (backing file,
 * external data) is refused: it would show its sender a file of this host.
 * Tables are believed only as far as they stay inside the file.
 */
import { constants, inflateRawSync } from 'node:zlib';
import { RecentBuffers, assertInside, damaged, refused, safe } from './source.ts';
import type { Source } from './source.ts';
import { unzstd } from './zstd.ts';

const MAGIC = 0x514649fb;
/** Up to and with the type of compression. */
const HEADER_BYTES = 105;
/** The same bound as qemu's. */
const MAX_L1_BYTES = 32 * 2 ** 20;
const CACHE_BYTES = 32 * 2 ** 20;

const INCOMPATIBLE = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalData: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
} as const;
const READABLE = INCOMPATIBLE.dirty | INCOMPATIBLE.compressionType;

/** Bits of a table entry that hold an offset; the lowest nine are always zero in it. */
const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n;
const COMPRESSED = 1n << 62n;
const ALL_ZERO = 1n;

interface Header {
  readonly clusterBits: number;
  readonly size: number;
  readonly l1Entries: number;
  readonly l1At: number;
  readonly compression: 'zlib' | 'zstd';
  readonly version: number;
}

export function isQcow2(head: Buffer): boolean {
  return head.length >= 4 && head.readUInt32BE(0) === MAGIC;
}

/** Fault bad_request for what is damaged, encrypted, or refers to other files. */
export function openQcow2(file: Source): Qcow2 {
  if (file.size < 72) throw damaged('the qcow2 file is cut short');
  const head = Buffer.alloc(HEADER_BYTES);
  file.read(0, Math.min(file.size, HEADER_BYTES)).copy(head);
  return new Qcow2(file, readHeader(head));
}

function readHeader(head: Buffer): Header {
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw refused(`qcow2 version ${String(version)} is not known`);
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw damaged('the qcow2 has an impossible cluster size');
  if (head.readBigUInt64BE(8) !== 0n) {
    throw refused('the qcow2 has a backing file; flatten it first (qemu-img convert -O qcow2)');
  }
  if (head.readUInt32BE(32) !== 0) throw refused('the qcow2 is encrypted');
  return {
    version,
    clusterBits,
    size: safe(head.readBigUInt64BE(24)),
    l1Entries: head.readUInt32BE(36),
    l1At: safe(head.readBigUInt64BE(40)),
    compression: version === 3 ? features(head) : 'zlib',
  };
}

function features(head: Buffer): Header['compression'] {
  const bits = head.readBigUInt64BE(72);
  if ((bits & INCOMPATIBLE.externalData) !== 0n) {
    throw refused('the qcow2 keeps its data in another file; convert it first (qemu-img convert -O qcow2)');
  }
  if ((bits & INCOMPATIBLE.corrupt) !== 0n) throw damaged('the qcow2 itself is marked as corrupt');
  if ((bits & INCOMPATIBLE.extendedL2) !== 0n) {
    throw refused('the qcow2 has extended L2 entries; convert it without them');
  }
  if ((bits & ~READABLE) !== 0n) throw refused('the qcow2 uses features that are not known');
  const type = (bits & INCOMPATIBLE.compressionType) === 0n ? 0 : head.readUInt8(104);
  return type === 0 ? 'zlib' : compressionOf(type);
}

function compressionOf(type: number): Header['compression'] {
  if (type === 1) return 'zstd';
  throw refused(`compression type ${String(type)} of the qcow2 is not known`);
}

export class Qcow2 implements Source {
  readonly size: number;
  private readonly file: Source;
  private readonly header: Header;
  private readonly clusterBytes: number;
  /** Clusters that one L2 table tells of. */
  private readonly perTable: number;
  private readonly l1: Buffer;
  private readonly tables = new RecentBuffers(CACHE_BYTES);
  private readonly inflated = new RecentBuffers(CACHE_BYTES);

  constructor(file: Source, header: Header) {
    this.file = file;
    this.header = header;
    this.size = header.size;
    this.clusterBytes = 2 ** header.clusterBits;
    this.perTable = this.clusterBytes / 8;
    const needed = Math.ceil(this.size / this.clusterBytes / this.perTable);
    if (header.l1Entries * 8 > MAX_L1_BYTES || needed > header.l1Entries) {
      throw damaged('the first table of the qcow2 does not fit its size');
    }
    this.l1 = file.read(header.l1At, needed * 8);
  }

  read(at: number, length: number): Buffer {
    assertInside(this, at, length);
    const out = Buffer.alloc(length);
    let done = 0;
    while (done < length) {
      const inCluster = (at + done) % this.clusterBytes;
      const n = Math.min(length - done, this.clusterBytes - inCluster);
      this.copy(at + done, n, out, done);
      done += n;
    }
    return out;
  }

  /** Looks at every table: each cluster must begin inside the file. */
  check(): void {
    const clusters = Math.ceil(this.size / this.clusterBytes);
    for (let i = 0; i < clusters; i += this.perTable) {
      const table = this.table(Math.floor(i / this.perTable));
      if (table === null) continue;
      const used = Math.min(this.perTable, clusters - i);
      for (let k = 0; k < used; k += 1) this.hostOffset(table.readBigUInt64BE(k * 8));
    }
  }

  /** Bytes `at`..`at + length` lie in one cluster. */
  private copy(at: number, length: number, out: Buffer, to: number): void {
    const cluster = Math.floor(at / this.clusterBytes);
    const table = this.table(Math.floor(cluster / this.perTable));
    if (table === null) return;
    const entry = table.readBigUInt64BE((cluster % this.perTable) * 8);
    const inCluster = at % this.clusterBytes;
    if ((entry & COMPRESSED) !== 0n) {
      const plain = this.inflated.get(cluster, () => this.inflate(entry));
      plain.copy(out, to, inCluster, inCluster + length);
      return;
    }
    const from = this.hostOffset(entry);
    if (from === null) return;
    // What is missing of a last cluster is zeros, as for qemu.
    const there = Math.max(0, Math.min(length, this.file.size - from - inCluster));
    this.file.read(from + inCluster, there).copy(out, to);
  }

  private table(index: number): Buffer | null {
    const at = safe(this.l1.readBigUInt64BE(index * 8) & OFFSET_MASK);
    if (at === 0) return null;
    if (at % this.clusterBytes !== 0) throw damaged('a table of the qcow2 lies askew');
    return this.tables.get(at, () => this.file.read(at, this.clusterBytes));
  }

  /** Where a cluster lies in the file; null when it is all zeros. */
  private hostOffset(entry: bigint): number | null {
    if ((entry & COMPRESSED) !== 0n) {
      const { at } = this.compressedAt(entry);
      if (at >= this.file.size) throw damaged('a cluster of the qcow2 lies beyond the end of its file');
      return at;
    }
    if (this.header.version >= 3 && (entry & ALL_ZERO) !== 0n) return null;
    const at = safe(entry & OFFSET_MASK);
    if (at === 0) return null;
    if (at % this.clusterBytes !== 0) throw damaged('a cluster of the qcow2 lies askew');
    if (at >= this.file.size) throw damaged('a cluster of the qcow2 lies beyond the end of its file');
    return at;
  }

  private compressedAt(entry: bigint): { at: number; length: number } {
    const bits = BigInt(62 - (this.header.clusterBits - 8));
    const at = safe(entry & ((1n << bits) - 1n));
    const sectors = Number((entry & (COMPRESSED - 1n)) >> bits) + 1;
    return { at, length: sectors * 512 - (at % 512) };
  }

  private inflate(entry: bigint): Buffer {
    const { at, length } = this.compressedAt(entry);
    const packed = this.file.read(at, Math.max(0, Math.min(length, this.file.size - at)));
    let plain: Buffer;
    try {
      plain =
        this.header.compression === 'zstd'
          ? unzstd(packed, this.clusterBytes)
          : inflateRawSync(packed, {
              maxOutputLength: this.clusterBytes,
              // The length is counted in sectors: something else may follow.
              finishFlush: constants.Z_SYNC_FLUSH,
            });
    } catch (err) {
      throw damaged(`a compressed cluster of the qcow2 cannot be read (${String(err).slice(0, 80)})`);
    }
    if (plain.length !== this.clusterBytes) throw damaged('a compressed cluster of the qcow2 is too short');
    return plain;
  }
}
