/** Which blocks a file of ext4 has: extent trees, and the block maps of old. */
import { damaged } from './source.ts';

export interface Blocks {
  readonly blockBytes: number;
  block(number: number): Buffer;
}

/** No block of a map is in two places; one that is could be read for ever. */
class Once implements Blocks {
  readonly blockBytes: number;
  private readonly blocks: Blocks;
  private readonly seen = new Set<number>();

  constructor(blocks: Blocks) {
    this.blocks = blocks;
    this.blockBytes = blocks.blockBytes;
  }

  block(number: number): Buffer {
    if (this.seen.has(number)) throw damaged('the blocks of a file are in a circle');
    this.seen.add(number);
    return this.blocks.block(number);
  }
}

/** `count` blocks from `logical` of the file on are at `physical`. */
export interface Piece {
  readonly logical: number;
  readonly physical: number;
  readonly count: number;
}

const EXTENT_MAGIC = 0xf30a;
const MAX_DEPTH = 5;
/** A longer one is reserved, not written: it reads as zeros. */
const MAX_WRITTEN = 32_768;
const DIRECT = 12;
/** More pieces than this are no file anybody made. */
const MAX_PIECES = 4_000_000;

/** In order; holes and what was only reserved left out. */
export function mappedRuns(blocks: Blocks, root: Buffer, isTree: boolean): Piece[] {
  const found: Piece[] = [];
  const once = new Once(blocks);
  const source = isTree ? extents(once, root, MAX_DEPTH) : mapped(once, root);
  let end = 0;
  for (const piece of source) {
    // Going back is how a damaged tree would make one block count many times.
    if (piece.logical < end) throw damaged('the blocks of a file are out of order');
    end = piece.logical + piece.count;
    const last = found.at(-1);
    if (last !== undefined && follows(last, piece)) {
      found[found.length - 1] = { ...last, count: last.count + piece.count };
    } else {
      found.push(piece);
    }
    if (found.length > MAX_PIECES) throw damaged('a file of it is in impossibly many pieces');
  }
  return found;
}

/** One run, as long as it is not too much to be read at once. */
function follows(last: Piece, piece: Piece): boolean {
  return last.logical + last.count === piece.logical && last.physical + last.count === piece.physical;
}

function* extents(blocks: Blocks, node: Buffer, depthLeft: number): Iterable<Piece> {
  const depth = node.readUInt16LE(6);
  const count = node.readUInt16LE(2);
  if (node.readUInt16LE(0) !== EXTENT_MAGIC || depth > depthLeft || 12 + count * 12 > node.length) {
    throw damaged('the extents of a file are broken');
  }
  let after = -1;
  for (let at = 12; at < 12 + count * 12; at += 12) {
    const logical = node.readUInt32LE(at);
    if (logical <= after) throw damaged('the extents of a file are out of order');
    after = logical;
    if (depth === 0) {
      const length = node.readUInt16LE(at + 4);
      const physical = node.readUInt16LE(at + 6) * 2 ** 32 + node.readUInt32LE(at + 8);
      if (length <= MAX_WRITTEN) yield { logical, physical, count: length };
    } else {
      const child = node.readUInt16LE(at + 8) * 2 ** 32 + node.readUInt32LE(at + 4);
      yield* extents(blocks, blocks.block(child), depth - 1);
    }
  }
}

function* mapped(blocks: Blocks, root: Buffer): Iterable<Piece> {
  for (let i = 0; i < DIRECT; i += 1) yield* piece(i, root.readUInt32LE(i * 4));
  const perBlock = blocks.blockBytes / 4;
  let logical = DIRECT;
  for (let level = 1; level <= 3; level += 1) {
    const pointer = root.readUInt32LE((DIRECT + level - 1) * 4);
    yield* indirect(blocks, pointer, level, logical);
    logical += perBlock ** level;
  }
}

function* indirect(blocks: Blocks, pointer: number, level: number, logical: number): Iterable<Piece> {
  if (pointer === 0) return;
  if (level === 0) {
    yield* piece(logical, pointer);
    return;
  }
  const block = blocks.block(pointer);
  const each = (blocks.blockBytes / 4) ** (level - 1);
  for (let at = 0; at < block.length; at += 4) {
    yield* indirect(blocks, block.readUInt32LE(at), level - 1, logical + (at / 4) * each);
  }
}

function* piece(logical: number, physical: number): Iterable<Piece> {
  if (physical !== 0) yield { logical, physical, count: 1 };
}
