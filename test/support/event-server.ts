/** The daemon's websocket of events, on a socket of its own; it can be stopped and started again. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocketServer, type WebSocket } from 'ws';

export class EventServer {
  readonly socketPath: string;
  private readonly folder: string;
  private http: http.Server | null = null;
  private readonly listeners = new Set<WebSocket>();
  private wake: () => void = () => undefined;

  private constructor(folder: string) {
    this.folder = folder;
    this.socketPath = join(folder, 'unix.socket');
  }

  static async make(): Promise<EventServer> {
    return new EventServer(await mkdtemp(join(tmpdir(), 'slipway-events-')));
  }

  async start(): Promise<void> {
    const server = http.createServer();
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket) => {
      this.listeners.add(socket);
      socket.on('close', () => this.listeners.delete(socket));
      this.wake();
    });
    server.listen(this.socketPath);
    await once(server, 'listening');
    this.http = server;
  }

  /** Resolves when somebody listens. */
  async heard(): Promise<void> {
    while (this.listeners.size === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  send(action: string, name: string): void {
    this.sendText(
      JSON.stringify({ type: 'lifecycle', metadata: { action, source: `/1.0/instances/${name}` } }),
    );
  }

  sendText(text: string): void {
    for (const socket of this.listeners) socket.send(text);
  }

  async stop(): Promise<void> {
    const server = this.http;
    this.http = null;
    if (server === null) return;
    for (const socket of this.listeners) socket.terminate();
    this.listeners.clear();
    server.close();
    await once(server, 'close');
  }

  async destroy(): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
