/** Exec sessions over real websockets and real processes of this machine. */
import { ExecSession } from '../../api/instances/exec-session.ts';
import { newSecrets } from '../../api/instances/exec.ts';
import type { Operation } from '../../api/operations/types.ts';
import type { Native } from '../../native/types.ts';
import { fakeNative } from './fake-native.ts';
import { openFakePty } from './fake-terminal.ts';
import type { OperationServer, TestSocket } from './operation-sockets.ts';

const ENV = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' };

export interface StartedExec {
  readonly operation: Operation;
  /** Resolves when the command runs. */
  readonly started: Promise<void>;
}

export function startExec(
  server: OperationServer,
  argv: readonly string[],
  options: { terminal?: boolean; native?: Partial<Native> } = {},
): StartedExec {
  const native = fakeNative(options.native);
  const terminal = options.terminal === true;
  let onStarted: () => void = () => undefined;
  const started = new Promise<void>((resolve) => {
    onStarted = resolve;
  });
  const session = new ExecSession({
    native,
    isInteractive: terminal,
    width: 80,
    height: 25,
    launch: (stdio) =>
      native.exec({
        lxcPath: '/',
        name: 'c1',
        configFile: '/',
        argv,
        env: ENV,
        uid: 0,
        gid: 0,
        cwd: '/',
        stdio,
        sealed: false,
        killWithDaemon: true,
      }),
    openPty: () => Promise.resolve(openFakePty()),
    onStarted,
  });
  const operation = server.operations.create({
    class: 'websocket',
    description: 'Executing command',
    project: 'default',
    metadata: { fds: newSecrets(session.socketNames) },
    onConnect: (name, socket) => {
      session.sockets.add(name, socket);
    },
    run: (context) => session.run(context),
  });
  return { operation, started };
}

export interface PipeSockets {
  readonly control: TestSocket;
  readonly zero: TestSocket;
  readonly one: TestSocket;
  readonly two: TestSocket;
}

/** In the order of the Go client. */
export async function connectAll(server: OperationServer, operation: Operation): Promise<PipeSockets> {
  const control = await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  const one = await server.connect(operation, '1');
  return { control, zero, one, two: await server.connect(operation, '2') };
}
