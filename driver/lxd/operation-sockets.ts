/** The websockets of an operation of the REST daemon: consoles, and programs that are given input. */
import { WebSocket } from 'ws';
import { Fault } from '../../process/fault.ts';

/** Descriptor ("0", "1", "2", "control") -> its socket. */
export type OperationSockets = Readonly<Record<string, WebSocket>>;

const MOST_OUTPUT_BYTES = 64 * 1024;

/** Connects all of them; they stay paused until somebody listens. Fault unavailable. */
export async function openSockets(
  socketPath: string,
  operation: string,
  secrets: Readonly<Record<string, string>>,
): Promise<OperationSockets> {
  const entries = Object.entries(secrets);
  const ends = await Promise.allSettled(
    entries.map(async ([name, secret]) => {
      const url = `ws+unix:${socketPath}:${operation}/websocket?secret=${secret}`;
      return [name, await open(url)] as const;
    }),
  );
  const opened = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed === undefined) return Object.fromEntries(opened);
  for (const [, socket] of opened) socket.terminate();
  throw new Fault('unavailable', `connect to the websockets of ${operation}`, { cause: failed.reason });
}

function open(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  return new Promise((resolve, reject) => {
    socket.once('open', () => {
      // What comes before there is a listener would be lost.
      socket.pause();
      resolve(socket);
    });
    // The daemon ends connections without a farewell; their close tells enough.
    socket.on('error', reject);
  });
}

/** Gives a program its input and takes what it says, to the end of its output. */
export async function talk(
  sockets: OperationSockets,
  input: string,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const outputs = Promise.all([allOf(sockets['1']), allOf(sockets['2'])]);
  const stdin = sockets['0'];
  stdin?.resume();
  stdin?.send(Buffer.from(input), { binary: true });
  // A text frame is the end of the input.
  stdin?.send('', { binary: false });
  sockets['control']?.resume();
  const [stdout, stderr] = await outputs;
  for (const socket of Object.values(sockets)) socket.close();
  return { stdout, stderr };
}

function allOf(socket: WebSocket | undefined): Promise<string> {
  if (socket === undefined) return Promise.resolve('');
  const parts: Buffer[] = [];
  let length = 0;
  return new Promise((resolve) => {
    const finish = (): void => {
      resolve(Buffer.concat(parts).toString('utf8'));
    };
    socket.on('message', (data, isBinary) => {
      if (!isBinary) finish();
      else if (Buffer.isBuffer(data) && length < MOST_OUTPUT_BYTES) {
        parts.push(data);
        length += data.length;
      }
    });
    socket.once('close', finish);
    socket.resume();
  });
}
