import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { connectAll, startExec } from '../support/exec-server.ts';
import { openOperationServer, outcomeOf } from '../support/operation-sockets.ts';
import type { OperationServer, TestSocket } from '../support/operation-sockets.ts';

let server: OperationServer;
before(async () => {
  server = await openOperationServer();
});
after(() => server.close());

test('both outputs end with a barrier, the sockets without a close frame, the operation with the code', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'echo out; echo err >&2; exit 3']);
  const { control, zero, one, two } = await connectAll(server, operation);
  await Promise.all([control, zero, one, two].map((socket) => socket.closed()));
  await operation.finished;
  assert.equal(one.text, 'out\n');
  assert.equal(two.text, 'err\n');
  assert.deepEqual(one.log, ['data', 'barrier', 'close']);
  assert.deepEqual(two.log, ['data', 'barrier', 'close']);
  assert.deepEqual([zero.log, control.log], [['close'], ['close']]);
  assert.deepEqual([control.closeCode, zero.closeCode, one.closeCode], [1006, 1006, 1006]);
  assert.deepEqual(outcomeOf(operation), { status: 'Success', err: '', return: 3 });
});

test('each socket is pinged with the text keepalive when it connects', async () => {
  const { operation } = startExec(server, ['true']);
  const sockets = Object.values(await connectAll(server, operation));
  await Promise.all(sockets.map((socket: TestSocket) => socket.closed()));
  for (const socket of sockets) assert.deepEqual(socket.pings, ['keepalive']);
});

test('input sent before the command runs is not lost, and its barrier is the end of the input', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'cat; echo end']);
  const zero = await server.connect(operation, '0');
  zero.send(Buffer.from('early '));
  zero.send(Buffer.from('input\n'));
  zero.send('');
  const one = await server.connect(operation, '1');
  await server.connect(operation, '2');
  await operation.finished;
  await one.closed();
  assert.equal(one.text, 'early input\nend\n');
});

test('closing socket 0 is the end of the input too', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'cat; echo end']);
  const { zero, one } = await connectAll(server, operation);
  zero.send(Buffer.from('x\n'));
  zero.socket.close();
  await operation.finished;
  await one.closed();
  assert.equal(one.text, 'x\nend\n');
});

test('100 MB come through cat unchanged while memory stays flat', async () => {
  const { operation } = startExec(server, ['cat']);
  const { zero, one } = await connectAll(server, operation);
  const sent = createHash('sha256');
  const got = createHash('sha256');
  let received = 0;
  one.socket.removeAllListeners('message');
  let isReceived: () => void = () => undefined;
  const whole = new Promise<void>((resolve) => {
    isReceived = resolve;
  });
  one.socket.on('message', (data, isBinary) => {
    if (!isBinary) isReceived();
    else if (Buffer.isBuffer(data)) {
      got.update(data);
      received += data.length;
    }
  });
  const block = randomBytes(32 * 1024);
  let peak = 0;
  const before = process.memoryUsage().rss;
  const total = 100 * 1024 * 1024;
  for (let at = 0; at < total; at += block.length) {
    block.writeUInt32LE(at);
    sent.update(block);
    // The client waits as the kernel makes it wait, so that only the server could pile anything up.
    await new Promise<void>((resolve) => {
      zero.socket.send(Buffer.from(block), { binary: true }, () => {
        resolve();
      });
    });
    peak = Math.max(peak, process.memoryUsage().rss);
  }
  zero.send('');
  await whole;
  await operation.finished;
  assert.equal(received, total);
  assert.equal(got.digest('hex'), sent.digest('hex'));
  assert.ok(peak - before < 80 * 1024 * 1024, `grew by ${String((peak - before) >> 20)} MiB`);
});

test('a client that does not read stops the command', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'head -c 50000000 /dev/zero; echo done >&2']);
  const { zero, one, two } = await connectAll(server, operation);
  one.socket.pause();
  zero.send('');
  // Time passes by the work of another command; it would be enough for all of the output.
  const other = startExec(server, ['sh', '-c', 'head -c 50000000 /dev/zero | wc -c']);
  await connectAll(server, other.operation);
  await other.operation.finished;
  assert.equal(two.text, '');
  one.socket.resume();
  await operation.finished;
  await one.closed();
  assert.equal(one.bytes.length, 50_000_000);
  assert.equal(two.text, 'done\n');
});

test('a command that ignores its input does not hold up its end', async () => {
  const { operation } = startExec(server, [
    'sh',
    '-c',
    'exec <&-; trap "exit 5" TERM; echo closed; while :; do :; done',
  ]);
  const { control, zero, one } = await connectAll(server, operation);
  await one.until((socket) => socket.text === 'closed\n');
  for (let i = 0; i < 64; i++) zero.send(Buffer.alloc(65_536));
  control.send(JSON.stringify({ command: 'signal', signal: 15 }));
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 5);
});

test('signals of the control socket reach the command, written as number or text', async () => {
  for (const signal of [15, '15']) {
    const { operation } = startExec(server, ['sh', '-c', 'echo ready; exec sleep 1000']);
    const { control, one } = await connectAll(server, operation);
    await one.until((socket) => socket.text === 'ready\n');
    control.send('not json');
    control.send(JSON.stringify({ command: 'nothing known' }));
    control.send(JSON.stringify({ command: 'signal', signal }));
    await operation.finished;
    assert.deepEqual(outcomeOf(operation), { status: 'Success', err: '', return: 143 });
  }
});

test('closing the control socket kills the command', async () => {
  const { operation } = startExec(server, ['sleep', '1000']);
  const { control } = await connectAll(server, operation);
  control.socket.terminate();
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 137);
});

test('without a control socket the end of socket 1 kills the command', async () => {
  const { operation, started } = startExec(server, ['sleep', '1000']);
  const zero = await server.connect(operation, '0');
  const one = await server.connect(operation, '1');
  await server.connect(operation, '2');
  await started;
  one.socket.terminate();
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 137);
  await zero.closed();
});

test('a client that closes an output gives the command a closed pipe', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'while echo y; do :; done 2>/dev/null; exit 9']);
  const { one } = await connectAll(server, operation);
  await one.until((socket) => socket.text.length > 0);
  one.socket.terminate();
  await operation.finished;
  assert.ok([9, 141].includes(outcomeOf(operation).return ?? 0));
});

test('a grandchild that holds the output keeps the operation open, with its return already told', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'exec 3<&0; { read x <&3; echo $x; } & exit 4']);
  const { zero, one } = await connectAll(server, operation);
  while (outcomeOf(operation).return === undefined) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(outcomeOf(operation).status, 'Running');
  zero.send(Buffer.from('late\n'));
  await operation.finished;
  await one.closed();
  assert.equal(one.text, 'late\n');
  assert.equal(outcomeOf(operation).return, 4);
});

test('a program that is not there, or cannot be run, fails the operation with the code a shell gives', async () => {
  for (const [argv, code, err] of [
    [['/no/such/program'], 127, 'Command not found'],
    [['/etc/passwd'], 126, 'Command not executable'],
  ] as const) {
    const { operation } = startExec(server, argv);
    const { one } = await connectAll(server, operation);
    await operation.finished;
    await one.closed();
    assert.deepEqual(outcomeOf(operation), { status: 'Failure', err, return: code });
  }
});

test('an attach that fails gives return -1 and the reason', async () => {
  const { operation } = startExec(server, ['true'], {
    native: {
      exec: () => ({
        started: Promise.reject(new Error('no such container')),
        exited: Promise.reject(new Error('no such container')),
        signal: () => undefined,
      }),
    },
  });
  const { zero } = await connectAll(server, operation);
  await operation.finished;
  await zero.closed();
  assert.equal(outcomeOf(operation).status, 'Failure');
  assert.equal(outcomeOf(operation).return, -1);
});

test('sockets that do not come in five seconds fail the operation', async () => {
  const { operation } = startExec(server, ['true']);
  const zero = await server.connect(operation, '0');
  await operation.finished;
  await zero.closed();
  assert.deepEqual(outcomeOf(operation), {
    status: 'Failure',
    err: 'timed out waiting for websockets',
    return: undefined,
  });
});

test('the end of the daemon kills the command and closes the sockets', async () => {
  const other = await openOperationServer();
  const kept = server;
  server = other;
  try {
    const { operation, started } = startExec(server, ['sleep', '1000']);
    const { one } = await connectAll(server, operation);
    await started;
    other.operations.abortAll();
    await operation.finished;
    await one.closed();
    assert.equal(operation.render()['status'], 'Failure');
  } finally {
    server = kept;
    await other.close();
  }
});
