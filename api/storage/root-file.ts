/**
 * A size that is enforced where the file system has no quota: the writable
 * part of a volume lives in an ext4 of that size, in a sparse file.
 *
 * It is mounted by the `loop` step, in the private mount namespace of the
 * instance. Nothing is ever mounted on the host: contents are put in by mkfs,
 * sizes are changed offline, or online inside the running instance's namespace.
 */
import { open, stat, statfs, truncate } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, describeChain, isFault } from '../../process/fault.ts';
import { runTool } from '../tools.ts';
import { asFull } from './space.ts';
import { isMissing } from './layout.ts';

/** Smaller ones hold nothing but their own tables. */
export const MIN_ROOT_BYTES = 16 * 2 ** 20;
const BLOCK = 4096;
/**
 * resize2fs fails half way, and leaves errors, when a file system of one block
 * group has to make room for the tables of hundreds of gigabytes; from here it does not.
 */
const STEP_BYTES = 512 * 2 ** 20;
const DETACH_MS = 3000;
const DETACH_LOOK_MS = 30;

export const ROOT_FS = 'ext4';
/** Inode tables in a fresh sparse file read as zeros already; what is deleted shall leave the file too. */
export const ROOT_MOUNT_OPTIONS = 'noinit_itable,discard';

/** Fault bad_request for a size that makes no file system. */
export function checkSize(sizeBytes: number): void {
  if (sizeBytes < MIN_ROOT_BYTES) {
    throw new Fault(
      'bad_request',
      `a root disk of ${String(sizeBytes)} bytes is too small; the least is 16MiB`,
    );
  }
}

/** Makes the file with a copy of everything in `contents`. Fault bad_request when that does not fit. */
export async function makeRootFile(
  path: string,
  sizeBytes: number,
  contents: string,
  signal: AbortSignal,
): Promise<void> {
  checkSize(sizeBytes);
  const file = await open(path, 'wx', 0o600);
  await file.truncate(sizeBytes - (sizeBytes % BLOCK));
  await file.close();
  const extended = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0';
  const args = ['-q', '-F', '-b', String(BLOCK), '-m', '0', '-E', extended, '-d', contents, path];
  try {
    await runTool('mkfs.ext4', args, { signal, timeoutMs: 0, endsWithUs: true });
  } catch (err) {
    if (isFault(err, 'tool_failed') && /populating|allocate|No space/i.test(err.message)) {
      throw new Fault(
        'bad_request',
        `the contents do not fit into a root disk of ${String(sizeBytes)} bytes`,
        {
          cause: err,
        },
      );
    }
    throw asFull(err, path);
  }
}

/** Size of the file; null when the volume has none. */
export async function rootFileSize(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (err) {
    if (isMissing(err)) return null;
    throw err;
  }
}

/** A copy of a file that nobody has mounted, brought to another size (null: the same). */
export async function copyRootFile(
  from: string,
  to: string,
  sizeBytes: number | null,
  signal: AbortSignal,
): Promise<void> {
  await assertDetached(from);
  const options = { signal, timeoutMs: 0, endsWithUs: true };
  await runTool('cp', ['--reflink=auto', '--sparse=always', '--', from, to], options);
  if (sizeBytes !== null) await resizeDetached(to, sizeBytes, signal);
}

/**
 * Makes a file that nobody has mounted smaller or larger. Growing is safe
 * against a crash; shrinking is not, so it is done to copies only.
 */
export async function resizeDetached(path: string, sizeBytes: number, signal?: AbortSignal): Promise<void> {
  checkSize(sizeBytes);
  await assertDetached(path);
  const now = await rootFileSize(path);
  const wanted = sizeBytes - (sizeBytes % BLOCK);
  if (now === wanted) return;
  if (now !== null && now < STEP_BYTES && wanted > STEP_BYTES) await resizeDetached(path, STEP_BYTES, signal);
  const options = { timeoutMs: 0, endsWithUs: true, ...(signal === undefined ? {} : { signal }) };
  if (now !== null && wanted > now) await truncate(path, wanted);
  await runTool('e2fsck', ['-f', '-y', path], { ...options, okCodes: [0, 1] });
  try {
    await runTool('resize2fs', [path, `${String(wanted / 1024)}K`], options);
  } catch (err) {
    if (!isFault(err, 'tool_failed')) throw err;
    throw new Fault('bad_request', `the root disk cannot be made ${String(sizeBytes)} bytes: it holds more`, {
      cause: err,
    });
  }
  if (now !== null && wanted < now) await truncate(path, wanted);
}

/**
 * Makes the file of a running instance larger, in the mount namespace its
 * monitor has. Fault bad_request where the kernel does not let us (it asks for
 * CAP_SYS_RESOURCE, which a host that is itself a guest may lack).
 */
export async function growAttached(path: string, sizeBytes: number, monitorPid: number): Promise<void> {
  const device = await loopDevice(path);
  if (device === null) throw new Fault('conflict', `${path} is not mounted by the instance that uses it`);
  const { size } = await stat(path);
  await truncate(path, sizeBytes - (sizeBytes % BLOCK));
  try {
    await runTool('losetup', ['--set-capacity', device]);
    await runTool('nsenter', [`--mount=/proc/${String(monitorPid)}/ns/mnt`, '--', 'resize2fs', device]);
  } catch (err) {
    // Where the kernel has begun, the file system may reach into the new part already.
    if (isFault(err, 'tool_failed') && /permi(ssion|tted)/i.test(describeChain(err))) {
      await truncate(path, size);
      await runTool('losetup', ['--set-capacity', device]);
    }
    throw new Fault('bad_request', 'the root disk cannot grow while the instance runs; stop it first', {
      cause: err,
    });
  }
}

/** The loop device a file is behind; null when there is none. */
async function loopDevice(path: string): Promise<string | null> {
  const { stdout } = await runTool('losetup', ['--noheadings', '--output', 'NAME', '--associated', path]);
  const device = stdout.trim().split('\n', 1)[0] ?? '';
  return device === '' ? null : device;
}

/** The namespace of an instance that has just stopped, or of a file transfer, may take a moment to go. */
async function assertDetached(path: string): Promise<void> {
  const deadline = performance.now() + DETACH_MS;
  while ((await loopDevice(path)) !== null) {
    if (performance.now() > deadline) {
      throw new Fault(
        'busy',
        'the root disk is in use by a file transfer or an instance that is stopping; try again',
      );
    }
    await sleep(DETACH_LOOK_MS);
  }
}

export interface RootUse {
  readonly used: number;
  readonly total: number;
}

/** Use of a mounted file system, seen through a process that has it as its root. */
export async function mountedUse(initPid: number): Promise<RootUse> {
  const stats = await statfs(`/proc/${String(initPid)}/root`);
  return { used: (stats.blocks - stats.bfree) * stats.bsize, total: stats.blocks * stats.bsize };
}

/**
 * Use of a file that is not mounted, from its superblock, which the kernel
 * brings up to date when it unmounts (kernel: Documentation/filesystems/ext4/super.rst).
 */
export async function detachedUse(path: string): Promise<RootUse> {
  const file = await open(path, 'r');
  try {
    const block = Buffer.alloc(1024);
    await file.read(block, 0, block.length, 1024);
    if (block.readUInt16LE(0x38) !== 0xef53) throw new Fault('internal', `${path} is no ext4`);
    const size = 1024 * 2 ** block.readUInt32LE(0x18);
    const blocks = block.readUInt32LE(0x4) + block.readUInt32LE(0x150) * 2 ** 32;
    const free = block.readUInt32LE(0xc) + block.readUInt32LE(0x158) * 2 ** 32;
    const overhead = block.readUInt32LE(0x248);
    return { used: Math.max(0, blocks - overhead - free) * size, total: (blocks - overhead) * size };
  } finally {
    await file.close();
  }
}
