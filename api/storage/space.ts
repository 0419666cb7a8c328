/** Free space: nothing of ours may fill a file system to the last byte. */
import { statfs } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, describeChain } from '../../process/fault.ts';
import type { PoolSpace } from './types.ts';

const GIB = 2 ** 30;
const LOOK_EVERY_MS = 200;

export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly freeInodes: number;
  readonly totalInodes: number;
}

/** What is left for ordinary users on the file system of a directory. */
export async function roomOn(directory: string): Promise<Room> {
  const stats = await statfs(directory);
  return {
    freeBytes: stats.bavail * stats.bsize,
    totalBytes: stats.blocks * stats.bsize,
    freeInodes: stats.ffree,
    totalInodes: stats.files,
  };
}

/** Bytes that stay free: 5 %, at least 1 GiB, but never more than a fifth of a small file system. */
export function reserveBytes(totalBytes: number): number {
  return Math.min(Math.max(GIB, totalBytes / 20), totalBytes / 5);
}

/** Pure: the reason why `wantedBytes` more must not be written; null when they may. */
export function refusal(room: Room, wantedBytes: number): string | null {
  if (room.freeBytes - wantedBytes < reserveBytes(room.totalBytes)) {
    const free = String(Math.floor(room.freeBytes / 2 ** 20));
    const keep = String(Math.floor(reserveBytes(room.totalBytes) / 2 ** 20));
    return `only ${free} MiB are free, of which ${keep} MiB are kept in reserve`;
  }
  // File systems without a fixed number of inodes (btrfs) say 0 of 0.
  if (room.totalInodes > 0 && room.freeInodes < room.totalInodes / 100) {
    return 'nearly all inodes are in use';
  }
  return null;
}

/** Fault storage_full when writing so much would eat into the reserve. */
export async function assertRoom(directory: string, wantedBytes: number): Promise<void> {
  const reason = refusal(await roomOn(directory), wantedBytes);
  if (reason !== null) throw full(directory, reason);
}

function full(directory: string, reason: string): Fault {
  return new Fault('storage_full', `the file system of ${directory} is full: ${reason}`);
}

/**
 * Does work that writes to a directory, and aborts it when the space runs out.
 * The Fault storage_full then takes the place of whatever the work threw.
 */
export async function withRoom<T>(
  directory: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  await assertRoom(directory, 0);
  const over = new AbortController();
  const done = new AbortController();
  const watching = watch(directory, over, done.signal);
  try {
    return await work(AbortSignal.any([signal, over.signal]));
  } catch (err) {
    if (over.signal.aborted) throw over.signal.reason;
    throw asFull(err, directory);
  } finally {
    done.abort();
    await watching;
  }
}

async function watch(directory: string, over: AbortController, done: AbortSignal): Promise<void> {
  for (;;) {
    await sleep(LOOK_EVERY_MS, undefined, { signal: done, ref: false }).catch(() => undefined);
    if (done.aborted) return;
    // A file system that cannot be asked will tell the work itself.
    const room = await roomOn(directory).catch(() => null);
    const reason = room === null ? null : refusal(room, 0);
    if (reason !== null) {
      over.abort(full(directory, reason));
      return;
    }
  }
}

/** A program's or the kernel's "no space" becomes Fault storage_full; anything else stays what it is. */
export function asFull(err: unknown, directory: string): unknown {
  if (err instanceof Fault && err.code === 'storage_full') return err;
  if (!/ENOSPC|EDQUOT|No space left on device|Disk quota exceeded/.test(describeChain(err))) return err;
  return new Fault('storage_full', `no space left for ${directory}`, { cause: err });
}

/** Use of the file system of a directory, for `GET …/resources`. */
export async function spaceOf(directory: string): Promise<PoolSpace> {
  const stats = await statfs(directory);
  return {
    space: { used: (stats.blocks - stats.bfree) * stats.bsize, total: stats.blocks * stats.bsize },
    inodes: { used: stats.files - stats.ffree, total: stats.files },
  };
}
