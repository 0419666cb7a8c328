/** `/1.0/instances/{name}/logs`: log files and recorded output of commands. */
import type { Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import { deleteLog, findLogFile, listLogs } from '../instances/logs.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { logList } from '../wire/files.ts';

const LIST = '/1.0/instances/{name}/logs';
const ONE = '/1.0/instances/{name}/logs/{file}';

export function instanceLogRoutes(parts: Pick<InstanceParts, 'paths' | 'store' | 'events'>): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'project',
      summary: 'Lists the log files of an instance.',
      answer: logList,
      handle: async (call) => {
        const row = parts.store.byName(call.project, call.params['name'] ?? '');
        const names = await listLogs(parts.paths, row);
        const url = (name: string): string =>
          instanceUrl(row, `/logs/${encodeURIComponent(name)}`, call.instancesPath);
        return answers.sync(names.map(url));
      },
    },
    {
      method: 'GET',
      path: ONE,
      access: 'project',
      summary: 'Reads a log file.',
      handle: async (call) => {
        const row = parts.store.byName(call.project, call.params['name'] ?? '');
        const file = call.params['file'] ?? '';
        const path = await findLogFile(parts.paths, row, file);
        parts.events.lifecycle('instance-log-retrieved', instanceUrl(row), {
          project: row.project,
          context: { file },
          requestor: call.caller.requestor,
        });
        return { kind: 'file', content: { path }, filename: file };
      },
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'project',
      summary: 'Deletes a log file; those of liblxc stay.',
      handle: async (call) => {
        const row = parts.store.byName(call.project, call.params['name'] ?? '');
        const file = call.params['file'] ?? '';
        await deleteLog(parts.paths, row, file);
        parts.events.lifecycle('instance-log-deleted', instanceUrl(row), {
          project: row.project,
          context: { file },
          requestor: call.caller.requestor,
        });
        return answers.empty();
      },
    },
  ];
}
