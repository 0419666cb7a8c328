/** Which file system of a disk is the root of a Linux system. */
import { isBtrfs, openBtrfs } from './btrfs.ts';
import { isErofs, openErofs } from './erofs.ts';
import { isExt4, openExt4 } from './ext4.ts';
import type { FileSystem } from './file-system.ts';
import { readGpt, readMbr, rootType } from './partitions.ts';
import type { Partition } from './partitions.ts';
import { isQcow2, openQcow2 } from './qcow2.ts';
import { SliceSource, refused } from './source.ts';
import type { Source } from './source.ts';
import { lookUp, readText } from './walk.ts';
import { isXfs, openXfs } from './xfs.ts';
import { isFault } from '../../../process/fault.ts';

export interface FoundRoot {
  readonly system: FileSystem;
  readonly osRelease: string | null;
}

const OS_RELEASE = ['usr/lib/os-release', 'etc/os-release'];
const INIT = ['sbin/init', 'usr/sbin/init', 'lib/systemd/systemd', 'usr/lib/systemd/systemd'];
const MAX_OS_RELEASE = 64 * 1024;

const FORMATS: readonly (readonly [(source: Source) => boolean, (source: Source) => FileSystem])[] = [
  [isExt4, openExt4],
  [isXfs, openXfs],
  [isBtrfs, openBtrfs],
  [isErofs, openErofs],
];

/** Also tells a qcow2 from a raw disk. Fault bad_request with what was found instead. */
export function findRoot(file: Source, arch: string): FoundRoot {
  const disk = openDisk(file);
  const gpt = readGpt(disk);
  if (gpt !== null) return ofPartitions(disk, gpt, arch);
  // Boot code at the start of a file system may be signed as an MBR is.
  const system = openFileSystem(disk);
  if (system !== null) return alone(system);
  const mbr = readMbr(disk);
  if (mbr !== null) return ofPartitions(disk, mbr, arch);
  throw refused(
    'its disk has neither a partition table nor a file system that can be read (ext4, xfs, btrfs, erofs)',
  );
}

function openDisk(file: Source): Source {
  if (!isQcow2(file.read(0, Math.min(4, file.size)))) return file;
  const disk = openQcow2(file);
  disk.check();
  return disk;
}

function openFileSystem(source: Source): FileSystem | null {
  for (const [isIt, open] of FORMATS) if (isIt(source)) return open(source);
  return null;
}

function alone(system: FileSystem): FoundRoot {
  const found = judge(system);
  if (found === null) throw refused(`its ${system.kind} file system is not the root of a Linux system`);
  return found.root;
}

interface Candidate {
  readonly root: FoundRoot;
  readonly points: number;
}

/** null for what is no root at all. */
function judge(system: FileSystem): Candidate | null {
  const hasRelease = OS_RELEASE.map((path) => lookUp(system, path)).some((inode) => inode !== null);
  const hasInit = INIT.some((path) => lookUp(system, path) !== null);
  const isRoot = hasRelease || hasInit || (lookUp(system, 'etc') !== null && lookUp(system, 'bin') !== null);
  if (!isRoot) return null;
  let osRelease: string | null = null;
  for (const path of OS_RELEASE) osRelease ??= readText(system, path, MAX_OS_RELEASE);
  return { root: { system, osRelease }, points: (hasRelease ? 2 : 0) + (hasInit ? 1 : 0) };
}

function ofPartitions(disk: Source, partitions: readonly Partition[], arch: string): FoundRoot {
  let best: (Candidate & { readonly size: number }) | null = null;
  const seen: string[] = [];
  for (const partition of partitions) {
    const { number, size, type } = partition;
    const found = look(disk, partition);
    if (typeof found === 'string') {
      seen.push(`${String(number)}: ${found}`);
      continue;
    }
    const points = found.points + (type === rootType(arch) ? 4 : 0);
    const isBetter = best === null || points > best.points || (points === best.points && size > best.size);
    if (isBetter) best = { root: found.root, points, size };
  }
  if (best !== null) return best.root;
  throw refused(`none of its partitions is the root of a Linux system (${seen.join('; ') || 'it has none'})`);
}

/** A candidate, or why it is none. */
function look(disk: Source, partition: Partition): Candidate | string {
  const source = new SliceSource(disk, partition.at, partition.size);
  try {
    const system = openFileSystem(source);
    if (system === null) return nameOf(source);
    return judge(system) ?? `${system.kind}, no root`;
  } catch (err) {
    // One bad partition says nothing of the others.
    if (isFault(err) || err instanceof RangeError) return err.message;
    throw err;
  }
}

function nameOf(source: Source): string {
  if (source.size < 4096) return 'too small';
  const head = source.read(0, 2048);
  if (head.toString('latin1', 512, 520) === 'LABELONE') return 'LVM, which is not read';
  if (head.toString('latin1', 0, 4) === 'LUKS') return 'encrypted';
  if (head.toString('latin1', 54, 57) === 'FAT' || head.toString('latin1', 82, 85) === 'FAT') return 'FAT';
  return 'no file system that can be read';
}
