/** A command on three pipes: the non-interactive form of exec. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { OperationContext } from '../operations/types.ts';
import { Descriptors } from './descriptors.ts';
import { pipeReader, pipeWriter } from './descriptor-streams.ts';
import type { ExecSession } from './exec-session.ts';
import { sendBarrier, startInflow, startOutflow } from './exec-streams.ts';

/**
 * Runs it to its end and until both outputs have reached theirs: a grandchild
 * that keeps a pipe open keeps its websocket open. Returns the exit code.
 */
export async function runPipes(session: ExecSession, context: OperationContext): Promise<number> {
  const own = new Descriptors(session.native);
  const streams: Socket[] = [];
  try {
    const input = own.pipe();
    const output = own.pipe();
    const errors = own.pipe();
    const stdin = own.handOver(input.write, pipeWriter);
    const stdout = own.handOver(output.read, pipeReader);
    const stderr = own.handOver(errors.read, pipeReader);
    streams.push(stdin, stdout, stderr);
    const command = await session.start([input.read, output.write, errors.write], context);
    // The command has its own copies; ours would keep its outputs from ever ending.
    own.closeAll();

    const socket1 = session.sockets.connected('1');
    session.watchWithoutControl(socket1);
    startInflow(session.sockets.connected('0'), stdin, () => {
      stdin.end();
    });
    const drained = Promise.all([mirror(stdout, socket1), mirror(stderr, session.sockets.connected('2'))]);
    const code = await session.exitOf(command, context);
    await drained;
    return code;
  } finally {
    for (const stream of streams) stream.destroy();
    own.closeAll();
  }
}

async function mirror(source: Socket, socket: WebSocket): Promise<void> {
  await startOutflow(source, socket, 'close');
  await sendBarrier(socket);
}
