/** Gives a guest its config drive: a read-only folder where cloud-init looks for one, /config-drive. */
import { Readable } from 'node:stream';
import { packTar, type TarEntry } from 'modern-tar';
import { type FileTree } from './config-drive.ts';
import { type Caller, type LxdClient } from './client.ts';

/** Replaces what was there. The instance must be stopped; its guest finds the files from its next start on. */
export async function pushDrive(
  client: Pick<LxdClient, 'rest'>,
  caller: Caller,
  name: string,
  tree: FileTree,
): Promise<void> {
  const entries = [...tree].map(([path, content]): TarEntry => ({
    header: { name: path, size: content.length, type: 'file', mode: 0o400 },
    body: content,
  }));
  await client.rest.request({
    ...caller,
    method: 'PUT',
    path: `/1.0/instances/${encodeURIComponent(name)}/config-drive`,
    headers: { 'Content-Type': 'application/x-tar' },
    body: Readable.from([Buffer.from(await packTar(entries))]),
  });
}
