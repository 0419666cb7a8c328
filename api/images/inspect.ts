/**
 * Reads an archive from one end to the other without unpacking it: is it
 * whole, what kind of image is it, what does it say of itself.
 *
 * This is all that an import does with the contents. It costs the
 * decompression only, and finds a damaged file before anything is written.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { Fault, isFault } from '../../process/fault.ts';
import { hasTool, runTool, streamTool } from '../tools.ts';
import { readerCommand } from './disk/reader-command.ts';
import { UPLOAD } from './image-files.ts';
import { MAX_METADATA_BYTES } from './metadata.ts';
import { SNIFF_BYTES, decompressor, sniff } from './sniff.ts';
import type { ArchiveKind, Compression } from './sniff.ts';
import { TarWalk } from './tar-walk.ts';
import type { TarEntry } from './tar-walk.ts';

/** Files, directories and links in one image. */
export const MAX_ENTRIES = 5_000_000;
/** What the program that reads disks may write to a file: nothing worth mentioning. */
const READER_FILE_BYTES = 4 * 2 ** 20;
/** Millions of files are looked at in a minute or two; who takes longer was made to. */
const READER_MS = 15 * 60_000;

export interface InspectOptions {
  readonly signal: AbortSignal;
  /** Images that unpack to more than this are refused. */
  readonly maxUnpackedBytes: number;
  /** Of native: runs programs confined. */
  readonly helperPath: string;
  /** Called at most once, early: with its metadata inside, or a root file system as it seems. */
  readonly onShape?: (shape: 'unified' | 'root') => void;
}

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
  /** Of the contents of all files. */
  readonly unpackedBytes: number;
}

const ROOT_NAMES = new Set(['bin', 'sbin', 'etc', 'usr', 'init', 'lib']);
/** What is at the top of an image that describes itself. */
const UNIFIED_NAMES = new Set(['metadata.yaml', 'rootfs', 'templates']);
const OS_RELEASE = ['usr/lib/os-release', 'etc/os-release'];
const MAX_OS_RELEASE = 64 * 1024;

/** Faults: bad_request for what is no image, is damaged or too large; not_implemented for other disk images. */
export async function inspectArchive(path: string, options: InspectOptions): Promise<Contents> {
  const file = await open(path, 'r');
  try {
    const archive = await sniffFile(file);
    switch (archive?.kind) {
      case undefined:
        throw new Fault(
          'bad_request',
          'the file is no image: it is neither a tar archive nor a squashfs, and no disk (raw or qcow2)',
        );
      case 'foreign':
        throw new Fault(
          'not_implemented',
          `the file is ${archive.name}; convert it (qemu-img convert -O qcow2), or send a root file system`,
        );
      case 'tar':
        return await inspectTar(file, archive.compression, options);
      case 'squashfs':
        return await inspectSquashfs(file, path, options);
      case 'qcow2':
      case 'raw':
        return await inspectDisk(file, path, archive, options);
    }
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
  private readonly maxBytes: number;
  private readonly onShape: (shape: 'unified' | 'root') => void;
  private isShapeTold = false;
  metadataText: string | null = null;
  osRelease: string | null = null;
  hasRootfs = false;
  hasDisk = false;
  looksLikeRoot = false;
  entries = 0;
  bytes = 0;

  constructor({ maxUnpackedBytes, onShape }: InspectOptions) {
    this.maxBytes = maxUnpackedBytes;
    this.onShape = onShape ?? (() => undefined);
  }

  /** Metadata is mostly the first thing in an archive; what begins with something else has none. */
  private shape(top: string): void {
    if (this.isShapeTold || top === '') return;
    this.isShapeTold = true;
    this.onShape(UNIFIED_NAMES.has(top) ? 'unified' : 'root');
  }

  count(bytes: number): void {
    this.entries += 1;
    this.bytes += bytes;
    if (this.entries > MAX_ENTRIES || this.bytes > this.maxBytes) throw tooLarge(this.maxBytes);
  }

  onEntry(entry: TarEntry): boolean {
    this.count(entry.size);
    const top = entry.name.split('/', 1)[0] ?? '';
    this.shape(top);
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

function tooLarge(maxBytes: number): Fault {
  const gib = String(Math.round((maxBytes / 2 ** 30) * 100) / 100);
  return new Fault(
    'bad_request',
    `the image unpacks to more than ${gib} GiB or ${String(MAX_ENTRIES)} files (images.max_unpacked_size)`,
  );
}

function metadataTooLarge(): Fault {
  return new Fault('bad_request', 'metadata.yaml of the image is larger than 1 MiB');
}

async function inspectTar(
  file: FileHandle,
  compression: Compression,
  options: InspectOptions,
): Promise<Contents> {
  const { signal, maxUnpackedBytes } = options;
  const findings = new Findings(options);
  const walk = new TarWalk(findings);
  let streamed = 0;
  for await (const chunk of plainTar(file, compression)) {
    signal.throwIfAborted();
    streamed += chunk.length;
    // Headers without contents count too.
    if (streamed > 2 * maxUnpackedBytes + MAX_ENTRIES * 512) throw tooLarge(maxUnpackedBytes);
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

async function inspectSquashfs(file: FileHandle, path: string, options: InspectOptions): Promise<Contents> {
  const { signal } = options;
  const head = Buffer.alloc(96);
  const { bytesRead } = await file.read(head, 0, head.length, 0);
  const { size } = await file.stat();
  if (bytesRead < head.length || head.readBigUInt64LE(SQUASHFS_USED_AT) > BigInt(size)) {
    throw new Fault('bad_request', 'the squashfs is cut short: its end is missing');
  }
  const found = new Findings(options);
  await measureSquashfs(path, found, signal);
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
  return { ...facts(found), archive: { kind: 'squashfs' }, unpackedBytes: found.bytes };
}

/** `-rw-r--r-- 0/0    1265648 2024-01-01 00:00 squashfs-root/bin/sh`: only the sizes of files count. */
const LISTED = /^([-dlbcps])[-a-zA-Z]{9} [^ ]+ +(\d+) /;

/** Reads the list of all there is; a hard link counts once for each of its names. */
async function measureSquashfs(path: string, found: Findings, signal: AbortSignal): Promise<void> {
  const nothing = await open('/dev/null', 'r');
  const tool = streamTool('unsquashfs', ['-lln', path], nothing.fd);
  try {
    for await (const line of createInterface({ input: tool.stdout })) {
      signal.throwIfAborted();
      const [, type, size] = LISTED.exec(line) ?? [];
      if (type !== undefined) found.count(type === '-' ? Number(size) : 0);
    }
    await tool.finished;
  } catch (err) {
    if (!isFault(err, 'tool_failed') || err.facts['exitCode'] === undefined) throw err;
    throw new Fault('bad_request', 'the squashfs is damaged', { cause: err });
  } finally {
    tool.stop();
    await nothing.close();
  }
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

/** What the program that reads disks says of one. */
async function inspectDisk(
  file: FileHandle,
  path: string,
  archive: ArchiveKind,
  { signal, maxUnpackedBytes, helperPath, onShape }: InspectOptions,
): Promise<Contents> {
  onShape?.('root');
  // It can write to this folder alone, which is empty and goes again.
  const folder = await mkdtemp(join(dirname(path), UPLOAD));
  const command = [...readerCommand(), 'look', String(maxUnpackedBytes), String(MAX_ENTRIES)];
  const tool = streamTool(helperPath, ['confine', folder, String(READER_FILE_BYTES), ...command], file.fd);
  const stop = (): void => {
    tool.stop();
  };
  signal.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(stop, READER_MS);
  try {
    let text = '';
    for await (const chunk of tool.stdout) text += String(chunk);
    await tool.finished;
    const said = diskReport(text);
    return {
      archive,
      metadataText: null,
      osRelease: said.osRelease,
      hasRootfs: false,
      hasDisk: false,
      looksLikeRoot: true,
      unpackedBytes: said.bytes,
    };
  } catch (err) {
    signal.throwIfAborted();
    throw err;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    tool.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function diskReport(text: string): { readonly osRelease: string | null; readonly bytes: number } {
  const said: unknown = JSON.parse(text);
  // Our own program wrote it: an object of these keys.
  const { refused, osRelease, bytes } = said as Readonly<Record<string, unknown>>;
  if (typeof refused === 'string') throw new Fault('bad_request', refused);
  return {
    osRelease: typeof osRelease === 'string' ? osRelease : null,
    bytes: typeof bytes === 'number' ? bytes : 0,
  };
}
