/**
 * Reading and changing files inside an instance, running or stopped. Paths are
 * resolved by the helper inside the container; nothing here ever opens one.
 */
import { close as closeFd, createWriteStream } from 'node:fs';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Fault, isFault } from '../../process/fault.ts';
import type { FaultCode } from '../../process/fault.ts';
import type { FileSession, FileStat } from '../../native/types.ts';
import type { FileHeaders } from '../wire/files.ts';
import type { FileSessions } from './file-sessions.ts';

/** Longest path and longest target of a link, the kernel's PATH_MAX. */
const PATH_MAX = 4096;
/** Bytes of a body that wait for the disk. */
const WRITE_BUFFER = 1024 * 1024;

export type FileContent =
  | { readonly kind: 'file'; readonly stat: FileStat; /** The caller closes it. */ readonly fd: number }
  | { readonly kind: 'directory'; readonly stat: FileStat; readonly names: readonly string[] }
  | {
      readonly kind: 'symlink';
      readonly stat: FileStat;
      /** Absolute, as seen inside. */ readonly target: string;
    };

/** The path as the helper wants it: absolute. Fault bad_request for one that cannot be. */
export function checkPath(path: string | null): string {
  if (path === null || path === '') throw new Fault('bad_request', 'missing path argument');
  if (path.includes('\0') || Buffer.byteLength(path) >= PATH_MAX) {
    throw new Fault('bad_request', 'path must be shorter than 4096 bytes and hold no NUL bytes');
  }
  return path.startsWith('/') ? path : `/${path}`;
}

/** What is at `path`; a link at its end is not followed. Faults not_found, forbidden, bad_request. */
export function statFile(sessions: FileSessions, id: string, path: string): Promise<FileStat> {
  return sessions.use(id, (files) => files.stat(path));
}

/** What is at `path`. Faults not_found, forbidden, bad_request (devices, sockets, pipes). */
export function readFile(sessions: FileSessions, id: string, path: string): Promise<FileContent> {
  return sessions.use(id, async (files) => {
    const stat = await files.stat(path);
    switch (stat.type) {
      case 'directory':
        return { kind: 'directory', stat, names: await files.list(path) };
      case 'symlink':
        return {
          kind: 'symlink',
          stat,
          target: posix.resolve(posix.dirname(path), await files.readlink(path)),
        };
      case 'file': {
        // The file may have been exchanged since: what was opened is what counts.
        const opened = await files.openRead(path);
        return { kind: 'file', stat: opened.stat, fd: opened.fd };
      }
      case 'other':
        throw new Fault(
          'bad_request',
          `${path} is a device, socket or pipe; only files, directories and links can be read`,
        );
    }
  });
}

/** Which of these paths exist (as anything). Never rejects: what cannot be told is false. */
export async function existing(
  sessions: FileSessions,
  id: string,
  paths: readonly string[],
): Promise<boolean[]> {
  const exists = async (files: FileSession, path: string): Promise<boolean> => {
    try {
      await files.stat(path);
      return true;
    } catch (err) {
      if (isFault(err, 'not_found')) return false;
      throw err;
    }
  };
  try {
    return await sessions.use(id, (files) => Promise.all(paths.map((path) => exists(files, path))));
  } catch {
    return paths.map(() => false);
  }
}

/**
 * Writes a file, makes a directory or a link, as the headers say. Faults
 * not_found (no parent, or nothing to append to), already_exists, forbidden,
 * bad_request, storage_full, busy (the instance changes its state meanwhile).
 */
export async function writeFile(
  sessions: FileSessions,
  id: string,
  path: string,
  request: { readonly headers: FileHeaders; readonly body: Readable; readonly signal: AbortSignal },
): Promise<void> {
  const { headers, body, signal } = request;
  const owner = { uid: headers.uid ?? 0, gid: headers.gid ?? 0 };
  switch (headers.kind) {
    case 'directory':
      return sessions.use(id, (files) =>
        makeDirectory(files, path, { ...owner, mode: headers.mode ?? 0o750 }),
      );
    case 'symlink': {
      const target = await readTarget(body);
      return sessions.use(id, (files) => makeLink(files, path, target, owner));
    }
    case 'file':
      return sessions.use(id, async (files, ending) => {
        const mode = headers.mode ?? 0o644;
        const { fd } = await files.openWrite(path, { ...owner, mode, append: headers.append });
        await fill(fd, body, AbortSignal.any([signal, ending]));
      });
  }
}

/** Removes a file or an empty directory. Faults not_found, forbidden, bad_request (not empty). */
export function deleteFile(sessions: FileSessions, id: string, path: string): Promise<void> {
  return sessions.use(id, (files) => files.remove(path));
}

async function makeDirectory(
  files: FileSession,
  path: string,
  options: { readonly uid: number; readonly gid: number; readonly mode: number },
): Promise<void> {
  try {
    await files.mkdir(path, options);
  } catch (err) {
    if (!isFault(err, 'already_exists')) throw err;
    if ((await files.stat(path)).type !== 'directory') throw err;
  }
}

async function makeLink(
  files: FileSession,
  path: string,
  target: string,
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  try {
    await files.symlink(path, target, owner);
  } catch (err) {
    if (!isFault(err, 'already_exists')) throw err;
    const isSame = (await files.stat(path)).type === 'symlink' && (await files.readlink(path)) === target;
    if (!isSame) throw err;
  }
}

async function readTarget(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size >= PATH_MAX)
      throw new Fault('bad_request', 'the target of a link must be shorter than 4096 bytes');
    chunks.push(chunk);
  }
  const target = Buffer.concat(chunks).toString('utf8');
  if (target === '' || target.includes('\0')) {
    throw new Fault('bad_request', 'the body of a link is its target; it must not be empty');
  }
  return target;
}

async function fill(fd: number, body: Readable, signal: AbortSignal): Promise<void> {
  if (signal.aborted) {
    await new Promise((resolve) => {
      closeFd(fd, resolve);
    });
    throw signal.reason;
  }
  const file = createWriteStream('', { fd, highWaterMark: WRITE_BUFFER });
  try {
    await pipeline(body, file, { signal });
  } catch (err) {
    throw writeFault(err);
  }
}

const WRITE_CODES: Readonly<Record<string, FaultCode>> = {
  ENOSPC: 'storage_full',
  EDQUOT: 'storage_full',
  EFBIG: 'too_large',
  EACCES: 'forbidden',
  EPERM: 'forbidden',
  EROFS: 'forbidden',
  EINVAL: 'bad_request',
  ECONNRESET: 'bad_request',
  ERR_STREAM_PREMATURE_CLOSE: 'bad_request',
  ABORT_ERR: 'bad_request',
};

function writeFault(err: unknown): Fault {
  const code = err instanceof Error && 'code' in err ? String(err.code) : '';
  return new Fault(WRITE_CODES[code] ?? 'internal', 'write the file', { cause: err });
}
