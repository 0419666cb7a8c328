/** `/1.0/instances/{name}/console`: the console itself, and what it has shown. */
import type { Call, Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import { openInstanceConsole } from '../instances/console.ts';
import { clearConsoleLog, readConsoleLog } from '../instances/console-log.ts';
import { instanceUrl } from '../instances/instance-url.ts';
import type { InstanceParts } from '../instances/parts.ts';
import { instanceConsolePost } from '../wire/console.ts';

const PATH = '/1.0/instances/{name}/console';

export function instanceConsoleRoutes(parts: InstanceParts): Route[] {
  const told = (action: string, call: Call): void => {
    const name = call.params['name'] ?? '';
    parts.events.lifecycle(action, instanceUrl({ project: call.project, name }), {
      project: call.project,
      requestor: call.caller.requestor,
    });
  };
  return [
    {
      method: 'POST',
      path: PATH,
      access: 'project',
      summary: 'Attaches to the console of a running instance.',
      body: instanceConsolePost,
      handle: (call) => {
        const target = {
          project: call.project,
          name: call.params['name'] ?? '',
          requestor: call.caller.requestor,
        };
        const operation = openInstanceConsole(parts, target, instanceConsolePost.parse(call.body));
        return Promise.resolve(answers.async(operation));
      },
    },
    {
      method: 'GET',
      path: PATH,
      access: 'project',
      summary: 'What the console has shown.',
      handle: async (call) => {
        const row = parts.store.byName(call.project, call.params['name'] ?? '');
        const bytes = await readConsoleLog(parts, row);
        told('instance-console-retrieved', call);
        return { kind: 'file', content: { bytes }, filename: 'console.log' };
      },
    },
    {
      method: 'DELETE',
      path: PATH,
      access: 'project',
      summary: 'Forgets what the console has shown.',
      handle: async (call) => {
        await clearConsoleLog(parts, parts.store.byName(call.project, call.params['name'] ?? ''));
        told('instance-console-reset', call);
        return answers.empty();
      },
    },
  ];
}
