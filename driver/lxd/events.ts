/** What happens to containers, as the REST daemon tells it on its websocket of events. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { describeChain } from '../../process/fault.ts';
import type { Log } from '../../process/log.ts';

export interface LifecycleEvent {
  /** LXD's name of it: `instance-started`. */
  readonly action: string;
  /** Of the container. */
  readonly name: string;
}

export interface EventListener {
  readonly socketPath: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** The connection stands. What happened before, and while there was none, was missed. */
  onConnect(): void;
  onEvent(event: LifecycleEvent): void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const INSTANCE = /^\/1\.0\/instances\/([^/?]+)(?:\?|$)/;

const message = z.object({
  type: z.literal('lifecycle'),
  metadata: z.object({ action: z.string(), source: z.string() }),
});

/** Resolves when the signal fires. Connects again whenever the daemon goes and comes back. */
export async function followEvents(listener: EventListener): Promise<void> {
  const { signal, log } = listener;
  let pauseMs = FIRST_PAUSE_MS;
  // A function, since the compiler would not believe that the answer changes during an await.
  const isOver = (): boolean => signal.aborted;
  while (!isOver()) {
    const ended = await followOnce(listener);
    if (isOver()) return;
    if (ended.isConnected) pauseMs = FIRST_PAUSE_MS;
    log.warn('the events of the REST daemon are not heard; connecting again', { reason: ended.reason });
    await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

interface Ended {
  readonly isConnected: boolean;
  readonly reason: string;
}

/** One connection, to its end. */
function followOnce(listener: EventListener): Promise<Ended> {
  const { socketPath, signal } = listener;
  const socket = new WebSocket(`ws+unix://${socketPath}:/1.0/events?type=lifecycle`);
  let isConnected = false;
  let reason = 'the connection was closed';
  const stop = () => {
    socket.terminate();
  };
  signal.addEventListener('abort', stop, { once: true });
  socket.on('open', () => {
    isConnected = true;
    listener.onConnect();
  });
  // Without a listener for it an error would end the process; "close" follows.
  socket.on('error', (err) => {
    reason = describeChain(err);
  });
  socket.on('message', (data) => {
    const event = readEvent(data);
    if (event !== null) listener.onEvent(event);
  });
  return new Promise((resolve) => {
    socket.once('close', () => {
      signal.removeEventListener('abort', stop);
      resolve({ isConnected, reason });
    });
  });
}

/** Null for what is not about a container. */
function readEvent(data: WebSocket.RawData): LifecycleEvent | null {
  const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);
  let value: unknown = null;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    // What is no JSON is no event.
    return null;
  }
  const read = message.safeParse(value);
  if (!read.success) return null;
  const name = INSTANCE.exec(read.data.metadata.source)?.[1];
  return name === undefined ? null : { action: read.data.metadata.action, name: decodeURIComponent(name) };
}
