/**
 * One daemon for one state folder: an abstract socket that is named after the
 * folder is held for as long as the process lives; the kernel lets it go with
 * the process, however that ends.
 */
import { createServer } from 'node:net';
import { realpath } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { Fault } from '../process/fault.ts';

export interface StateLock {
  release(): void;
}

/** Fault conflict when another daemon has the folder. */
export async function lockState(state: string): Promise<StateLock> {
  const name = createHash('sha256')
    .update(await realpath(state))
    .digest('hex')
    .slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  server.unref();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (err) => {
      const taken = 'code' in err && err.code === 'EADDRINUSE';
      reject(
        taken
          ? new Fault(
              'conflict',
              `another daemon is running on ${state}; stop it first, or choose another folder with --state-dir`,
            )
          : new Fault('internal', `lock the state folder ${state}`, { cause: err }),
      );
    });
    server.listen(`\0slipway-${name}`, resolve);
  });
  return {
    release: () => {
      server.close();
    },
  };
}
