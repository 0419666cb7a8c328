/** A server of operation websockets on a unix socket, and a client that keeps what it gets. */
import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { WebSocket, WebSocketServer } from 'ws';
import { Events } from '../../api/events/events.ts';
import { openOperations } from '../../api/operations/operations.ts';
import type { OperationsAdmin } from '../../api/operations/operations.ts';
import type { Operation } from '../../api/operations/types.ts';
import { SILENT } from '../../process/log.ts';

export interface OperationServer {
  readonly events: Events;
  readonly operations: OperationsAdmin;
  /** Connects one of the operation's sockets. */
  connect(operation: Operation, name: string): Promise<TestSocket>;
  close(): Promise<void>;
}

export async function openOperationServer(): Promise<OperationServer> {
  const events = new Events();
  const operations = openOperations({ events, log: SILENT });
  const dir = mkdtempSync(join(tmpdir(), 'slipway-ws-'));
  const path = join(dir, 'sock');
  const sockets = new WebSocketServer({ noServer: true });
  const server = createServer();
  server.on('upgrade', (request, socket, head) => {
    const url = new URL(request.url ?? '/', 'http://unix');
    const accept = operations.connect(url.pathname.slice(1), url.searchParams.get('secret') ?? '');
    sockets.handleUpgrade(request, socket, head, accept);
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    events,
    operations,
    connect: async (operation, name) => {
      const secret = metadataOf(operation).fds[name] ?? '';
      const socket = new WebSocket(`ws+unix://${path}:/${operation.id}?secret=${secret}`);
      const kept = new TestSocket(socket);
      await once(socket, 'open');
      return kept;
    },
    close: async () => {
      for (const client of sockets.clients) client.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
      rmSync(dir, { recursive: true });
    },
  };
}

export interface ExecMetadata {
  readonly fds: Readonly<Record<string, string>>;
  readonly return?: number;
  readonly output?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
}

export function metadataOf(operation: Operation): ExecMetadata {
  // The tests look at what the code under test wrote there.
  return operation.render()['metadata'] as ExecMetadata;
}

export function outcomeOf(operation: Operation): {
  status: unknown;
  err: unknown;
  return: number | undefined;
} {
  const { status, err } = operation.render();
  return { status, err, return: metadataOf(operation).return };
}

/** Keeps the order of everything a socket brings. */
export class TestSocket {
  readonly socket: WebSocket;
  readonly log: string[] = [];
  readonly pings: string[] = [];
  private chunks: Buffer[] = [];
  private readonly wakers = new Set<() => void>();
  closeCode: number | null = null;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data, isBinary) => {
      if (isBinary && Buffer.isBuffer(data)) this.chunks.push(data);
      this.note(isBinary ? 'data' : 'barrier');
    });
    socket.on('ping', (data) => {
      this.pings.push(data.toString());
    });
    socket.on('error', () => undefined);
    socket.once('close', (code) => {
      this.closeCode = code;
      this.note('close');
    });
  }

  get text(): string {
    return this.bytes.toString('utf8');
  }

  get bytes(): Buffer {
    this.chunks = [Buffer.concat(this.chunks)];
    return this.chunks[0] ?? Buffer.alloc(0);
  }

  /** Waits until `isReached` holds; it is looked at after each frame. */
  async until(isReached: (socket: TestSocket) => boolean): Promise<void> {
    const deadline = AbortSignal.timeout(20_000);
    while (!isReached(this)) {
      if (deadline.aborted)
        throw new Error(`gave up; had ${this.log.slice(-5).join(' ')} ${this.text.slice(-200)}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.wakers.delete(wake);
          deadline.removeEventListener('abort', wake);
          resolve();
        };
        this.wakers.add(wake);
        deadline.addEventListener('abort', wake);
      });
    }
  }

  closed(): Promise<void> {
    return this.until((socket) => socket.closeCode !== null);
  }

  barrier(): Promise<void> {
    return this.until((socket) => socket.log.includes('barrier'));
  }

  send(data: string | Buffer): void {
    this.socket.send(data, { binary: Buffer.isBuffer(data) });
  }

  private note(what: string): void {
    this.log.push(what);
    for (const wake of this.wakers) wake();
  }
}
