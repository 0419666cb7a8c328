/**
 * Between a websocket and a descriptor: binary frames are data, any text frame
 * is the barrier (nothing follows it in that direction; it is not a close).
 *
 * Both directions push back: a client that does not read stops the command, a
 * command that does not read stops the client. Nothing is kept beyond a frame
 * or two.
 */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/** Output that may wait for a slow client, in bytes, before the command is held up. */
const HIGH_WATER = 1024 * 1024;
const LOW_WATER = 256 * 1024;

const BINARY = { binary: true, compress: false } as const;
const TEXT = { binary: false, compress: false } as const;

/** Resolves when the frame has been handed to the kernel or the connection is gone. */
export function sendFrame(socket: WebSocket, data: Buffer): Promise<void> {
  return new Promise((resolve) => {
    socket.send(data, BINARY, () => {
      resolve();
    });
  });
}

/** Sends the barrier; resolves when it has been handed to the kernel or the connection is gone. */
export function sendBarrier(socket: WebSocket): Promise<void> {
  return new Promise((resolve) => {
    socket.send('', TEXT, () => {
      resolve();
    });
  });
}

/**
 * Sends what comes out of `source` as binary frames, until its end or that of
 * the websocket, whichever comes first; never rejects. When the websocket goes
 * away a pipe is closed (the command gets SIGPIPE, as from a closed pipe in a
 * shell); a terminal goes on being read (`whenGone: 'discard'`), since its
 * command must not hang in a write: it is ended through the control socket.
 */
export function startOutflow(
  source: Socket,
  socket: WebSocket,
  whenGone: 'close' | 'discard',
): Promise<void> {
  let gone = false;
  const onSent = (): void => {
    if (source.isPaused() && socket.bufferedAmount <= LOW_WATER) source.resume();
  };
  source.on('data', (chunk: Buffer) => {
    if (gone) return;
    socket.send(chunk, BINARY, onSent);
    if (socket.bufferedAmount > HIGH_WATER) source.pause();
  });
  return new Promise((resolve) => {
    const finish = (): void => {
      resolve();
    };
    const onGone = (): void => {
      gone = true;
      if (whenGone === 'close') source.destroy();
      else source.resume();
      resolve();
    };
    source.once('end', finish);
    source.once('close', finish);
    // EIO on a terminal: nobody holds its other side any more. Any other error ends the stream as well.
    source.on('error', finish);
    socket.once('close', onGone);
    if (socket.readyState >= socket.CLOSING) onGone();
    socket.resume();
    source.resume();
  });
}

/**
 * Writes the binary frames of a websocket to `target`. The returned function
 * tells whether the client has ended its side; `onEnd` is called once then:
 * at the barrier, or at the end of the connection. When the command has
 * stopped reading, the rest is thrown away, so that the client's end is still seen.
 */
export function startInflow(socket: WebSocket, target: Socket, onEnd?: () => void): () => boolean {
  let ended = false;
  let broken = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    onEnd?.();
  };
  target.on('drain', () => {
    socket.resume();
  });
  const onBroken = (): void => {
    broken = true;
    socket.resume();
  };
  target.on('error', onBroken);
  target.once('close', onBroken);
  socket.on('message', (data, isBinary) => {
    if (!isBinary) {
      end();
      return;
    }
    // ws gives one Buffer per message unless told otherwise.
    if (ended || broken || !Buffer.isBuffer(data) || data.length === 0) return;
    if (!target.write(data)) socket.pause();
  });
  socket.once('close', end);
  if (socket.readyState >= socket.CLOSING) end();
  socket.resume();
  return () => ended;
}

/** How long a client may take to end its side after the barrier, in milliseconds. */
const GRACE_MS = 1000;

/** Closes the connection when the client has ended its side, or a little later without that. */
export function endAfterGrace(socket: WebSocket): void {
  const timer = setTimeout(() => {
    socket.terminate();
  }, GRACE_MS);
  timer.unref();
  const end = (): void => {
    clearTimeout(timer);
    socket.terminate();
  };
  socket.once('close', end);
  socket.on('message', (_data, isBinary) => {
    if (!isBinary) end();
  });
  socket.resume();
}
