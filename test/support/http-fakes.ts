/** Small stand-ins for what the HTTP side is given. */
import { EventEmitter } from 'node:events';
import type { WebSocket } from 'ws';

/** Narrows the metadata of an event or an answer; fails when it is no object. */
export function readMetadata(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error('expected an object');
  return { ...value };
}

/** A websocket that is connected to nothing. */
export function fakeSocket(): WebSocket {
  // The tests that use it never call a method of the socket.
  return new EventEmitter() as unknown as WebSocket;
}
