/**
 * What the journal of an ext4 file system has and the file system has not yet:
 * the disk was copied while it was in use, or its machine went down. Nothing is
 * written; newer versions of blocks are kept in memory.
 *
 * Layout: the kernel documentation's "Journal (jbd2)". Big endian throughout.
 */
import type { Blocks, Piece } from './ext4-blocks.ts';
import { damaged } from './source.ts';
import type { Fault } from '../../../process/fault.ts';

const MAGIC = 0xc03b3998;
const TYPE = { descriptor: 1, commit: 2, superV1: 3, superV2: 4, revoke: 5 } as const;
const FEATURE = { revoke: 0x1, wide: 0x2, asyncCommit: 0x4, checksumV2: 0x8, checksumV3: 0x10 } as const;
const READABLE = 0x1f;
const TAG = { escaped: 0x1, sameUuid: 0x2, last: 0x8 } as const;
const UUID_BYTES = 16;
/** A larger journal than any mke2fs makes; its blocks are kept in memory. */
const MAX_REPLAYED_BYTES = 512 * 2 ** 20;

interface Update {
  readonly block: number;
  readonly sequence: number;
  /** Place in the journal. */
  readonly from: number;
  readonly isEscaped: boolean;
}

/** Newest versions of blocks by their number. Fault bad_request when the journal makes no sense. */
export function replayJournal(blocks: Blocks, pieces: readonly Piece[]): ReadonlyMap<number, Buffer> {
  const journal = new Journal(blocks, pieces);
  const { updates, revoked } = journal.committed();
  const newest = new Map<number, Buffer>();
  for (const update of updates) {
    // Revoked in this transaction or a later one: the block is something else by now.
    if (update.sequence <= (revoked.get(update.block) ?? -1)) continue;
    if (newest.size * blocks.blockBytes > MAX_REPLAYED_BYTES) throw journalDamaged('it is impossibly large');
    const content = Buffer.from(journal.block(update.from));
    if (update.isEscaped) content.writeUInt32BE(MAGIC, 0);
    newest.set(update.block, content);
  }
  return newest;
}

class Journal {
  private readonly blocks: Blocks;
  private readonly pieces: readonly Piece[];
  private readonly length: number;
  private readonly first: number;
  private readonly start: number;
  private readonly sequence: number;
  private readonly features: number;

  constructor(blocks: Blocks, pieces: readonly Piece[]) {
    this.blocks = blocks;
    this.pieces = pieces;
    const head = this.block(0);
    const type = head.readUInt32BE(4);
    if (head.readUInt32BE(0) !== MAGIC || (type !== TYPE.superV1 && type !== TYPE.superV2)) {
      throw journalDamaged('it has no head');
    }
    if (head.readUInt32BE(0x0c) !== blocks.blockBytes) throw journalDamaged('its block size is wrong');
    this.length = head.readUInt32BE(0x10);
    this.first = head.readUInt32BE(0x14);
    this.sequence = head.readUInt32BE(0x18);
    this.start = head.readUInt32BE(0x1c);
    this.features = type === TYPE.superV2 ? head.readUInt32BE(0x28) : 0;
    if ((this.features & ~READABLE) !== 0) throw journalDamaged('it has features that are not known');
    if (this.first === 0 || this.first >= this.length || this.start >= this.length) {
      throw journalDamaged('its head is impossible');
    }
  }

  block(number: number): Buffer {
    for (const piece of this.pieces) {
      if (number >= piece.logical && number < piece.logical + piece.count) {
        return this.blocks.block(piece.physical + number - piece.logical);
      }
    }
    throw journalDamaged('it has a hole');
  }

  /** Everything up to the first transaction that was not committed. */
  committed(): { updates: Update[]; revoked: Map<number, number> } {
    const updates: Update[] = [];
    const revoked = new Map<number, number>();
    if (this.start === 0) return { updates, revoked };
    let { sequence } = this;
    let at = this.start;
    let open: Update[] = [];
    let revoking: number[] = [];
    for (let seen = 0; seen < this.length; seen += 1) {
      const block = this.block(at);
      if (block.readUInt32BE(0) !== MAGIC || block.readUInt32BE(8) !== sequence) break;
      const type = block.readUInt32BE(4);
      at = this.next(at);
      if (type === TYPE.descriptor) {
        for (const tag of this.tags(block)) {
          open.push({ ...tag, sequence, from: at });
          at = this.next(at);
          seen += 1;
        }
      } else if (type === TYPE.revoke) {
        revoking.push(...this.revocations(block));
      } else if (type === TYPE.commit) {
        for (const update of open) updates.push(update);
        for (const number of revoking) revoked.set(number, sequence);
        open = [];
        revoking = [];
        sequence += 1;
      } else {
        break;
      }
    }
    return { updates, revoked };
  }

  private next(at: number): number {
    return at + 1 >= this.length ? this.first : at + 1;
  }

  private has(feature: number): boolean {
    return (this.features & feature) !== 0;
  }

  private *tags(block: Buffer): Iterable<{ block: number; isEscaped: boolean }> {
    const isV3 = this.has(FEATURE.checksumV3);
    const wide = this.has(FEATURE.wide);
    const tagBytes = isV3 ? 16 : 8 + (wide ? 4 : 0) + (this.has(FEATURE.checksumV2) ? 2 : 0);
    // Checksums end with four bytes at the end of the block.
    const end = block.length - (isV3 || this.has(FEATURE.checksumV2) ? 4 : 0);
    let at = 12;
    while (at + tagBytes <= end) {
      const flags = isV3 ? block.readUInt32BE(at + 4) : block.readUInt16BE(at + 6);
      const high = wide ? block.readUInt32BE(at + 8) : 0;
      yield { block: high * 2 ** 32 + block.readUInt32BE(at), isEscaped: (flags & TAG.escaped) !== 0 };
      at += tagBytes + ((flags & TAG.sameUuid) === 0 ? UUID_BYTES : 0);
      if ((flags & TAG.last) !== 0) return;
    }
  }

  private *revocations(block: Buffer): Iterable<number> {
    const bytes = this.has(FEATURE.wide) ? 8 : 4;
    const end = Math.min(block.readUInt32BE(12), block.length);
    for (let at = 16; at + bytes <= end; at += bytes) {
      yield bytes === 8 ? Number(block.readBigUInt64BE(at)) : block.readUInt32BE(at);
    }
  }
}

function journalDamaged(what: string): Fault {
  return damaged(`its journal: ${what}; run e2fsck on it and upload it again`);
}
