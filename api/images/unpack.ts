/**
 * Unpacks an image into a directory: rootfs/, metadata.yaml, templates/.
 *
 * The archive is somebody else's. The programs that read it run confined by
 * the helper (they can write below the target alone); afterwards what an image
 * must not bring is removed, and nothing of it is followed as a link by us.
 */
import { chmod, chown, lstat, open, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants } from 'node:fs';
import { Fault, isFault } from '../../process/fault.ts';
import { steps } from '../../native/steps.ts';
import type { Native } from '../../native/types.ts';
import type { StoredImage } from '../storage/types.ts';
import { asFull, withRoom } from '../storage/space.ts';
import { isMissing, makeDir } from '../storage/layout.ts';
import { runTool } from '../tools.ts';
import { readerForTar } from './disk/reader-command.ts';
import { decompressorFor, sniffPath } from './inspect.ts';
import { MAX_METADATA_BYTES, metadataOfRoot, parseImageMetadata, renderImageMetadata } from './metadata.ts';
import type { ArchiveKind } from './sniff.ts';

/** Largest single file; it may be sparse. */
const MAX_FILE_BYTES = 1024 * 2 ** 30;
/** Exit code of the helper when the program could not be run confined at all. */
const CONFINE_FAILED = 125;
const KEPT = new Set(['rootfs', 'metadata.yaml', 'templates']);

/**
 * `target` exists and is empty. On failure it holds rubbish and the caller
 * removes it. Faults: not_found when the image's file is gone, storage_full,
 * bad_request for a damaged image.
 */
export async function unpackImage(
  native: Native,
  image: StoredImage,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  await withRoom(target, signal, async (both) => {
    const rootfs = join(target, 'rootfs');
    if (image.isBareRoot) {
      await unpackOne(native, image.path, rootfs, both);
    } else {
      await unpackOne(native, image.path, target, both);
      if (image.rootfsPath !== null) {
        // What the first part calls rootfs is none.
        await rm(rootfs, { recursive: true, force: true });
        await unpackOne(native, image.rootfsPath, rootfs, both);
      }
    }
    await native.run([steps.scrub(target)], { signal: both });
    await settle(target, image);
  });
}

async function unpackOne(native: Native, file: string, into: string, signal: AbortSignal): Promise<void> {
  await makeDir(into, 0o755);
  const command = await unpackCommand(file, into);
  const args = ['confine', into, String(MAX_FILE_BYTES), ...command];
  try {
    await runTool(native.helperPath, args, { signal, timeoutMs: 0 });
  } catch (err) {
    if (!isFault(err, 'tool_failed') || err.facts['exitCode'] === CONFINE_FAILED) throw err;
    const full = asFull(err, into);
    if (full !== err) throw full;
    throw new Fault('bad_request', 'unpack the image: it is damaged or no container image', { cause: err });
  }
}

async function unpackCommand(file: string, into: string): Promise<string[]> {
  const archive = await sniffPath(file).catch((err: unknown) => {
    if (isMissing(err))
      throw new Fault('not_found', `the image's file ${file} is missing; import the image again`);
    throw err;
  });
  if (archive === null || archive.kind === 'foreign') {
    throw new Fault('bad_request', `the image's file ${file} is damaged; import the image again`);
  }
  if (archive.kind === 'squashfs') {
    // Queues of 256 MiB each are the default; the daemon's host has better use for them.
    return ['unsquashfs', '-f', '-n', '-q', '-no-exit-code', '-da', '64', '-fr', '64', '-d', into, file];
  }
  return [
    'tar',
    '--extract',
    ...(await sourceOfTar(archive)),
    `--file=${file}`,
    `--directory=${into}`,
    '--force-local',
    '--numeric-owner',
    '--same-owner',
    '--same-permissions',
    '--xattrs',
    '--xattrs-include=user.*',
    '--xattrs-include=security.capability',
    '--anchored',
    ...['dev/*', './dev/*', 'rootfs/dev/*', './rootfs/dev/*'].map((pattern) => `--exclude=${pattern}`),
  ];
}

/** A disk becomes a tar archive by way of a program too; it stands where a decompressor does. */
async function sourceOfTar(archive: ArchiveKind): Promise<string[]> {
  if (archive.kind !== 'tar') return [`--use-compress-program=${readerForTar()}`];
  const program = await decompressorFor(archive.compression);
  return program === null ? [] : [`--use-compress-program=${program.join(' ')}`];
}

/** Brings an unpacked tree into our shape. Reads nothing through a link. */
async function settle(target: string, image: StoredImage): Promise<void> {
  // The archive's own entry for its top sets these.
  await chown(target, 0, 0);
  await chmod(target, 0o700);
  const rootfs = join(target, 'rootfs');
  const kind = await lstat(rootfs).catch(() => null);
  if (kind?.isDirectory() !== true) {
    throw new Fault('bad_request', 'the image has no root file system (no directory rootfs)');
  }
  for (const name of await readdir(target)) {
    if (!KEPT.has(name)) await rm(join(target, name), { recursive: true, force: true });
  }
  if (image.isBareRoot) await describeRoot(target, image);
  else await checkDescription(target);
  await settleTemplates(join(target, 'templates'));
}

async function describeRoot(target: string, image: StoredImage): Promise<void> {
  const osRelease = await readInside(join(target, 'rootfs'), ['usr/lib/os-release', 'etc/os-release']);
  const { mtimeMs } = await lstat(image.path);
  const metadata = metadataOfRoot(osRelease, Math.floor(mtimeMs / 1000));
  await writeFile(join(target, 'metadata.yaml'), renderImageMetadata(metadata), { mode: 0o644 });
}

/** The first of these files that is one, inside the tree, and small. */
async function readInside(root: string, names: readonly string[]): Promise<string | null> {
  for (const name of names) {
    const real = await realpath(join(root, name)).catch(() => null);
    if (real?.startsWith(`${root}/`) !== true) continue;
    const text = await readSmall(real, 64 * 1024);
    if (text !== null) return text;
  }
  return null;
}

async function readSmall(path: string, limit: number): Promise<string | null> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => null,
  );
  if (file === null) return null;
  try {
    const stats = await file.stat();
    return stats.isFile() && stats.size <= limit ? await file.readFile('utf8') : null;
  } finally {
    await file.close();
  }
}

async function checkDescription(target: string): Promise<void> {
  const path = join(target, 'metadata.yaml');
  const text = await readSmall(path, MAX_METADATA_BYTES);
  if (text === null) throw new Fault('bad_request', 'the image has no metadata.yaml');
  parseImageMetadata(text);
  // A file of our own: the archive's may be a hard link to one below rootfs/.
  await rm(path);
  await writeFile(path, text, { mode: 0o644 });
}

/** Templates are read by the daemon: only real files, in real directories. */
async function settleTemplates(path: string): Promise<void> {
  const kind = await lstat(path).catch(() => null);
  if (kind !== null && !kind.isDirectory()) await rm(path);
  if (kind?.isDirectory() === true) await keepPlainFiles(path);
  await makeDir(path, 0o700);
}

async function keepPlainFiles(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await keepPlainFiles(path);
    else if (!entry.isFile()) await rm(path, { force: true });
  }
}
