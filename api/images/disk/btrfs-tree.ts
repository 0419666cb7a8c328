/** The trees of btrfs, and where their addresses lie on the disk. */
import { RecentBuffers, damaged, refused, safe } from './source.ts';
import type { Source } from './source.ts';

export const KEY = {
  inode: 1,
  attribute: 24,
  directoryItem: 84,
  directoryIndex: 96,
  extent: 108,
  rootItem: 132,
  chunk: 228,
} as const;

const CACHE_BYTES = 32 * 2 ** 20;
const UNPACKED_BYTES = 8 * 2 ** 20;
const NODE_HEAD = 101;
const ITEM_BYTES = 25;
const POINTER_BYTES = 33;
const MAX_LEVEL = 8;
/** Copies on one device (DUP) or none at all; striped and mirrored ones need several. */
const STRIPED = 0x8n | 0x10n | 0x40n | 0x80n | 0x100n | 0x200n | 0x400n;
/** All up to metadata uuid, and simple quotas; not: zones, another extent tree, a tree of stripes. */
const READABLE = 0x107ffn;

export interface Item {
  readonly offset: bigint;
  readonly data: Buffer;
}

export interface TreeRoot {
  readonly at: number;
  readonly level: number;
}

interface Wanted {
  readonly object: bigint;
  readonly type: number;
}

interface Chunk {
  readonly logical: number;
  readonly length: number;
  readonly physical: number;
}

export class BtrfsTree {
  readonly rootTree: TreeRoot;
  readonly sectorBytes: number;
  /** Extents that were compressed, by their address. */
  readonly unpacked = new RecentBuffers(UNPACKED_BYTES);
  private readonly source: Source;
  private readonly nodeBytes: number;
  private readonly chunks: Chunk[] = [];
  private readonly nodes = new RecentBuffers(CACHE_BYTES);

  constructor(source: Source, head: Buffer) {
    this.source = source;
    this.sectorBytes = head.readUInt32LE(144);
    this.nodeBytes = head.readUInt32LE(148);
    this.check(head);
    this.systemChunks(head.subarray(811, 811 + head.readUInt32LE(160)));
    const chunkTree = { at: safe(head.readBigUInt64LE(88)), level: head.readUInt8(199) };
    for (const [offset, data] of this.all(chunkTree, 256n, KEY.chunk)) this.addChunk(offset, data);
    this.rootTree = { at: safe(head.readBigUInt64LE(80)), level: head.readUInt8(198) };
  }

  /** Bytes at a logical address; they may span chunks. */
  bytes(at: number, length: number): Buffer {
    const chunk = this.chunkOf(at);
    const left = chunk.logical + chunk.length - at;
    const from = chunk.physical + at - chunk.logical;
    if (length <= left) return this.source.read(from, length);
    return Buffer.concat([this.source.read(from, left), this.bytes(at + left, length - left)]);
  }

  /** All items of one object and type, in order of their offset. */
  *items(tree: TreeRoot, object: bigint, type: number): Iterable<Item> {
    for (const [offset, data] of this.all(tree, object, type)) yield { offset, data };
  }

  private *all(tree: TreeRoot, object: bigint, type: number): Iterable<readonly [bigint, Buffer]> {
    if (tree.level > MAX_LEVEL) throw damaged('a tree of it is impossibly high');
    let last = -1n;
    for (const item of this.below(tree.at, tree.level, { object, type })) {
      if (item[0] <= last) throw damaged('a tree of it is out of order');
      last = item[0];
      yield item;
    }
  }

  private *below(at: number, level: number, wanted: Wanted): Iterable<readonly [bigint, Buffer]> {
    const { object, type } = wanted;
    const node = this.node(at, level);
    const count = node.readUInt32LE(96);
    const width = level === 0 ? ITEM_BYTES : POINTER_BYTES;
    const start = firstFrom(node, count, width, object, type);
    if (level === 0) {
      for (let i = start; i < count; i += 1) {
        const key = NODE_HEAD + i * width;
        if (node.readBigUInt64LE(key) !== object || node.readUInt8(key + 8) !== type) return;
        const from = NODE_HEAD + node.readUInt32LE(key + 17);
        const to = from + node.readUInt32LE(key + 21);
        if (to > node.length) throw damaged('a tree of it is broken');
        yield [node.readBigUInt64LE(key + 9), node.subarray(from, to)];
      }
      return;
    }
    // The child before may hold the first of them.
    for (let i = Math.max(0, start - 1); i < count; i += 1) {
      const key = NODE_HEAD + i * width;
      if (compare(node, key, object, type) > 0) return;
      const child = safe(node.readBigUInt64LE(key + 17));
      // Keys go up, and a child begins with the key of its pointer: so no node can be in two places.
      const isLater = i === 0 || Buffer.compare(keyOf(node, key), keyOf(node, key - POINTER_BYTES)) > 0;
      if (!isLater || !keyOf(node, key).equals(keyOf(this.node(child, level - 1), NODE_HEAD))) {
        throw damaged('a tree of it is out of order');
      }
      yield* this.below(child, level - 1, wanted);
    }
  }

  private node(at: number, level: number): Buffer {
    const node = this.nodes.get(at, () => this.bytes(at, this.nodeBytes));
    const width = level === 0 ? ITEM_BYTES : POINTER_BYTES;
    const isRight = node.readUInt8(100) === level && node.readBigUInt64LE(48) === BigInt(at);
    if (!isRight || NODE_HEAD + node.readUInt32LE(96) * width > node.length) {
      throw damaged('a tree of it is broken');
    }
    return node;
  }

  private check(head: Buffer): void {
    const sizes = [this.sectorBytes, this.nodeBytes];
    if (!sizes.every((size) => size >= 512 && size <= 65_536 && Number.isInteger(Math.log2(size)))) {
      throw damaged('the head of its btrfs is impossible');
    }
    const unknown = head.readBigUInt64LE(188) & ~READABLE;
    if (unknown !== 0n)
      throw refused(`its btrfs has features that are not known (0x${unknown.toString(16)})`);
    if (head.readBigUInt64LE(136) !== 1n) throw refused('its btrfs is on several devices');
    if (head.readBigUInt64LE(112) > BigInt(this.source.size)) {
      throw damaged('it is cut short: its file system is larger than the disk it is on');
    }
  }

  /** What is needed to read the tree of chunks itself stands in the head. */
  private systemChunks(area: Buffer): void {
    let at = 0;
    while (at + 17 + 48 <= area.length) {
      if (area.readUInt8(at + 8) !== KEY.chunk) throw damaged('the chunks of it are broken');
      const data = area.subarray(at + 17);
      this.addChunk(area.readBigUInt64LE(at + 9), data);
      at += 17 + 48 + data.readUInt16LE(44) * 32;
    }
  }

  private addChunk(offset: bigint, data: Buffer): void {
    if ((data.readBigUInt64LE(24) & STRIPED) !== 0n) throw refused('its btrfs is on several devices');
    const chunk = {
      logical: safe(offset),
      length: safe(data.readBigUInt64LE(0)),
      // Of several copies the first.
      physical: safe(data.readBigUInt64LE(48 + 8)),
    };
    if (chunk.length === 0) throw damaged('the chunks of it are broken');
    this.chunks.push(chunk);
  }

  private chunkOf(at: number): Chunk {
    for (const chunk of this.chunks) {
      if (at >= chunk.logical && at < chunk.logical + chunk.length) return chunk;
    }
    throw damaged('an address in it is nowhere');
  }
}

/** Object, type and offset, so that bytes compare as keys do. */
function keyOf(node: Buffer, at: number): Buffer {
  const key = Buffer.alloc(17);
  key.writeBigUInt64BE(node.readBigUInt64LE(at), 0);
  key.writeUInt8(node.readUInt8(at + 8), 8);
  key.writeBigUInt64BE(node.readBigUInt64LE(at + 9), 9);
  return key;
}

/** Of the key at a place in a node, with the smallest one of an object and type: below 0 when it is before. */
function compare(node: Buffer, at: number, object: bigint, type: number): number {
  const own = node.readBigUInt64LE(at);
  if (own !== object) return own < object ? -1 : 1;
  return node.readUInt8(at + 8) - type;
}

/** Index of the first key that is not before this object and type. */
function firstFrom(node: Buffer, count: number, width: number, object: bigint, type: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(node, NODE_HEAD + middle * width, object, type) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
