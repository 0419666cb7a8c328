/** The log folder of an instance: what clients may see of it, and how old files leave it. */
import { lstat, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { containerName } from '../paths.ts';
import type { Paths } from '../paths.ts';
import { isErrno } from './descriptor-streams.ts';
import type { InstanceParts } from './parts.ts';

/** Files that LXD serves; everything else in the folder is not a client's business. */
const NAMES = ['lxc.log', 'lxc.conf', 'qemu.log'];
const PREFIXES = ['migration_', 'snapshot_', 'exec_'];
/** Files of the running container, which are kept however old they are. */
const IN_USE = ['lxc.log', 'lxc.conf', 'console.log'];
const KEEP_MS = 48 * 3600 * 1000;

interface InstanceName {
  readonly project: string;
  readonly name: string;
}

export function instanceLogDir(paths: Pick<Paths, 'log'>, instance: InstanceName): string {
  return join(paths.log, containerName(instance.project, instance.name));
}

/** Names of the files a client may see. */
export async function listLogs(paths: Pick<Paths, 'log'>, instance: InstanceName): Promise<string[]> {
  const names = await namesIn(instanceLogDir(paths, instance));
  return names.filter(isLogName).sort();
}

/** Where a log file is. Faults bad_request for another file's name, not_found. */
export async function findLogFile(
  paths: Pick<Paths, 'log'>,
  instance: InstanceName,
  file: string,
): Promise<string> {
  const path = logPath(paths, instance, file);
  try {
    // The folder is the daemon's own, so a link in it can only be a mistake; it is not followed.
    if ((await lstat(path)).isFile()) return path;
  } catch (err) {
    if (!isErrno(err, 'ENOENT', 'ENAMETOOLONG'))
      throw new Fault('internal', `open log file "${file}"`, { cause: err });
  }
  throw new Fault('not_found', `no log file "${file}"`);
}

/** Faults bad_request for the files of liblxc and for other names, not_found. */
export async function deleteLog(
  paths: Pick<Paths, 'log'>,
  instance: InstanceName,
  file: string,
): Promise<void> {
  const path = logPath(paths, instance, file);
  if (file === 'lxc.log' || file === 'lxc.conf') {
    throw new Fault('bad_request', 'lxc.log and lxc.conf may not be deleted');
  }
  try {
    await unlink(path);
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'EISDIR', 'EPERM', 'ENAMETOOLONG')) {
      throw new Fault('not_found', `no log file "${file}"`);
    }
    throw new Fault('internal', `delete log file "${file}"`, { cause: err });
  }
}

/** Removes log files of instances that have not been written for two days. Run daily. */
export async function expireLogs(
  parts: Pick<InstanceParts, 'paths' | 'log' | 'store'>,
  now = Date.now(),
): Promise<void> {
  for (const row of parts.store.list()) {
    const dir = instanceLogDir(parts.paths, row);
    for (const name of await namesIn(dir)) {
      if (!IN_USE.includes(name)) await expire(parts.log, join(dir, name), now);
    }
  }
}

async function expire(log: Log, path: string, now: number): Promise<void> {
  try {
    const found = await lstat(path);
    if (found.isFile() && now - found.mtimeMs > KEEP_MS) await unlink(path);
  } catch (err) {
    // Deleted by a client in between is what was wanted; the rest must not stop the other files.
    if (!isErrno(err, 'ENOENT')) log.warn('old log file stays', { file: path, error: err });
  }
}

function isLogName(name: string): boolean {
  return NAMES.includes(name) || PREFIXES.some((prefix) => name.startsWith(prefix));
}

function logPath(paths: Pick<Paths, 'log'>, instance: InstanceName, file: string): string {
  if (!isLogName(file) || /[/\0]/.test(file)) {
    throw new Fault('bad_request', `log file name ${JSON.stringify(file.slice(0, 64))} is not valid`);
  }
  return join(instanceLogDir(paths, instance), file);
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return [];
    throw new Fault('internal', 'list log files', { cause: err });
  }
}
