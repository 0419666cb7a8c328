/**
 * `POST /1.0/instances/{name}/console`: a client at the container's console.
 *
 *   waiting for socket 0 (no limit) -> attached -> detached by the client, or ended with the container
 */
import type { WebSocket } from 'ws';
import { Fault } from '../../process/fault.ts';
import type { Requestor } from '../events/events.ts';
import { instanceResources } from '../operations/operations.ts';
import type { Operation, OperationContext } from '../operations/types.ts';
import { containerName } from '../paths.ts';
import type { InstanceConsolePost } from '../wire/console.ts';
import { ConsoleSession } from './console-session.ts';
import { checkRunning, newSecrets } from './exec.ts';
import { instanceUrl } from './instance-url.ts';
import type { InstanceParts } from './parts.ts';

export type ConsoleParts = Pick<
  InstanceParts,
  'native' | 'paths' | 'events' | 'operations' | 'store' | 'runtime'
>;

/** Starts the operation. Faults: not_found, bad_request (not running, frozen, not a text console). */
export function openInstanceConsole(
  parts: ConsoleParts,
  target: { readonly project: string; readonly name: string; readonly requestor: Requestor },
  post: InstanceConsolePost,
): Operation {
  const row = parts.store.byName(target.project, target.name);
  const type = post.type ?? '';
  if (type === 'vga') throw new Fault('bad_request', 'VGA console is only supported by virtual machines');
  if (type !== '' && type !== 'console')
    throw new Fault('bad_request', `Unknown console type ${JSON.stringify(type)}`);
  checkRunning(parts, row);

  const session = new ConsoleSession({
    native: parts.native,
    openConsole: () =>
      parts.native.monitor(parts.paths.lxc, containerName(row.project, row.name)).openConsole(0),
    width: post.width ?? 0,
    height: post.height ?? 0,
  });
  const operation = parts.operations.create({
    class: 'websocket',
    description: 'Showing console',
    project: row.project,
    requestor: target.requestor,
    resources: instanceResources(row.project, row.name),
    metadata: { fds: newSecrets(['0', 'control']) },
    onConnect: (name: string, socket: WebSocket) => {
      session.sockets.add(name, socket);
    },
    run: (context: OperationContext) => session.run(context),
  });
  parts.events.lifecycle('instance-console', instanceUrl(row), {
    project: row.project,
    context: { type: 'console' },
    requestor: target.requestor,
  });
  return operation;
}
