/** Names in directories of xfs: short ones in the inode, others in blocks. */
import { damaged } from './source.ts';
import type { Xfs } from './xfs.ts';

type Named = readonly [name: string, inode: bigint];

/** `XD2B`, `XDB3`: a block that holds its hashes too; `XD2D`, `XDD3`: names alone. */
const SINGLE = new Set([0x58443242, 0x58444233]);
const PLAIN = new Set([0x58443244, 0x58444433]);
const FREE = 0xffff;

export function* shortEntries(area: Buffer, hasType: boolean): Iterable<Named> {
  const count = area.readUInt8(0);
  // One number that needs eight bytes makes all of them so wide.
  const bytes = area.readUInt8(1) > 0 ? 8 : 4;
  let at = 2 + bytes;
  for (let i = 0; i < count; i += 1) {
    const length = area.readUInt8(at);
    const name = area.toString('latin1', at + 3, at + 3 + length);
    at += 3 + length + (hasType ? 1 : 0);
    const number = bytes === 8 ? area.readBigUInt64BE(at) : BigInt(area.readUInt32BE(at));
    at += bytes;
    if (at > area.length) throw damaged('a directory of it is broken');
    yield [name, number];
  }
}

export function* blockEntries(block: Buffer, system: Pick<Xfs, 'isV5' | 'hasFileType'>): Iterable<Named> {
  const magic = block.readUInt32BE(0);
  const isSingle = SINGLE.has(magic);
  if (!isSingle && !PLAIN.has(magic)) throw damaged('a directory of it is broken');
  let at = system.isV5 ? 64 : 16;
  const end = isSingle ? endOfNames(block) : block.length;
  while (at < end) {
    if (block.readUInt16BE(at) === FREE) {
      const skipped = block.readUInt16BE(at + 2);
      if (skipped < 8) throw damaged('a directory of it is broken');
      at += skipped;
      continue;
    }
    const length = block.readUInt8(at + 8);
    const name = block.toString('latin1', at + 9, at + 9 + length);
    if (name !== '.' && name !== '..') yield [name, block.readBigUInt64BE(at)];
    // Number, length, name, type, and a mark of two bytes, filled up to eight.
    at += Math.ceil((11 + length + (system.hasFileType ? 1 : 0)) / 8) * 8;
  }
}

/** At the very end the number of hashes, and before it the hashes. */
function endOfNames(block: Buffer): number {
  const hashes = block.readUInt32BE(block.length - 8);
  const end = block.length - 8 - hashes * 8;
  if (end < 16) throw damaged('a directory of it is broken');
  return end;
}
