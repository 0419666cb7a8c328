/** Extended attributes of ext4: behind the inode's own fields, in a block, in inodes of their own. */
import { damaged } from './source.ts';

const MAGIC = 0xea020000;
const ENTRY_BYTES = 16;
const MAX_VALUE_BYTES = 64 * 1024;

const PREFIXES: Readonly<Record<number, string>> = {
  0: '',
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  6: 'security.',
  7: 'system.',
};

/** `fromInode` reads a value that has an inode of its own. */
export function* attributesIn(
  inode: Buffer,
  block: Buffer | null,
  fromInode: (number: number, size: number) => Buffer,
): Iterable<readonly [string, Buffer]> {
  const extra = inode.length > 132 ? inode.readUInt16LE(0x80) : 0;
  const header = 128 + extra;
  if (extra > 0 && header + 4 < inode.length && inode.readUInt32LE(header) === MAGIC) {
    // Values are counted from the first entry here, and from the block's start there.
    yield* entries(inode.subarray(header + 4), 0, fromInode);
  }
  if (block !== null) {
    if (block.readUInt32LE(0) !== MAGIC) throw damaged('a block of extended attributes is broken');
    yield* entries(block, 32, fromInode);
  }
}

function* entries(
  area: Buffer,
  start: number,
  fromInode: (number: number, size: number) => Buffer,
): Iterable<readonly [string, Buffer]> {
  let at = start;
  while (at + 4 <= area.length && area.readUInt32LE(at) !== 0) {
    const nameBytes = area.readUInt8(at);
    const next = at + ((ENTRY_BYTES + nameBytes + 3) & ~3);
    if (next > area.length) throw damaged('a list of extended attributes is broken');
    const prefix = PREFIXES[area.readUInt8(at + 1)];
    const offset = area.readUInt16LE(at + 2);
    const holder = area.readUInt32LE(at + 4);
    const size = area.readUInt32LE(at + 8);
    if (size > MAX_VALUE_BYTES) throw damaged('an extended attribute is impossibly large');
    const name = area.toString('latin1', at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes);
    if (prefix !== undefined) {
      if (holder === 0 && offset + size > area.length) throw damaged('an extended attribute is broken');
      yield [prefix + name, holder === 0 ? area.subarray(offset, offset + size) : fromInode(holder, size)];
    }
    at = next;
  }
}
