/** `/1.0/instances/{name}/exec`: commands in running instances. */
import type { Route } from '../http/route.ts';
import { answers } from '../http/route.ts';
import { execInInstance } from '../instances/exec.ts';
import type { ExecParts } from '../instances/exec.ts';
import { instanceExecPost } from '../wire/exec.ts';

export function instanceExecRoutes(parts: ExecParts): Route[] {
  return [
    {
      method: 'POST',
      path: '/1.0/instances/{name}/exec',
      access: 'project',
      summary: 'Runs a command, with websockets for its input and output or with its output recorded.',
      body: instanceExecPost,
      handle: async (call) => {
        const target = {
          project: call.project,
          name: call.params['name'] ?? '',
          requestor: call.caller.requestor,
        };
        return answers.async(await execInInstance(parts, target, instanceExecPost.parse(call.body)));
      },
    },
  ];
}
