/** A command on one pty: the interactive form of exec. */
import type { Socket } from 'node:net';
import type { OperationContext } from '../operations/types.ts';
import { Descriptors } from './descriptors.ts';
import { drainTerminal, terminalStream } from './descriptor-streams.ts';
import type { ExecSession } from './exec-session.ts';
import { endAfterGrace, sendBarrier, sendFrame, startInflow, startOutflow } from './exec-streams.ts';

/**
 * Runs it to its end and sends what the terminal holds then: it does not wait
 * for background processes that keep the terminal open. Returns the exit code.
 *
 * Differs: LXD completes the operation only when the client has ended its side
 * of socket 0; a client that waits for the operation first would hang for ever.
 */
export async function runTerminal(session: ExecSession, context: OperationContext): Promise<number> {
  const own = new Descriptors(session.native);
  let terminal: Socket | null = null;
  try {
    const { master, slave } = await session.openPty();
    own.take(master);
    // Held until the end: as long as it is open the master never reports EIO.
    own.take(slave);
    const stream = own.handOver(master, (fd) => terminalStream(session.native, fd));
    terminal = stream;
    session.resizeWith((columns, rows) => {
      // A stream that is destroyed has closed the descriptor; its number may be another's by now.
      if (!stream.destroyed) session.native.setWindowSize(master, columns, rows);
    });
    const command = await session.start([slave, slave, slave], context);

    const socket = session.sockets.connected('0');
    const hasClientEnded = startInflow(socket, stream);
    void startOutflow(stream, socket, 'discard');
    const code = await session.exitOf(command, context);
    for (const chunk of drainTerminal(stream, master)) void sendFrame(socket, chunk);
    session.sockets.get('control')?.terminate();
    await sendBarrier(socket);
    if (!hasClientEnded()) endAfterGrace(session.sockets.release('0'));
    return code;
  } finally {
    session.resizeWith(null);
    terminal?.destroy();
    own.closeAll();
  }
}
