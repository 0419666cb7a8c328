/**
 * Reads btrfs on one device. Layout: the kernel documentation's "On-disk
 * Format"; numbers in the code are offsets there. Little endian throughout.
 *
 * The root is the default subvolume, or one with a usual name when the default
 * is the top of the tree and no system is there. Other subvolumes are shown as
 * directories with what is in them, as a mount does.
 */
import { BtrfsTree, KEY } from './btrfs-tree.ts';
import type { Item } from './btrfs-tree.ts';
import { unpackExtent } from './btrfs-extents.ts';
import { kindOf } from './file-system.ts';
import type { DirectoryEntry, FileSystem, Inode, Run } from './file-system.ts';
import { damaged, safe } from './source.ts';
import type { Source } from './source.ts';

const SUPER_AT = 0x10000;
const MAGIC = '_BHRfS_M';
const TOP_SUBVOLUME = 5n;
const FIRST_INODE = 256n;
/** A directory of the tree of roots, whose entry `default` names a subvolume. */
const ROOT_DIRECTORY = 6n;
/** Where distributions put their system when the top is not it. */
const USUAL = ['root', '@', '@rootfs', '@root'];
const SYSTEM = ['etc', 'usr'];
const EXTENT = { inline: 0, regular: 1 } as const;
const MAX_EXTENTS = 4_000_000;

interface BtrfsInode extends Inode {
  readonly tree: bigint;
  readonly number: bigint;
}

export function isBtrfs(source: Source): boolean {
  if (source.size < SUPER_AT + 4096) return false;
  return source.read(SUPER_AT + 64, 8).toString('latin1') === MAGIC;
}

/** Fault bad_request when it is damaged, on several devices, or has features that are not known. */
export function openBtrfs(source: Source): FileSystem {
  return new Btrfs(source);
}

class Btrfs implements FileSystem {
  readonly kind = 'btrfs';
  readonly root: Inode;
  private readonly trees: BtrfsTree;
  /** Logical address of each subvolume's tree. */
  private readonly subvolumes = new Map<bigint, { readonly at: number; readonly level: number }>();

  constructor(source: Source) {
    this.trees = new BtrfsTree(source, source.read(SUPER_AT, 4096));
    this.root = this.chooseRoot();
  }

  *entries(directory: Inode): Iterable<DirectoryEntry> {
    const own = directory as BtrfsInode; // all of ours are
    for (const item of this.items(own.tree, own.number, KEY.directoryIndex)) {
      const named = readNamed(item.data);
      if (named.type === KEY.rootItem) {
        yield { name: named.name, inode: this.inode(named.id, FIRST_INODE) };
      } else {
        yield { name: named.name, inode: this.inode(own.tree, named.id) };
      }
    }
  }

  *attributes(inode: Inode): Iterable<readonly [string, Buffer]> {
    const own = inode as BtrfsInode; // all of ours are
    for (const item of this.items(own.tree, own.number, KEY.attribute)) {
      // Names with the same hash share an item.
      let rest = item.data;
      while (rest.length >= 30) {
        const { name, value, length } = readNamed(rest);
        yield [name, value];
        rest = rest.subarray(length);
      }
    }
  }

  target(link: Inode): string {
    if (link.size > 4096) throw damaged('a symbolic link is too long');
    const out = Buffer.alloc(link.size);
    for (const run of this.runs(link)) run.read(0, run.length).copy(out, run.at);
    return out.toString('latin1');
  }

  runs(file: Inode): Run[] {
    const own = file as BtrfsInode; // all of ours are
    const found: Run[] = [];
    let end = 0;
    for (const item of this.items(own.tree, own.number, KEY.extent)) {
      const run = this.run(item, own.size);
      if (run === null || run.length <= 0) continue;
      if (run.at < end) throw damaged('the extents of a file are out of order');
      end = run.at + run.length;
      found.push(run);
      if (found.length > MAX_EXTENTS) throw damaged('a file of it is in impossibly many pieces');
    }
    return found;
  }

  /** null for a hole, and for what was only reserved. */
  private run(item: Item, size: number): Run | null {
    const at = safe(item.offset);
    const { data } = item;
    const compression = data.readUInt8(16);
    if (data.readUInt8(17) !== 0 || data.readUInt16LE(18) !== 0) throw damaged('an extent is encoded');
    const type = data.readUInt8(20);
    const plainBytes = safe(data.readBigUInt64LE(8));
    if (type === EXTENT.inline) {
      const length = Math.min(plainBytes, size - at);
      const read = (from: number, wanted: number): Buffer =>
        unpackExtent(compression, data.subarray(21), plainBytes, this.trees.sectorBytes).subarray(
          from,
          from + wanted,
        );
      return { at, length, read };
    }
    const place = safe(data.readBigUInt64LE(21));
    if (type !== EXTENT.regular || place === 0) return null;
    const packedBytes = safe(data.readBigUInt64LE(29));
    const skip = safe(data.readBigUInt64LE(37));
    const length = Math.min(safe(data.readBigUInt64LE(45)), size - at);
    if (compression === 0) {
      return { at, length, read: (from, wanted) => this.trees.bytes(place + skip + from, wanted) };
    }
    // The kernel makes none larger than 128 KiB.
    if (plainBytes > 2 ** 20 || packedBytes > 2 ** 20)
      throw damaged('a compressed extent is impossibly large');
    const read = (from: number, wanted: number): Buffer =>
      this.trees.unpacked
        .get(place, () =>
          unpackExtent(compression, this.trees.bytes(place, packedBytes), plainBytes, this.trees.sectorBytes),
        )
        .subarray(skip + from, skip + from + wanted);
    return { at, length, read };
  }

  private chooseRoot(): Inode {
    const wanted = this.defaultSubvolume();
    const top = this.inode(wanted, FIRST_INODE);
    const names = new Map([...this.entries(top)].map((entry) => [entry.name, entry.inode]));
    if (SYSTEM.every((name) => names.has(name))) return top;
    for (const name of USUAL) {
      const inode = names.get(name);
      if (inode?.kind !== 'directory') continue;
      const inside = new Set([...this.entries(inode)].map((entry) => entry.name));
      if (SYSTEM.every((one) => inside.has(one))) return inode;
    }
    return top;
  }

  private defaultSubvolume(): bigint {
    for (const item of this.trees.items(this.trees.rootTree, ROOT_DIRECTORY, KEY.directoryItem)) {
      const named = readNamed(item.data);
      if (named.name === 'default') return named.id;
    }
    return TOP_SUBVOLUME;
  }

  private items(tree: bigint, object: bigint, type: number): Iterable<Item> {
    return this.trees.items(this.subvolume(tree), object, type);
  }

  private subvolume(id: bigint): { readonly at: number; readonly level: number } {
    const known = this.subvolumes.get(id);
    if (known !== undefined) return known;
    for (const item of this.trees.items(this.trees.rootTree, id, KEY.rootItem)) {
      const found = { at: safe(item.data.readBigUInt64LE(176)), level: item.data.readUInt8(238) };
      this.subvolumes.set(id, found);
      return found;
    }
    throw damaged('a subvolume of it is not there');
  }

  private inode(tree: bigint, number: bigint): BtrfsInode {
    for (const { data } of this.items(tree, number, KEY.inode)) {
      const mode = data.readUInt32LE(52);
      return {
        tree,
        number,
        id: `${tree.toString()}:${number.toString()}`,
        kind: kindOf(mode),
        mode: mode & 0o7777,
        uid: data.readUInt32LE(44),
        gid: data.readUInt32LE(48),
        links: data.readUInt32LE(40),
        mtimeS: Number(data.readBigInt64LE(136)),
        size: safe(data.readBigUInt64LE(16)),
      };
    }
    throw damaged('an entry names an inode that there is not');
  }
}

interface Named {
  readonly id: bigint;
  readonly type: number;
  readonly name: string;
  readonly value: Buffer;
  readonly length: number;
}

/** An entry of a directory, or an extended attribute: they have the same form. */
function readNamed(data: Buffer): Named {
  const valueBytes = data.readUInt16LE(25);
  const nameEnd = 30 + data.readUInt16LE(27);
  if (nameEnd + valueBytes > data.length) throw damaged('an entry of a directory is broken');
  return {
    id: data.readBigUInt64LE(0),
    type: data.readUInt8(8),
    name: data.toString('latin1', 30, nameEnd),
    value: data.subarray(nameEnd, nameEnd + valueBytes),
    length: nameEnd + valueBytes,
  };
}
