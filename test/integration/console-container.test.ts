import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import type { Operation } from '../../api/operations/types.ts';
import { openInstanceConsole } from '../../api/instances/console.ts';
import { clearConsoleLog, readConsoleLog } from '../../api/instances/console-log.ts';
import { SILENT } from '../../process/log.ts';
import { instanceParts, rowOf } from '../support/tiny-instances.ts';
import { makeTinyContainer } from '../support/tiny-container.ts';
import type { TinyContainer } from '../support/tiny-container.ts';
import { openOperationServer, outcomeOf } from '../support/operation-sockets.ts';
import type { OperationServer } from '../support/operation-sockets.ts';

const native = openNative();
const NAME = 'reach-console';
/** Says what it is, then repeats what it reads in brackets. */
const INIT = 'stty -echo; echo console of busybox; while read x; do echo "[$x]"; done\n';
let server: OperationServer;
let container: TinyContainer;

before(async () => {
  server = await openOperationServer();
  container = await makeTinyContainer(native, NAME, { init: '/bin/sh /init' });
  writeFileSync(join(container.rootfs, 'init'), INIT);
  await container.start();
});

after(async () => {
  await container.remove();
  await server.close();
});

function parts(): Parameters<typeof openInstanceConsole>[0] & { readonly log: typeof SILENT } {
  return {
    native,
    log: SILENT,
    paths: container.paths,
    events: server.events,
    operations: server.operations,
    ...instanceParts([container]),
  };
}

function open(post: { type?: string; width?: number; height?: number } = {}): Operation {
  const requestor = { username: 'root', protocol: 'unix', address: '@' } as const;
  return openInstanceConsole(parts(), { project: 'default', name: NAME, requestor }, post);
}

test('what is typed reaches the program at the console, and its answer comes back', async () => {
  const operation = open({ width: 90, height: 20 });
  const control = await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  zero.send(Buffer.from('hello\r'));
  await zero.until((socket) => socket.text.includes('[hello]'));
  control.socket.close(1000, 'Detaching from console');
  await operation.finished;
  await zero.closed();
  assert.deepEqual(outcomeOf(operation), { status: 'Success', err: '', return: undefined });
  assert.ok(zero.text.endsWith('\n\r'));
  assert.deepEqual(zero.pings, ['keepalive']);
});

test('a second client is refused until the first has left', async () => {
  const first = open();
  const one = await server.connect(first, '0');
  one.send(Buffer.from('first\r'));
  await one.until((socket) => socket.text.includes('[first]') || socket.text.includes('first]'));
  const second = open();
  const two = await server.connect(second, '0');
  await second.finished;
  await two.closed();
  assert.equal(outcomeOf(second).status, 'Failure');
  assert.match(String(outcomeOf(second).err), /in use/);
  one.socket.terminate();
  await first.finished;
  const third = open();
  const three = await server.connect(third, '0');
  three.send(Buffer.from('third\r'));
  await three.until((socket) => socket.text.includes('third]'));
  three.socket.terminate();
  await third.finished;
  assert.equal(outcomeOf(third).status, 'Success');
});

test('a control socket that closes before socket 0 came ends the operation', async () => {
  const operation = open();
  const control = await server.connect(operation, 'control');
  control.socket.terminate();
  await operation.finished;
  assert.equal(outcomeOf(operation).status, 'Success');
});

test('text consoles alone are offered', () => {
  assert.throws(() => open({ type: 'vga' }), { code: 'bad_request' });
  assert.throws(() => open({ type: 'x' }), { code: 'bad_request' });
});

test('the ring buffer is read, kept in the log folder and cleared', async () => {
  const row = rowOf(NAME);
  const text = (await readConsoleLog(parts(), row)).toString();
  assert.match(text, /console of busybox/);
  const file = join(container.paths.log, NAME, 'console.log');
  assert.match(readFileSync(file, 'utf8'), /console of busybox/);
  await clearConsoleLog(parts(), row);
  assert.equal((await readConsoleLog(parts(), row)).length, 0);
});

test('the end of the container ends the console: a carriage return, the barrier, success', async () => {
  const operation = open();
  const control = await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  zero.send(Buffer.from('last\r'));
  await zero.until((socket) => socket.text.includes('last]'));
  await container.stop();
  await zero.barrier();
  await control.closed();
  await operation.finished;
  assert.equal(outcomeOf(operation).status, 'Success');
  assert.ok(zero.text.endsWith('\r'));
});

test('a stopped container has no console, but what its file kept', async () => {
  assert.throws(() => open(), { code: 'bad_request', message: 'Instance is not running' });
  const row = rowOf(NAME);
  const file = join(container.paths.log, NAME, 'console.log');
  const text = await readConsoleLog(parts(), row);
  assert.equal(text.toString(), existsSync(file) ? readFileSync(file, 'utf8') : '');
  await clearConsoleLog(parts(), row);
  assert.equal((await readConsoleLog(parts(), row)).length, 0);
});

test('no descriptor stays behind', async () => {
  await container.start();
  const count = (): number => readdirSync('/proc/self/fd').length;
  const once = async (): Promise<void> => {
    const operation = open();
    const zero = await server.connect(operation, '0');
    zero.send(Buffer.from('x\r'));
    await zero.until((socket) => socket.text.includes('x]'));
    zero.socket.terminate();
    await operation.finished;
    await zero.closed();
  };
  await once();
  const before = count();
  for (let i = 0; i < 10; i++) await once();
  for (let turns = 0; count() > before && turns < 1000; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(count() <= before, `${String(count())} after ${String(before)}`);
});
