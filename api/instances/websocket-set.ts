/**
 * The websockets of one exec or console operation, from their connecting to
 * their end. Data sockets are held back (paused) until their stream takes
 * them over, so that nothing a client sends early is lost.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { Fault } from '../../process/fault.ts';

/** LXD pings each socket with this text at once and then every ten seconds. */
const KEEPALIVE = 'keepalive';
const KEEPALIVE_MS = 10_000;

export class WebSocketSet {
  private readonly sockets = new Map<string, WebSocket>();
  private readonly waiting: (() => void)[] = [];
  private readonly ended = new AbortController();
  private readonly onControl: (socket: WebSocket) => void;

  /** `onControl` is called with the control socket at once when it connects, which may be late. */
  constructor(onControl: (socket: WebSocket) => void) {
    this.onControl = onControl;
  }

  add(name: string, socket: WebSocket): void {
    // Errors of a connection are always followed by its close, which is what counts here.
    socket.on('error', () => undefined);
    if (this.ended.signal.aborted) {
      socket.terminate();
      return;
    }
    this.sockets.set(name, socket);
    socket.ping(KEEPALIVE);
    if (name === 'control') this.onControl(socket);
    else socket.pause();
    this.wakeAll();
  }

  get(name: string): WebSocket | undefined {
    return this.sockets.get(name);
  }

  /** Fault internal when it is not there: call it after `complete`. */
  connected(name: string): WebSocket {
    const socket = this.sockets.get(name);
    if (socket === undefined) throw new Fault('internal', `websocket ${name} is not connected`);
    return socket;
  }

  /** Resolves when all of these are connected. Fault timeout when they are not in time; null waits for ever. */
  async complete(names: readonly string[], timeoutMs: number | null, signal: AbortSignal): Promise<void> {
    const late = new AbortController();
    // A timer of our own: Node 20 may collect an AbortSignal.timeout() that only AbortSignal.any() knows, and never fire it.
    const timer =
      timeoutMs === null
        ? undefined
        : setTimeout(() => {
            late.abort();
            this.wakeAll();
          }, timeoutMs);
    try {
      while (!names.every((name) => this.sockets.has(name))) {
        if (signal.aborted) throw signal.reason;
        if (late.signal.aborted) throw new Fault('timeout', 'timed out waiting for websockets');
        await this.nextConnection(signal);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Pings until the set is closed. */
  async keepAlive(): Promise<void> {
    const { signal } = this.ended;
    while (!signal.aborted) {
      await sleep(KEEPALIVE_MS, undefined, { signal, ref: false }).catch(() => undefined);
      for (const socket of this.sockets.values()) {
        if (socket.readyState === socket.OPEN) socket.ping(KEEPALIVE);
      }
    }
  }

  /** Hands a socket over to the caller: `close` leaves it alone. */
  release(name: string): WebSocket {
    const socket = this.connected(name);
    this.sockets.delete(name);
    return socket;
  }

  /** Ends the connections without a close frame, in this order, as LXD does. What connects later is closed at once. */
  close(): void {
    this.ended.abort();
    for (const name of ['control', '1', '2', '0']) this.sockets.get(name)?.terminate();
  }

  private wakeAll(): void {
    for (const wake of this.waiting.splice(0)) wake();
  }

  private nextConnection(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.waiting.push(wake);
    });
  }
}
