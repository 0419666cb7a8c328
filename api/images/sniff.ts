/** What a file is, told from its first bytes; names and content types are never believed. Pure. */

export type Compression = 'none' | 'gzip' | 'bzip2' | 'xz' | 'lzma' | 'zstd';

export type ArchiveKind =
  | { readonly kind: 'tar'; readonly compression: Compression }
  | { readonly kind: 'squashfs' }
  | { readonly kind: 'qcow2' };

/** Bytes of the start of a file that sniff() wants to see. */
export const SNIFF_BYTES = 512;

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
  return isTarHeader(head) ? { kind: 'tar', compression: 'none' } : null;
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
  if (archive.kind === 'tar') return EXTENSIONS[archive.compression];
  return archive.kind === 'squashfs' ? '.squashfs' : '.qcow2';
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
