/** Websockets for tests: opens one, or tells with which answer it was refused. */
import WebSocket from 'ws';

export interface OpenWebSocket {
  readonly socket: WebSocket;
  /** The next text message as JSON; waits for it. */
  next(): Promise<Record<string, unknown>>;
  readonly closed: Promise<void>;
}

export interface Refused {
  readonly status: number;
  readonly text: string;
}

/** Connects over a unix socket. */
export function openWebSocket(socketPath: string, path: string): Promise<OpenWebSocket | Refused> {
  const socket = new WebSocket(`ws+unix://${socketPath}:${path}`);
  const waiting: string[] = [];
  let wake: () => void = () => undefined;
  socket.on('message', (data: Buffer) => {
    waiting.push(data.toString());
    wake();
  });
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      resolve();
    });
  });
  return new Promise((resolve, reject) => {
    socket.once('open', () => {
      resolve({
        socket,
        closed,
        next: async () => {
          while (waiting.length === 0) {
            await new Promise<void>((go) => {
              wake = go;
            });
          }
          const value: unknown = JSON.parse(waiting.shift() ?? 'null');
          if (typeof value !== 'object' || value === null) throw new Error('the message is no JSON object');
          return { ...value };
        },
      });
    });
    socket.once('unexpected-response', (_req, res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('end', () => {
        resolve({ status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
      });
    });
    socket.on('error', reject);
  });
}

/** Fails when the connection was refused. */
export async function mustOpen(socketPath: string, path: string): Promise<OpenWebSocket> {
  const opened = await openWebSocket(socketPath, path);
  if ('status' in opened) throw new Error(`refused with ${String(opened.status)}: ${opened.text}`);
  return opened;
}
