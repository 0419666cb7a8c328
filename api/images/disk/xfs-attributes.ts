/** Extended attributes of xfs: in the inode, or in leaves of a tree, large values in blocks of their own. */
import { damaged } from './source.ts';
import type { Fork, Xfs } from './xfs.ts';
import type { Extent } from './xfs-extents.ts';

const LOCAL = 1;
const FLAG = { local: 0x1, root: 0x2, secure: 0x4 } as const;
/** Half made, or a pointer to the parent: nothing for users. */
const HIDDEN = 0x88;
const LEAF_MAGICS = new Set([0xfbee, 0x3bee]);
const NODE_MAGICS = new Set([0xfebe, 0x3ebe]);
const MAX_LEAVES = 100_000;
const MAX_VALUE_BYTES = 64 * 1024;
/** Version 5 has a header in each block of a large value. */
const VALUE_HEAD = 56;

type Attribute = readonly [string, Buffer];

export function* xfsAttributes(system: Xfs, fork: Fork): Iterable<Attribute> {
  if (fork.format === LOCAL) {
    yield* short(fork.data);
    return;
  }
  const extents = system.extents(fork);
  if (extents.length === 0) return;
  let at = firstLeaf(system, extents);
  for (let seen = 0; seen < MAX_LEAVES; seen += 1) {
    const leaf = blockAt(system, extents, at);
    if (!LEAF_MAGICS.has(leaf.readUInt16BE(8))) throw damaged('the extended attributes of a file are broken');
    yield* ofLeaf(system, extents, leaf);
    // Each leaf knows the next.
    at = leaf.readUInt32BE(0);
    if (at === 0) return;
  }
  throw damaged('the extended attributes of a file have no end');
}

function* short(area: Buffer): Iterable<Attribute> {
  const count = area.readUInt8(2);
  let at = 4;
  for (let i = 0; i < count; i += 1) {
    const nameBytes = area.readUInt8(at);
    const valueBytes = area.readUInt8(at + 1);
    const flags = area.readUInt8(at + 2);
    const value = at + 3 + nameBytes;
    if (value + valueBytes > area.length) throw damaged('the extended attributes of a file are broken');
    const name = area.toString('latin1', at + 3, value);
    if ((flags & HIDDEN) === 0) yield [prefix(flags) + name, area.subarray(value, value + valueBytes)];
    at = value + valueBytes;
  }
}

function prefix(flags: number): string {
  if ((flags & FLAG.root) !== 0) return 'trusted.';
  return (flags & FLAG.secure) !== 0 ? 'security.' : 'user.';
}

/** Down the left side of the tree. */
function firstLeaf(system: Xfs, extents: readonly Extent[]): number {
  let at = 0;
  for (let depth = 0; depth < 8; depth += 1) {
    const block = blockAt(system, extents, at);
    if (!NODE_MAGICS.has(block.readUInt16BE(8))) return at;
    at = block.readUInt32BE((system.isV5 ? 64 : 16) + 4);
  }
  throw damaged('the extended attributes of a file are broken');
}

function blockAt(system: Xfs, extents: readonly Extent[], logical: number): Buffer {
  for (const extent of extents) {
    if (logical >= extent.logical && logical < extent.logical + extent.count) {
      return system.block(extent.physical + logical - extent.logical);
    }
  }
  throw damaged('the extended attributes of a file are not there');
}

function* ofLeaf(system: Xfs, extents: readonly Extent[], leaf: Buffer): Iterable<Attribute> {
  const head = system.isV5 ? 80 : 32;
  const count = leaf.readUInt16BE(system.isV5 ? 56 : 12);
  for (let i = 0; i < count; i += 1) {
    const at = leaf.readUInt16BE(head + i * 8 + 4);
    const flags = leaf.readUInt8(head + i * 8 + 6);
    if ((flags & HIDDEN) !== 0) continue;
    if ((flags & FLAG.local) !== 0) {
      const valueBytes = leaf.readUInt16BE(at);
      const nameEnd = at + 3 + leaf.readUInt8(at + 2);
      if (nameEnd + valueBytes > leaf.length) throw damaged('the extended attributes of a file are broken');
      const name = leaf.toString('latin1', at + 3, nameEnd);
      yield [prefix(flags) + name, leaf.subarray(nameEnd, nameEnd + valueBytes)];
    } else {
      const name = leaf.toString('latin1', at + 9, at + 9 + leaf.readUInt8(at + 8));
      yield [prefix(flags) + name, remote(system, extents, leaf.readUInt32BE(at), leaf.readUInt32BE(at + 4))];
    }
  }
}

function remote(system: Xfs, extents: readonly Extent[], from: number, length: number): Buffer {
  if (length > MAX_VALUE_BYTES) throw damaged('an extended attribute is impossibly large');
  const parts: Buffer[] = [];
  let left = length;
  for (let at = from; left > 0; at += 1) {
    const block = blockAt(system, extents, at).subarray(system.isV5 ? VALUE_HEAD : 0);
    parts.push(block.subarray(0, left));
    left -= block.length;
  }
  return Buffer.concat(parts);
}
