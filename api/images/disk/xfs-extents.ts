/** Extents of a fork of an xfs inode: in the inode, or in a tree of blocks. */
import { damaged } from './source.ts';
import type { Fork, Xfs } from './xfs.ts';

export interface Extent {
  /** Blocks from the start of the file, block number with its group, and how many. */
  readonly logical: number;
  readonly physical: number;
  readonly count: number;
}

const EXTENT_BYTES = 16;
const MAX_EXTENTS = 4_000_000;
const MAX_LEVELS = 9;
const MAGICS = new Set([0x424d4150, 0x424d4133]);

export function forkExtents(system: Xfs, fork: Fork, isTree: boolean): Extent[] {
  if (fork.extents > MAX_EXTENTS) throw damaged('a file of it is in impossibly many pieces');
  const found: Extent[] = [];
  let end = 0;
  const source = isTree ? ofTree(system, fork.data, new Set()) : ofList(fork.data, fork.extents);
  for (const extent of source) {
    if (extent.logical < end) throw damaged('the extents of a file are out of order');
    end = extent.logical + extent.count;
    if (!extent.isReserved) found.push(extent);
    if (found.length > MAX_EXTENTS) throw damaged('a file of it is in impossibly many pieces');
  }
  return found;
}

type Read = Extent & { readonly isReserved: boolean };

/** One bit, 54 bits of place in the file, 52 of block number, 21 of length. */
function* ofList(area: Buffer, count: number): Iterable<Read> {
  if (count * EXTENT_BYTES > area.length) throw damaged('the extents of a file are broken');
  for (let at = 0; at < count * EXTENT_BYTES; at += EXTENT_BYTES) {
    const high = area.readBigUInt64BE(at);
    const low = area.readBigUInt64BE(at + 8);
    yield {
      isReserved: high >> 63n === 1n,
      logical: Number((high >> 9n) & ((1n << 54n) - 1n)),
      physical: Number(((high & 0x1ffn) << 43n) | (low >> 21n)),
      count: Number(low & 0x1fffffn),
    };
  }
}

/** The root in the inode has room for as many pointers as keys; they begin behind all keys there could be. */
function* ofTree(system: Xfs, root: Buffer, seen: Set<number>): Iterable<Read> {
  const level = root.readUInt16BE(0);
  const count = root.readUInt16BE(2);
  const most = Math.floor((root.length - 4) / 16);
  if (level === 0 || level > MAX_LEVELS || count > most) throw damaged('the extents of a file are broken');
  for (let i = 0; i < count; i += 1) {
    yield* ofNode(system, Number(root.readBigUInt64BE(4 + most * 8 + i * 8)), level - 1, seen);
  }
}

function* ofNode(system: Xfs, number: number, level: number, seen: Set<number>): Iterable<Read> {
  // One that is in two places could be read for ever.
  if (seen.has(number)) throw damaged('the extents of a file are in a circle');
  seen.add(number);
  const block = system.block(number);
  const head = system.isV5 ? 72 : 24;
  const count = block.readUInt16BE(6);
  if (!MAGICS.has(block.readUInt32BE(0)) || block.readUInt16BE(4) !== level) {
    throw damaged('the extents of a file are broken');
  }
  if (level === 0) {
    yield* ofList(block.subarray(head), count);
    return;
  }
  const most = Math.floor((block.length - head) / 16);
  if (count > most) throw damaged('the extents of a file are broken');
  let after = -1n;
  for (let i = 0; i < count; i += 1) {
    const key = block.readBigUInt64BE(head + i * 8);
    if (key <= after) throw damaged('the extents of a file are out of order');
    after = key;
    yield* ofNode(system, Number(block.readBigUInt64BE(head + most * 8 + i * 8)), level - 1, seen);
  }
}
