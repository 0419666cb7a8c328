import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import { execInInstance } from '../../api/instances/exec.ts';
import type { ExecParts } from '../../api/instances/exec.ts';
import type { Operation } from '../../api/operations/types.ts';
import type { InstanceExecPost } from '../../api/wire/exec.ts';
import { SILENT } from '../../process/log.ts';
import { instanceParts } from '../support/tiny-instances.ts';
import { makeTinyContainer } from '../support/tiny-container.ts';
import type { TinyContainer } from '../support/tiny-container.ts';
import { metadataOf, openOperationServer, outcomeOf } from '../support/operation-sockets.ts';
import type { OperationServer, TestSocket } from '../support/operation-sockets.ts';

const native = openNative();
const REQUESTOR = { username: 'root', protocol: 'unix', address: '@' } as const;
let server: OperationServer;
let container: TinyContainer;
let parts: ExecParts;

before(async () => {
  server = await openOperationServer();
  container = await makeTinyContainer(native, 'reach-exec');
  await container.start();
  parts = {
    native,
    log: SILENT,
    paths: container.paths,
    events: server.events,
    operations: server.operations,
    searchExtras: () => Promise.resolve([]),
    ...instanceParts([container]),
  };
});

after(async () => {
  await container.remove();
  await server.close();
});

function exec(post: InstanceExecPost): Promise<Operation> {
  return execInInstance(parts, { project: 'default', name: container.name, requestor: REQUESTOR }, post);
}

interface Ran {
  readonly operation: Operation;
  readonly control: TestSocket;
  readonly zero: TestSocket;
  readonly one: TestSocket;
  readonly two: TestSocket;
}

async function run(command: readonly string[], more: Partial<InstanceExecPost> = {}): Promise<Ran> {
  const operation = await exec({ ...more, command: [...command], 'wait-for-websocket': true });
  const control = await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  if (more.interactive === true) return { operation, control, zero, one: zero, two: zero };
  const one = await server.connect(operation, '1');
  return { operation, control, zero, one, two: await server.connect(operation, '2') };
}

async function output(command: readonly string[], more: Partial<InstanceExecPost> = {}): Promise<string> {
  const { operation, one, two } = await run(command, more);
  await operation.finished;
  await one.barrier();
  await one.closed();
  return one.text + (two === one ? '' : two.text);
}

test('a command sees only the environment of the instance, its own and the defaults', async () => {
  const text = await output(['env'], { environment: { FOO: 'a b', PATH: '/bin' } });
  assert.deepEqual(text.trim().split('\n').sort(), [
    'FOO=a b',
    'HOME=/root',
    'LANG=C.UTF-8',
    'PATH=/bin',
    'USER=root',
    'container=lxc',
  ]);
});

test('it runs as root of the container in HOME, or as and where it was asked to', async () => {
  assert.equal(await output(['sh', '-c', 'id -u; id -g; pwd']), '0\n0\n/root\n');
  assert.equal(await output(['sh', '-c', 'id -u; id -g; pwd'], { user: 33, group: 34 }), '33\n34\n/\n');
  assert.equal(await output(['pwd'], { cwd: '/tmp' }), '/tmp\n');
  assert.equal(await output(['pwd'], { cwd: '/no/such' }), '/\n');
});

test('programs are found in the PATH of the container; missing ones fail the operation', async () => {
  for (const [command, code, err] of [
    [['no-such-program'], 127, 'Command not found'],
    [['/etc/passwd'], 126, 'Command not executable'],
  ] as const) {
    const { operation } = await run(command);
    await operation.finished;
    assert.deepEqual(outcomeOf(operation), { status: 'Failure', err, return: code });
  }
});

test('exit codes, signals and the death of the client', async () => {
  const { operation } = await run(['sh', '-c', 'exit 42']);
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 42);
  const signalled = await run(['sh', '-c', 'echo ready; exec sleep 1000']);
  await signalled.one.until((socket) => socket.text === 'ready\n');
  signalled.control.send('{"command":"signal","signal":15}');
  await signalled.operation.finished;
  assert.equal(outcomeOf(signalled.operation).return, 143);
  const orphan = await run(['sh', '-c', 'echo ready; exec sleep 1000']);
  await orphan.one.until((socket) => socket.text === 'ready\n');
  orphan.control.socket.terminate();
  await orphan.operation.finished;
  assert.equal(outcomeOf(orphan.operation).return, 137);
});

test('100 MB of input come back through cat', async () => {
  const { operation, zero, one } = await run(['cat']);
  const block = Buffer.alloc(1024 * 1024, 'slipway ');
  const hash = createHash('md5');
  for (let i = 0; i < 100; i++) {
    hash.update(block);
    zero.send(block);
  }
  zero.send('');
  await operation.finished;
  await one.closed();
  assert.equal(one.bytes.length, 100 * 1024 * 1024);
  assert.equal(createHash('md5').update(one.bytes).digest('hex'), hash.digest('hex'));
});

test('a terminal is one of the container, with the size that was asked for and later ones', async () => {
  const script = 'tty; stty size; trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done';
  const { operation, control, zero } = await run(['sh', '-c', script], {
    interactive: true,
    width: 100,
    height: 30,
  });
  await zero.until((socket) => socket.text.includes('ready'));
  assert.match(zero.text, /^\/dev\/pts\/\d+\r\n30 100\r\n/);
  control.send('{"command":"window-resize","args":{"width":"120","height":"40"}}');
  await zero.until((socket) => socket.text.includes('40 120\r\n'));
  control.send('{"command":"signal","signal":15}');
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 143);
});

test('typing the interrupt character into a terminal interrupts its program', async () => {
  const { operation, zero } = await run(['sh', '-c', 'echo ready; exec sleep 1000'], { interactive: true });
  await zero.until((socket) => socket.text.includes('ready'));
  zero.send(Buffer.from([3]));
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 130);
});

test('nothing that a terminal shows is lost at the end, and background jobs do not hold it', async () => {
  for (let round = 0; round < 20; round++) {
    const { zero } = await run(['sh', '-c', 'stty -onlcr; seq 1 20000; sleep 1000 & printf end'], {
      interactive: true,
    });
    await zero.barrier();
    assert.equal(zero.bytes.length, 108_894 + 3);
    zero.socket.close();
  }
});

test('an unprivileged user can open a terminal by its name', async () => {
  const text = await output(['sh', '-c', 'echo hello >$(tty)'], { interactive: true });
  assert.equal(text, 'hello\r\n');
});

test('recorded output lands in the log folder under the id of the operation', async () => {
  const operation = await exec({
    command: ['sh', '-c', 'echo out; echo err >&2; exit 3'],
    'record-output': true,
  });
  await operation.finished;
  const base = `exec_${operation.id}`;
  assert.deepEqual(metadataOf(operation).output, {
    '1': `/1.0/instances/reach-exec/logs/${base}.stdout`,
    '2': `/1.0/instances/reach-exec/logs/${base}.stderr`,
  });
  assert.equal(outcomeOf(operation).return, 3);
  const dir = join(container.paths.log, container.name);
  assert.equal(readFileSync(join(dir, `${base}.stdout`), 'utf8'), 'out\n');
  assert.equal(readFileSync(join(dir, `${base}.stderr`), 'utf8'), 'err\n');
});

test('a command without websockets has no input and its output is lost', async () => {
  const operation = await exec({ command: ['sh', '-c', 'echo x; cat; exit 4'] });
  await operation.finished;
  assert.deepEqual(outcomeOf(operation), { status: 'Success', err: '', return: 4 });
});

test('a container that is gone makes the operation fail with -1', async () => {
  const other = await makeTinyContainer(native, 'reach-gone');
  await other.start();
  const kept = parts;
  try {
    parts = { ...kept, paths: other.paths, ...instanceParts([other]) };
    const pid = other.initPid;
    const operation = await execInInstance(
      parts,
      { project: 'default', name: 'reach-gone', requestor: REQUESTOR },
      { command: ['true'], 'wait-for-websocket': true },
    );
    native.signalProcess(pid, 9);
    await native.waitGone(pid, 10_000);
    const zero = await server.connect(operation, '0');
    await server.connect(operation, '1');
    await server.connect(operation, '2');
    await operation.finished;
    await zero.closed();
    assert.deepEqual([outcomeOf(operation).status, outcomeOf(operation).return], ['Failure', -1]);
  } finally {
    parts = kept;
    await other.remove();
  }
});

test('descriptors and helpers do not add up', async () => {
  const count = (): number => readdirSync('/proc/self/fd').length;
  const once = async (): Promise<void> => {
    for (const interactive of [false, true]) {
      const sockets = await run(['true'], { interactive });
      await sockets.operation.finished;
      for (const socket of [sockets.control, sockets.zero, sockets.one, sockets.two]) {
        socket.socket.terminate();
        await socket.closed();
      }
    }
  };
  await once();
  const before = count();
  for (let i = 0; i < 20; i++) await once();
  for (let turns = 0; count() > before && turns < 1000; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(count() <= before, `${String(count())} after ${String(before)}`);
});
