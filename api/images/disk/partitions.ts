/** Partition tables, GPT and MBR: where on a disk the partitions are. Pure but for reading. */
import { damaged, safe } from './source.ts';
import type { Source } from './source.ts';

export interface Partition {
  /** As Linux counts them: 1 for /dev/vda1. */
  readonly number: number;
  /** GPT: the GUID of the type in lower case; MBR: two hexadecimal digits. */
  readonly type: string;
  /** Bytes. */
  readonly at: number;
  readonly size: number;
}

/** What the discoverable partitions specification calls the root of each architecture. */
const ROOT_TYPES: Readonly<Record<string, string>> = {
  x64: '4f68bce3-e8cd-4db1-96e7-fbcaf984b709',
  arm64: 'b921b045-1df0-41c3-af44-4c6f280d3fae',
  ia32: '44479540-f297-41b2-9af7-d131d5f0458a',
  arm: '69dad710-2ce4-4e3c-b16c-21a1d49abed3',
  ppc64: 'c31c45e6-3f39-412e-80fb-4809c4980599',
  riscv64: '72ec70a6-cf74-40e6-bd49-4bda08e8f224',
  s390x: '5eead9a9-fe09-4a1e-a1d7-520d00531306',
};

/** GUID of the type of root partitions for this machine (Node's name of its architecture). */
export function rootType(arch: string): string {
  return ROOT_TYPES[arch] ?? '';
}

const SECTOR_SIZES = [512, 4096];
const MAX_ENTRIES = 1024;
/** Logical partitions are a chain; a longer one goes round in circles. */
const MAX_LOGICAL = 128;
const EXTENDED = new Set(['05', '0f', '85']);
const EMPTY = '00000000-0000-0000-0000-000000000000';

/** The partitions of a GPT; null when the disk has none. Fault bad_request for one that is damaged. */
export function readGpt(disk: Source): Partition[] | null {
  for (const sector of SECTOR_SIZES) {
    if (disk.size < 3 * sector) continue;
    const head = disk.read(sector, 512);
    if (head.toString('latin1', 0, 8) === 'EFI PART') return gptEntries(disk, head, sector);
  }
  return null;
}

function gptEntries(disk: Source, head: Buffer, sector: number): Partition[] {
  const at = safe(head.readBigUInt64LE(72)) * sector;
  const count = head.readUInt32LE(80);
  const size = head.readUInt32LE(84);
  if (count > MAX_ENTRIES || size < 128 || size > 4096) throw damaged('its partition table is impossible');
  const table = disk.read(at, count * size);
  const found: Partition[] = [];
  for (let i = 0; i < count; i += 1) {
    const entry = table.subarray(i * size, (i + 1) * size);
    const type = guid(entry);
    if (type === EMPTY) continue;
    const first = safe(entry.readBigUInt64LE(32));
    const last = safe(entry.readBigUInt64LE(40));
    if (last < first) continue;
    const partition = { number: i + 1, type, at: first * sector, size: (last - first + 1) * sector };
    if (isOn(disk, partition)) found.push(partition);
  }
  return found;
}

/** The first three parts of a GUID are stored with their bytes turned round. */
function guid(entry: Buffer): string {
  const hex = (from: number, to: number, turned: boolean): string => {
    const bytes = Buffer.from(entry.subarray(from, to));
    return (turned ? bytes.reverse() : bytes).toString('hex');
  };
  return [hex(0, 4, true), hex(4, 6, true), hex(6, 8, true), hex(8, 10, false), hex(10, 16, false)].join('-');
}

/** The partitions of an MBR; null when the disk has none. */
export function readMbr(disk: Source): Partition[] | null {
  if (disk.size < 1024) return null;
  const sector = disk.read(0, 512);
  if (!isSigned(sector)) return null;
  const found: Partition[] = [];
  for (const [i, entry] of mbrEntries(sector).entries()) {
    if (EXTENDED.has(entry.type)) found.push(...logical(disk, entry.first));
    else if (entry.type !== '00') found.push(placed(i + 1, entry, 0));
  }
  const usable = found.filter((partition) => partition.size > 0 && isOn(disk, partition));
  return usable.length === 0 ? null : usable;
}

interface MbrEntry {
  readonly type: string;
  readonly first: number;
  readonly sectors: number;
}

function mbrEntries(sector: Buffer): MbrEntry[] {
  return [0, 1, 2, 3].map((i) => {
    const at = 446 + i * 16;
    return {
      type: sector.toString('hex', at + 4, at + 5),
      first: sector.readUInt32LE(at + 8),
      sectors: sector.readUInt32LE(at + 12),
    };
  });
}

function placed(number: number, entry: MbrEntry, base: number): Partition {
  return { number, type: entry.type, at: (base + entry.first) * 512, size: entry.sectors * 512 };
}

/** Each link of the chain tells of one partition and of the next link, both counted from elsewhere. */
function logical(disk: Source, extended: number): Partition[] {
  const found: Partition[] = [];
  let link = extended;
  while (found.length < MAX_LOGICAL && (link + 1) * 512 <= disk.size) {
    const sector = disk.read(link * 512, 512);
    const [own, next] = mbrEntries(sector);
    if (!isSigned(sector) || own === undefined || next === undefined) break;
    if (own.type !== '00') found.push(placed(5 + found.length, own, link));
    if (!EXTENDED.has(next.type) || next.first === 0) break;
    // A chain only ever goes forward.
    if (extended + next.first <= link) break;
    link = extended + next.first;
  }
  return found;
}

function isSigned(sector: Buffer): boolean {
  return sector.readUInt16LE(510) === 0xaa55;
}

/** A partition that reaches beyond the end of the disk is none. */
function isOn(disk: Source, partition: Partition): boolean {
  return partition.at > 0 && partition.at + partition.size <= disk.size;
}
