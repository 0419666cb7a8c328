/**
 * Reads an archive from one end to the other without unpacking it: is it
 * whole, what kind of image is it, what does it say of itself.
 *
 * This is all that an import does with the contents. It costs the
 * decompression only, and finds a damaged file before anything is written.
 */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { Fault, isFault } from '../../process/fault.ts';
import { hasTool, runTool, streamTool } from '../tools.ts';
import { MAX_METADATA_BYTES } from './metadata.ts';
import { SNIFF_BYTES, decompressor, sniff } from './sniff.ts';
import type { ArchiveKind, Compression } from './sniff.ts';
import { TarWalk } from './tar-walk.ts';
import type { TarEntry } from './tar-walk.ts';

/** Images that unpack to more than this are refused. */
export const MAX_UNPACKED_BYTES = 64 * 2 ** 30;
/** Files, directories and links in one image. */
export const MAX_ENTRIES = 5_000_000;

export interface Contents {
  readonly archive: ArchiveKind;
  readonly metadataText: string | null;
  readonly osRelease: string | null;
  /** `rootfs/` beside metadata.yaml. */
  readonly hasRootfs: boolean;
  /** `rootfs.img`: a virtual machine. */
  readonly hasDisk: boolean;
  /** Top directories are those of a Linux system. */
  readonly looksLikeRoot: boolean;
  /** Size when unpacked; null when it cannot be told beforehand (squashfs). */
  readonly unpackedBytes: number | null;
}

const ROOT_NAMES = new Set(['bin', 'sbin', 'etc', 'usr', 'init', 'lib']);
const OS_RELEASE = ['usr/lib/os-release', 'etc/os-release'];
const MAX_OS_RELEASE = 64 * 1024;

/** Faults: bad_request for what is no image, is damaged or too large; not_implemented for disk images. */
export async function inspectArchive(path: string, signal: AbortSignal): Promise<Contents> {
  const file = await open(path, 'r');
  try {
    const archive = await sniffFile(file);
    if (archive === null) {
      throw new Fault('bad_request', 'the file is no image: it is neither a tar archive nor a squashfs');
    }
    if (archive.kind === 'qcow2') {
      throw new Fault('not_implemented', 'the file is a qcow2 disk; only container images can be used');
    }
    return archive.kind === 'tar'
      ? await inspectTar(file, archive.compression, signal)
      : await inspectSquashfs(file, path, signal);
  } finally {
    await file.close();
  }
}

/** What a file is; null when it is nothing we know. */
export async function sniffPath(path: string): Promise<ArchiveKind | null> {
  const file = await open(path, 'r');
  try {
    return await sniffFile(file);
  } finally {
    await file.close();
  }
}

async function sniffFile(file: FileHandle): Promise<ArchiveKind | null> {
  const head = Buffer.alloc(SNIFF_BYTES);
  const { bytesRead } = await file.read(head, 0, SNIFF_BYTES, 0);
  return sniff(head.subarray(0, bytesRead));
}

let pigz: Promise<boolean> | null = null;

/** Arguments of the program that unpacks this compression; null for none. */
export async function decompressorFor(compression: Compression): Promise<readonly string[] | null> {
  pigz ??= hasTool('pigz');
  return decompressor(compression, await pigz);
}

class Findings {
  metadataText: string | null = null;
  osRelease: string | null = null;
  hasRootfs = false;
  hasDisk = false;
  looksLikeRoot = false;
  entries = 0;
  bytes = 0;

  onEntry(entry: TarEntry): boolean {
    this.entries += 1;
    this.bytes += entry.size;
    if (this.entries > MAX_ENTRIES || this.bytes > MAX_UNPACKED_BYTES) throw tooLarge();
    const top = entry.name.split('/', 1)[0] ?? '';
    if (top === 'rootfs' && (entry.name !== top || entry.type === '5')) this.hasRootfs = true;
    if (entry.name === 'rootfs.img') this.hasDisk = true;
    if (ROOT_NAMES.has(top)) this.looksLikeRoot = true;
    if (entry.type !== '0') return false;
    if (entry.name === 'metadata.yaml') {
      if (entry.size > MAX_METADATA_BYTES) throw metadataTooLarge();
      return true;
    }
    return OS_RELEASE.includes(entry.name) && entry.size <= MAX_OS_RELEASE;
  }

  onContent(entry: TarEntry, content: Buffer): void {
    if (entry.name === 'metadata.yaml') this.metadataText = content.toString('utf8');
    else this.osRelease ??= content.toString('utf8');
  }
}

function tooLarge(): Fault {
  return new Fault(
    'bad_request',
    `the image unpacks to more than ${String(MAX_UNPACKED_BYTES / 2 ** 30)} GiB or ${String(MAX_ENTRIES)} files`,
  );
}

function metadataTooLarge(): Fault {
  return new Fault('bad_request', 'metadata.yaml of the image is larger than 1 MiB');
}

async function inspectTar(
  file: FileHandle,
  compression: Compression,
  signal: AbortSignal,
): Promise<Contents> {
  const findings = new Findings();
  const walk = new TarWalk(findings);
  let streamed = 0;
  for await (const chunk of plainTar(file, compression)) {
    signal.throwIfAborted();
    streamed += chunk.length;
    // Headers without contents count too.
    if (streamed > 2 * MAX_UNPACKED_BYTES) throw tooLarge();
    walk.push(chunk);
  }
  walk.end();
  return { ...facts(findings), archive: { kind: 'tar', compression }, unpackedBytes: findings.bytes };
}

function facts(found: Findings): Omit<Contents, 'archive' | 'unpackedBytes'> {
  const { metadataText, osRelease, hasRootfs, hasDisk, looksLikeRoot } = found;
  return { metadataText, osRelease, hasRootfs, hasDisk, looksLikeRoot };
}

/** The bytes of the tar archive, decompressed by a program of its own. */
async function* plainTar(file: FileHandle, compression: Compression): AsyncGenerator<Buffer> {
  const program = await decompressorFor(compression);
  if (program === null) {
    const stream = file.createReadStream({ start: 0, autoClose: false, highWaterMark: 1024 * 1024 });
    for await (const chunk of stream) yield chunk as Buffer; // no encoding is set
    return;
  }
  const [name = '', ...args] = program;
  // sniffFile() read at a position, so the descriptor still stands at 0.
  const tool = streamTool(name, [...args, '-dc'], file.fd);
  try {
    for await (const chunk of tool.stdout) yield chunk as Buffer; // no encoding is set
    await tool.finished;
  } catch (err) {
    if (!isFault(err, 'tool_failed') || err.facts['exitCode'] === undefined) throw err;
    throw new Fault('bad_request', 'the archive is damaged or cut short', { cause: err });
  } finally {
    tool.stop();
  }
}

/** Offset of `bytes_used` in the superblock. */
const SQUASHFS_USED_AT = 40;

async function inspectSquashfs(file: FileHandle, path: string, signal: AbortSignal): Promise<Contents> {
  const head = Buffer.alloc(96);
  const { bytesRead } = await file.read(head, 0, head.length, 0);
  const { size } = await file.stat();
  if (bytesRead < head.length || head.readBigUInt64LE(SQUASHFS_USED_AT) > BigInt(size)) {
    throw new Fault('bad_request', 'the squashfs is cut short: its end is missing');
  }
  const found = new Findings();
  for (const line of (await listTop(path, signal)).split('\n')) {
    const name = line.replace(/^squashfs-root\/?/, '');
    if (name === 'rootfs') found.hasRootfs = true;
    if (name === 'rootfs.img') found.hasDisk = true;
    if (name === 'metadata.yaml') {
      found.metadataText = await fileOfSquashfs(path, name, MAX_METADATA_BYTES, signal);
    }
    if (ROOT_NAMES.has(name)) found.looksLikeRoot = true;
  }
  if (found.looksLikeRoot) {
    for (const name of OS_RELEASE) {
      found.osRelease ??= await fileOfSquashfs(path, name, MAX_OS_RELEASE, signal).catch(() => null);
    }
  }
  return { ...facts(found), archive: { kind: 'squashfs' }, unpackedBytes: null };
}

async function listTop(path: string, signal: AbortSignal): Promise<string> {
  try {
    return (await runTool('unsquashfs', ['-l', '-max-depth', '1', path], { signal })).stdout;
  } catch (err) {
    if (!isFault(err, 'tool_failed') || err.facts['exitCode'] === undefined) throw err;
    throw new Fault('bad_request', 'the squashfs is damaged', { cause: err });
  }
}

async function fileOfSquashfs(
  path: string,
  name: string,
  limit: number,
  signal: AbortSignal,
): Promise<string> {
  try {
    const args = ['-no-wildcards', '-cat', path, name];
    return (await runTool('unsquashfs', args, { signal, maxOutputBytes: limit })).stdout;
  } catch (err) {
    if (!isFault(err, 'tool_failed')) throw err;
    throw new Fault('bad_request', `${name} of the image cannot be read or is too large`, { cause: err });
  }
}
