/** Files of an instance, through the REST API: running or not. */
import { Readable } from 'node:stream';
import type { Cloud } from './setting.ts';

export interface GuestFile {
  readonly path: string;
  readonly content: string;
  /** Octal: 0o644. */
  readonly mode: number;
}

function urlOf(name: string, path: string): string {
  return `/1.0/instances/${name}/files?path=${encodeURIComponent(path)}`;
}

async function post(cloud: Cloud, name: string, kind: 'file' | 'directory', file: GuestFile): Promise<void> {
  const headers = {
    'Content-Type': 'application/octet-stream',
    'X-LXD-type': kind,
    'X-LXD-mode': `0${file.mode.toString(8)}`,
    'X-LXD-uid': '0',
    'X-LXD-gid': '0',
  };
  const body = Readable.from([Buffer.from(file.content)]);
  const path = urlOf(name, file.path);
  await cloud.lxd.rest.request({ ...cloud.caller, method: 'POST', path, headers, body });
}

/** Writes a file of root's; folders above it must be there. */
export function pushFile(cloud: Cloud, name: string, file: GuestFile): Promise<void> {
  return post(cloud, name, 'file', file);
}

/** Makes a folder of root's; harmless when it is there. */
export function pushFolder(cloud: Cloud, name: string, path: string): Promise<void> {
  return post(cloud, name, 'directory', { path, mode: 0o755, content: '' });
}

/** Fault not_found when there is no such file. */
export async function pullFile(cloud: Cloud, name: string, path: string): Promise<string> {
  const body = await cloud.lxd.rest.stream({ ...cloud.caller, method: 'GET', path: urlOf(name, path) });
  const parts: Buffer[] = [];
  for await (const part of body) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString('utf8');
}
