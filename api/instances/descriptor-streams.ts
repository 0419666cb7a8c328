/**
 * Streams over descriptors that came from the native border: pipes and
 * terminals. Each function takes its descriptor over: it is closed when the
 * stream is destroyed or has ended, and by nobody else.
 */
import { readSync } from 'node:fs';
import { Socket } from 'node:net';
import type { SocketConstructorOpts } from 'node:net';
import { Fault } from '../../process/fault.ts';
import type { Native } from '../../native/types.ts';

/** The reading end of a pipe. */
export function pipeReader(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: false });
}

/** The writing end of a pipe; `end()` closes it. */
export function pipeWriter(fd: number): Socket {
  return new Socket({ fd, readable: false, writable: true });
}

interface StreamHandle {
  open(fd: number): number;
}

/**
 * The master side of a pty, or any other terminal.
 *
 * node:net refuses terminals, and node:tty writes to a master with calls that
 * block the whole process when the program inside does not read (libuv keeps
 * masters in blocking mode). A pipe handle treats any descriptor alike and
 * never blocks, so the terminal is opened as one.
 */
export function terminalStream(native: Pick<Native, 'pipe' | 'closeFd'>, fd: number): Socket {
  const handle = newPipeHandle(native);
  const failed = handle.open(fd);
  if (failed !== 0)
    throw new Fault('internal', `open terminal ${String(fd)} as a stream: error ${String(failed)}`);
  // `handle` has been an option of net.Socket since node 0.x but is missing in its types.
  const options = { handle, readable: true, writable: true, allowHalfOpen: true } as SocketConstructorOpts;
  return new Socket(options);
}

interface StreamHandle {
  open(fd: number): number;
}

/** node does not export its class of pipe handles; a stream over a pipe has one. */
function newPipeHandle(native: Pick<Native, 'pipe' | 'closeFd'>): StreamHandle {
  const pipe = native.pipe();
  native.closeFd(pipe.write);
  const stream = pipeReader(pipe.read);
  try {
    // A stream over a pipe keeps its handle in `_handle`; what is found is checked before it is used.
    const { _handle: found } = stream as unknown as { readonly _handle?: { readonly constructor: unknown } };
    const handleClass = found?.constructor;
    if (typeof handleClass !== 'function' || handleClass.name !== 'Pipe') {
      throw new Fault('internal', 'this version of node keeps its pipe handles elsewhere');
    }
    // Checked by name above; 0 is the kind `SOCKET`, an ordinary stream.
    return new (handleClass as new (kind: 0) => StreamHandle)(0);
  } finally {
    stream.destroy();
  }
}

/** Most that a pty of Linux holds back (its flip buffers and the line discipline), with room to spare. */
const TERMINAL_BUFFER = 256 * 1024;

/**
 * What a terminal holds at this moment, without waiting for more: for the time
 * after the command's end, when background processes may hold the terminal
 * open (and write to it) for ever. The kernel hands over everything that was
 * written before the call. `stream` is paused and must be destroyed next.
 */
export function drainTerminal(stream: Socket, fd: number): Buffer[] {
  const out: Buffer[] = [];
  stream.pause();
  // read() gives each chunk to the listeners as well; it must be sent once.
  stream.removeAllListeners('data');
  for (let left: unknown = stream.read(); Buffer.isBuffer(left); left = stream.read()) out.push(left);
  // Its descriptor is closed then, and the number may be another's.
  if (stream.destroyed) return out;
  const chunk = Buffer.allocUnsafe(64 * 1024);
  for (let total = 0; total < TERMINAL_BUFFER;) {
    const count = readNow(fd, chunk);
    if (count === 0) break;
    out.push(Buffer.from(chunk.subarray(0, count)));
    total += count;
  }
  return out;
}

function readNow(fd: number, chunk: Buffer): number {
  try {
    return readSync(fd, chunk);
  } catch (err) {
    // EAGAIN: nothing more now. EIO: the last process has let go of the terminal.
    if (isErrno(err, 'EAGAIN', 'EIO')) return 0;
    throw err;
  }
}

export function isErrno(err: unknown, ...codes: readonly string[]): boolean {
  return err instanceof Error && 'code' in err && codes.some((code) => code === err.code);
}
