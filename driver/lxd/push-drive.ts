/** Puts a config drive into a guest, where cloud-init looks for one: /config-drive. */
import { type FileTree } from './config-drive.ts';
import { type Caller, type LxdClient } from './client.ts';

/** cloud-init takes this folder for a config drive with the label config-2. */
export const DRIVE_FOLDER = '/config-drive';

/** Writes the tree, readable by root alone: it may hold a password. The instance need not run. */
export async function pushDrive(
  client: Pick<LxdClient, 'pushFile' | 'pushFolder'>,
  caller: Caller,
  name: string,
  tree: FileTree,
): Promise<void> {
  const folders = new Set<string>([DRIVE_FOLDER]);
  for (const path of tree.keys()) {
    const parts = path.split('/').slice(0, -1);
    parts.forEach((_part, at) => folders.add(`${DRIVE_FOLDER}/${parts.slice(0, at + 1).join('/')}`));
  }
  for (const folder of folders) await client.pushFolder(caller, name, folder, 0o700);
  for (const [path, content] of tree) {
    await client.pushFile(caller, name, { path: `${DRIVE_FOLDER}/${path}`, content, mode: 0o600 });
  }
}
