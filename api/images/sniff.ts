/** What a file is, told from its first bytes; names and content types are never believed. Pure. */

export type Compression = 'none' | 'gzip' | 'bzip2' | 'xz' | 'lzma' | 'zstd';

export type ArchiveKind =
  | { readonly kind: 'tar'; readonly compression: Compression }
  | { readonly kind: 'squashfs' }
  /** Both may hold a partition table or a file system. */
  | { readonly kind: 'qcow2' }
  | { readonly kind: 'raw' }
  | { readonly kind: 'foreign'; readonly name: string };

/** Bytes of the start of a file that sniff() wants to see; the mark of btrfs is the farthest. */
export const SNIFF_BYTES = 66 * 1024;

const MAGIC: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['lzma', [0x5d, 0x00, 0x00]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
];

/** null for a file that is nothing we know. A compressed file is taken for a tar until it is read. */
export function sniff(head: Buffer): ArchiveKind | null {
  if (head.subarray(0, 4).equals(Buffer.from('hsqs'))) return { kind: 'squashfs' };
  if (head.subarray(0, 4).equals(Buffer.from([0x51, 0x46, 0x49, 0xfb]))) return { kind: 'qcow2' };
  for (const [compression, magic] of MAGIC) {
    if (head.subarray(0, magic.length).equals(Buffer.from(magic))) return { kind: 'tar', compression };
  }
  if (isTarHeader(head)) return { kind: 'tar', compression: 'none' };
  const foreign = FOREIGN.find(([, at, text]) => hasText(head, at, text));
  if (foreign !== undefined) return { kind: 'foreign', name: foreign[0] };
  const isSigned = head.length >= 512 && head.readUInt16LE(510) === 0xaa55;
  return isSigned || DISKS.some(([at, text]) => hasText(head, at, text)) ? { kind: 'raw' } : null;
}

/** Disks of other hypervisors, and discs: known so that they can be called by their name. */
const FOREIGN: readonly (readonly [string, number, string])[] = [
  ['VMDK', 0, 'KDMV'],
  ['VMDK', 0, '# Disk DescriptorFile'],
  ['VHD', 0, 'conectix'],
  ['VHDX', 0, 'vhdxfile'],
  ['VDI', 0x40, '\x7f\x10\xda\xbe'],
  ['QED', 0, 'QED\0'],
  ['ISO 9660', 0x8001, 'CD001'],
];

/** GPT with sectors of 512 and 4096 bytes; ext2 to ext4, xfs, btrfs, erofs. */
const DISKS: readonly (readonly [number, string])[] = [
  [512, 'EFI PART'],
  [4096, 'EFI PART'],
  [0x438, '\x53\xef'],
  [0, 'XFSB'],
  [0x10040, '_BHRfS_M'],
  [0x400, '\xe2\xe1\xf5\xe0'],
];

function hasText(head: Buffer, at: number, text: string): boolean {
  return head.subarray(at, at + text.length).equals(Buffer.from(text, 'latin1'));
}

/** Old archives have no `ustar`; the checksum of the first header is in all of them. */
export function isTarHeader(block: Buffer): boolean {
  if (block.length < 512) return false;
  const stored = Number.parseInt(
    block
      .toString('latin1', 148, 156)
      .replace(/[\0 ]+/g, ' ')
      .trim(),
    8,
  );
  if (Number.isNaN(stored)) return false;
  let sum = 8 * 0x20;
  for (let i = 0; i < 512; i += 1) {
    if (i < 148 || i >= 156) sum += block[i] ?? 0;
  }
  return sum === stored;
}

const EXTENSIONS: Readonly<Record<Compression, string>> = {
  none: '.tar',
  gzip: '.tar.gz',
  bzip2: '.tar.bz2',
  xz: '.tar.xz',
  lzma: '.tar.lzma',
  zstd: '.tar.zst',
};

/** What the name of an exported file ends in. */
export function extensionOf(archive: ArchiveKind | null): string {
  if (archive === null) return '';
  switch (archive.kind) {
    case 'tar':
      return EXTENSIONS[archive.compression];
    case 'squashfs':
      return '.squashfs';
    case 'qcow2':
      return '.qcow2';
    case 'raw':
      return '.img';
    case 'foreign':
      return '';
  }
}

/**
 * The program that unpacks a compression (it is given `-d` by tar, `-dc` by
 * us), with as many threads as it can use and a bound on its memory.
 */
export function decompressor(compression: Compression, hasPigz: boolean): readonly string[] | null {
  switch (compression) {
    case 'none':
      return null;
    case 'gzip':
      return [hasPigz ? 'pigz' : 'gzip'];
    case 'bzip2':
      return ['bzip2'];
    case 'xz':
      return ['xz', '-T0', '--memlimit-decompress=1GiB'];
    case 'lzma':
      return ['xz', '--format=lzma', '--memlimit-decompress=1GiB'];
    case 'zstd':
      return ['zstd', '-q'];
  }
}
