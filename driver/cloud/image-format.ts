/** What an image is, told from its first bytes, and whether a container can be made of it. Pure. */
import { Fault } from '../../process/fault.ts';
import { type Image } from './glance.ts';
import { numberOrNull } from './json.ts';

/** Bytes of the start that decide; the mark of btrfs is the farthest. */
export const HEAD_BYTES = 66 * 1024;

export type ImageFormat =
  'tar' | 'compressed' | 'squashfs' | 'qcow2' | 'disk' | 'filesystem' | 'iso' | 'vm-disk' | 'unknown';

const COMPRESSED: readonly (readonly number[])[] = [
  [0x1f, 0x8b],
  [0x42, 0x5a, 0x68],
  [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
  [0x5d, 0x00, 0x00],
  [0x28, 0xb5, 0x2f, 0xfd],
];
const VM_DISKS = [
  'KDMV',
  '# Disk DescriptorFile',
  'conectix',
  'vhdxfile',
  '<<< ',
  'WithoutFreeSpace',
  'QED\0',
];
/** xfs, btrfs, erofs, and ext2 to ext4. */
const FILE_SYSTEMS: readonly (readonly [number, string])[] = [
  [0, 'XFSB'],
  [0x10040, '_BHRfS_M'],
  [0x400, '\xe2\xe1\xf5\xe0'],
  [0x438, '\x53\xef'],
];

/** The name and the formats an image claims are never believed. */
export function sniffImage(head: Buffer): ImageFormat {
  if (hasText(head, 0, 'hsqs')) return 'squashfs';
  if (hasText(head, 0, 'QFI\xfb')) return 'qcow2';
  if (COMPRESSED.some((magic) => head.subarray(0, magic.length).equals(Buffer.from(magic))))
    return 'compressed';
  if (VM_DISKS.some((magic) => hasText(head, 0, magic))) return 'vm-disk';
  if (isTar(head)) return 'tar';
  if (hasText(head, 512, 'EFI PART') || hasText(head, 4096, 'EFI PART')) return 'disk';
  if (hasText(head, 32_769, 'CD001')) return 'iso';
  if (FILE_SYSTEMS.some(([at, text]) => hasText(head, at, text))) return 'filesystem';
  if (head.length >= 512 && head.readUInt16LE(510) === 0xaa55) return 'disk';
  return 'unknown';
}

function hasText(head: Buffer, at: number, text: string): boolean {
  return head.subarray(at, at + text.length).equals(Buffer.from(text, 'latin1'));
}

/** Old archives have no magic word; the checksum of the first header is in all of them. */
function isTar(head: Buffer): boolean {
  if (head.length < 512) return false;
  const stored = parseInt(head.toString('latin1', 148, 156).replace(/[\0 ]+/g, ' '), 8);
  let sum = 8 * 0x20;
  for (const [at, byte] of head.subarray(0, 512).entries()) if (at < 148 || at >= 156) sum += byte;
  return sum === stored;
}

/** Names of exceptions in nova.exception; each aborts a build. */
export type ImageProblem =
  | 'FlavorDiskTooSmall'
  | 'FlavorMemoryTooSmall'
  | 'ImageNotActive'
  | 'ImageUnacceptable'
  | 'SignatureVerificationError';

export class ImageFault extends Fault {
  readonly problem: ImageProblem;

  constructor(problem: ImageProblem, message: string) {
    super('bad_request', message, { facts: { problem } });
    this.problem = problem;
  }
}

/** Fault unless a flavor is large enough for an image, and the image is there. */
export function checkImage(
  image: Image,
  flavor: { readonly memoryMb: number; readonly rootGb: number },
): void {
  const use = `use image ${image.id}`;
  if (image.status !== 'active') {
    throw new ImageFault('ImageNotActive', `${use}: its status is ${image.status}, not active`);
  }
  if (image.containerFormat === 'docker') {
    throw new ImageFault(
      'ImageUnacceptable',
      `${use}: it is a docker archive, which is not taken; ${ADVICE}`,
    );
  }
  if (image.minRam > flavor.memoryMb) {
    throw new ImageFault(
      'FlavorMemoryTooSmall',
      `${use}: it needs ${String(image.minRam)} MiB of memory, the flavor has ${String(flavor.memoryMb)}`,
    );
  }
  // A flavor without a root disk size sets no limit.
  if (flavor.rootGb === 0) return;
  const needed = Math.max(image.minDisk, Math.max(image.size ?? 0, virtualSize(image)) / 2 ** 30);
  if (needed > flavor.rootGb) {
    throw new ImageFault(
      'FlavorDiskTooSmall',
      `${use}: it needs ${String(Math.ceil(needed))} GiB of disk, the flavor has ${String(flavor.rootGb)}`,
    );
  }
}

/** Size of the disk inside, as Glance found it; 0 when it does not say. Bytes. */
function virtualSize(image: Image): number {
  return numberOrNull(image.raw['virtual_size']) ?? 0;
}

/**
 * With `[glance] verify_glance_signatures` every image must be signed, and its
 * certificate comes from the key manager (Barbican), which is not asked here:
 * so none can be used, signed or not. Fault SignatureVerificationError.
 */
export function refuseUnproven(image: Image): void {
  const isSigned = Object.keys(image.raw).some((key) => key.startsWith('img_signature'));
  const reason = isSigned
    ? 'its signature cannot be verified, because certificates are not fetched from the key manager'
    : 'it has no signature';
  throw new ImageFault(
    'SignatureVerificationError',
    `use image ${image.id}: ${reason}; [glance] verify_glance_signatures is on`,
  );
}

const ADVICE =
  'upload a disk (raw or qcow2), a file system, or a root file system as tar (any compression) or squashfs';
const TAKEN: ReadonlySet<ImageFormat> = new Set([
  'tar',
  'compressed',
  'squashfs',
  'qcow2',
  'disk',
  'filesystem',
]);

/** Fault ImageUnacceptable for formats the REST daemon cannot import. What is inside is the daemon's to judge. */
export function refuseFormat(image: string, format: ImageFormat): void {
  if (TAKEN.has(format)) return;
  const is = format === 'unknown' ? 'of no known format' : `a ${format} image`;
  throw new ImageFault('ImageUnacceptable', `use image ${image}: it is ${is}; ${ADVICE}`);
}
