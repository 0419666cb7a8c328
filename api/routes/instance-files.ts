/** `/1.0/instances/{name}/files`: one file, directory or link inside an instance. */
import { posix } from 'node:path';
import type { FileStat } from '../../native/types.ts';
import type { InstanceRow } from '../db/rows.ts';
import type { Answer, Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import type { FileSessions } from '../instances/file-sessions.ts';
import { checkPath, deleteFile, readFile, statFile, writeFile } from '../instances/files.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { fileList, readFileHeaders, writeFileHeaders } from '../wire/files.ts';

const PATH = '/1.0/instances/{name}/files';

export interface FileRouteParts extends Pick<InstanceParts, 'store' | 'events'> {
  readonly files: FileSessions;
}

export function instanceFileRoutes(parts: FileRouteParts): Route[] {
  return [
    {
      method: 'GET',
      path: PATH,
      access: 'project',
      summary: 'Reads a file or a link, or lists a directory.',
      answer: fileList,
      handle: (call) => read(parts, call),
    },
    {
      method: 'HEAD',
      path: PATH,
      access: 'project',
      summary: 'Owner, mode and kind of a file.',
      handle: async (call) => {
        const { row, path } = target(parts, call);
        return { kind: 'headers', headers: headersOf(await statFile(parts.files, row.id, path)) };
      },
    },
    {
      method: 'POST',
      path: PATH,
      access: 'project',
      summary: 'Writes or appends to a file, makes a directory or a link.',
      body: 'stream',
      handle: async (call) => {
        const { row, path } = target(parts, call);
        const headers = readFileHeaders(call.headers);
        await writeFile(parts.files, row.id, path, { headers, body: call.stream, signal: call.signal });
        told(parts, call, 'instance-file-pushed', row, path);
        return answers.empty();
      },
    },
    {
      method: 'DELETE',
      path: PATH,
      access: 'project',
      summary: 'Removes a file or an empty directory.',
      handle: async (call) => {
        const { row, path } = target(parts, call);
        await deleteFile(parts.files, row.id, path);
        told(parts, call, 'instance-file-deleted', row, path);
        return answers.empty();
      },
    },
  ];
}

async function read(parts: FileRouteParts, call: Call): Promise<Answer> {
  const { row, path } = target(parts, call);
  const content = await readFile(parts.files, row.id, path);
  told(parts, call, 'instance-file-retrieved', row, path);
  const headers = headersOf(content.stat);
  const filename = posix.basename(path);
  switch (content.kind) {
    case 'directory':
      return { kind: 'sync', metadata: content.names, headers };
    case 'symlink':
      return { kind: 'file', content: { bytes: Buffer.from(content.target) }, filename, headers };
    case 'file':
      return { kind: 'file', content: { fd: content.fd }, filename, headers };
  }
}

function target(parts: FileRouteParts, call: Call): { readonly row: InstanceRow; readonly path: string } {
  const row = parts.store.byName(call.project, call.params['name'] ?? '');
  return { row, path: checkPath(call.query.get('path')) };
}

/** LXD calls everything a file that is neither directory nor link. */
function headersOf(stat: FileStat): Record<string, string> {
  return writeFileHeaders({ ...stat, kind: stat.type === 'other' ? 'file' : stat.type });
}

function told(parts: FileRouteParts, call: Call, action: string, row: InstanceRow, path: string): void {
  parts.events.lifecycle(action, instanceUrl(row), {
    project: row.project,
    context: { path },
    requestor: call.caller.requestor,
  });
}
