/** Commands in containers, as the command line client runs them. */
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import WebSocket from 'ws';
import { dig } from './client.ts';
import type { Client } from './client.ts';

const CHUNK = Buffer.alloc(64 * 1024, 'slipway ');
/** What may wait in our own socket before we pause. */
const HIGH_WATER = 4 * 1024 * 1024;

/** Milliseconds of a command without streams: one request and one wait. */
export function timePlainExec(client: Client, name: string): Promise<number> {
  const body = { command: ['/bin/true'], 'wait-for-websocket': false, 'record-output': false };
  return client.time('POST', `/1.0/instances/${name}/exec`, body);
}

interface Streams {
  readonly operation: string;
  readonly stdin: WebSocket;
  readonly stdout: WebSocket;
  readonly all: readonly WebSocket[];
}

async function openExec(client: Client, name: string, command: readonly string[]): Promise<Streams> {
  const body = { command, 'wait-for-websocket': true, interactive: false };
  const answer = await client.request('POST', `/1.0/instances/${name}/exec`, body);
  if (answer.type === 'error') throw new Error(`exec in ${name}: ${answer.error}`);
  const connect = (key: string): WebSocket => {
    const secret = String(dig(answer.metadata, 'metadata', 'fds', key));
    const path = `${answer.operation}/websocket?secret=${secret}`;
    return new WebSocket(`ws+unix://${client.socketPath}:${path}`, { perMessageDeflate: false });
  };
  const [control, stdin, stdout, stderr] = [connect('control'), connect('0'), connect('1'), connect('2')];
  const all = [control, stdin, stdout, stderr];
  for (const socket of all) socket.on('error', () => undefined);
  await Promise.all(all.map((socket) => once(socket, 'open')));
  return { operation: answer.operation, stdin, stdout, all };
}

async function finish(client: Client, { operation, all }: Streams): Promise<void> {
  const ended = await client.request('GET', `${operation}/wait`);
  for (const socket of all) socket.close();
  const code = dig(ended.metadata, 'metadata', 'return');
  if (code !== 0) throw new Error(`the command ended with ${String(code)}`);
}

/** Milliseconds of `true` with all four websockets, as `lxc exec` does it. */
export async function timeStreamedExec(client: Client, name: string): Promise<number> {
  const begin = performance.now();
  const streams = await openExec(client, name, ['/bin/true']);
  streams.stdin.send('');
  await finish(client, streams);
  return performance.now() - begin;
}

/** MiB per second into `cat > /dev/null`. */
export async function rateOfInput(client: Client, name: string, bytes: number): Promise<number> {
  const streams = await openExec(client, name, ['/bin/sh', '-c', 'cat > /dev/null']);
  const begin = performance.now();
  for (let sent = 0; sent < bytes; sent += CHUNK.length) {
    await new Promise<void>((resolve, reject) => {
      const isFull = streams.stdin.bufferedAmount > HIGH_WATER;
      streams.stdin.send(CHUNK, (err) => {
        if (err instanceof Error) reject(err);
        else if (isFull) resolve();
      });
      if (!isFull) resolve();
    });
  }
  streams.stdin.send('');
  await finish(client, streams);
  return mibPerSecond(bytes, performance.now() - begin);
}

/** MiB per second out of `head -c … /dev/zero`. */
export async function rateOfOutput(client: Client, name: string, bytes: number): Promise<number> {
  const begin = performance.now();
  const streams = await openExec(client, name, ['head', '-c', String(bytes), '/dev/zero']);
  let got = 0;
  const all = new Promise<void>((resolve) => {
    streams.stdout.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) got += data.length;
      if (got >= bytes) resolve();
    });
  });
  streams.stdin.send('');
  await all;
  const took = performance.now() - begin;
  await finish(client, streams);
  return mibPerSecond(bytes, took);
}

export function mibPerSecond(bytes: number, ms: number): number {
  return bytes / (1024 * 1024) / (ms / 1000);
}
