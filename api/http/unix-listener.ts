/**
 * The unix socket. Who can open it is trusted, so its mode must be right from
 * the first moment: it is bound under a tight umask, never chmodded.
 */
import { chownSync } from 'node:fs';
import { lstat, mkdir, unlink } from 'node:fs/promises';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Fault } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';
import { groupId } from './system-names.ts';

export interface UnixListenOptions {
  readonly path: string;
  /** Group that may use the socket besides root; skipped with a warning when the host lacks it. */
  readonly group: string | null;
  /** A listening descriptor from systemd's socket activation; path and group are then systemd's affair. */
  readonly activatedFd: number | null;
  readonly log: Log;
}

/** Fault conflict when another daemon answers on the socket, bad_request when the path is something else. */
export async function listenUnix(server: Server, options: UnixListenOptions): Promise<void> {
  if (options.activatedFd !== null) {
    server.listen({ fd: options.activatedFd });
    await once(server, 'listening');
    return;
  }
  const { path } = options;
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  await removeStale(path);
  const before = process.umask(0o117);
  try {
    // bind(2) is called before listen() returns; only the event comes later.
    server.listen({ path, backlog: 1024 });
  } finally {
    process.umask(before);
  }
  await once(server, 'listening');
  giveToGroup(options);
}

function giveToGroup({ path, group, log }: UnixListenOptions): void {
  if (group === null || process.getuid?.() !== 0) return;
  const id = groupId(group);
  if (id === null) log.warn('the group for the socket does not exist, only root can use it', { group });
  else chownSync(path, 0, id);
}

/** Removes a socket nobody listens on. */
async function removeStale(path: string): Promise<void> {
  const stat = await lstat(path).catch((err: unknown) => {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return null;
    throw err;
  });
  if (stat === null) return;
  if (!stat.isSocket()) {
    throw new Fault('bad_request', `${path} is there and is no socket; move it away`);
  }
  if (await isAnswered(path)) {
    throw new Fault(
      'conflict',
      `another daemon answers on ${path}; stop it first, or use another state folder`,
    );
  }
  await unlink(path);
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (err) => {
      const code = 'code' in err ? err.code : '';
      // EAGAIN: its queue is full, so it has an owner.
      if (code === 'EAGAIN') resolve(true);
      else if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      else reject(new Fault('conflict', `look for another daemon on ${path}`, { cause: err }));
    });
  });
}
