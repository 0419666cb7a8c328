import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { startExec } from '../support/exec-server.ts';
import { openOperationServer, outcomeOf } from '../support/operation-sockets.ts';
import type { OperationServer, TestSocket } from '../support/operation-sockets.ts';

let server: OperationServer;
before(async () => {
  server = await openOperationServer();
});
after(() => server.close());

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

test('a terminal: output, then control is closed, then the barrier, and the operation ends by itself', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'tty; exit 7'], { terminal: true });
  const control = await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  await operation.finished;
  await zero.barrier();
  await control.closed();
  assert.match(zero.text, /^\/dev\/pts\/\d+\r\n$/);
  assert.deepEqual(outcomeOf(operation), { status: 'Success', err: '', return: 7 });
  assert.equal(zero.closeCode, null);
  zero.send('');
  await zero.closed();
  assert.equal(zero.closeCode, 1006);
});

test('nothing a terminal shows at the end is lost', async () => {
  for (let round = 0; round < 10; round++) {
    const { operation } = startExec(server, ['sh', '-c', 'stty -onlcr; seq 1 20000; printf end'], {
      terminal: true,
    });
    await server.connect(operation, 'control');
    const zero = await server.connect(operation, '0');
    await zero.barrier();
    assert.equal(zero.bytes.length, 108_894 + 3);
    assert.ok(zero.text.endsWith('20000\nend'));
    zero.socket.close();
  }
});

test('a background process that holds the terminal and writes to it does not hold the operation', async () => {
  const { operation } = startExec(
    server,
    ['sh', '-c', "trap '' HUP; (while echo y; do :; done) & echo gone"],
    {
      terminal: true,
    },
  );
  await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  await zero.barrier();
  await operation.finished;
  assert.match(zero.text, /gone\r\n/);
});

test('resizes reach the terminal, the one of the request first, numbers or texts', async () => {
  const sizes: string[] = [];
  const { operation, started } = startExec(server, ['sleep', '1000'], {
    terminal: true,
    native: {
      setWindowSize: (_fd, columns, rows) => {
        sizes.push(`${String(columns)}x${String(rows)}`);
      },
    },
  });
  const control = await server.connect(operation, 'control');
  await server.connect(operation, '0');
  await started;
  control.send(JSON.stringify({ command: 'window-resize', args: { width: '100', height: '30' } }));
  control.send(JSON.stringify({ command: 'window-resize', args: { width: 120, height: 40 } }));
  control.send(JSON.stringify({ command: 'window-resize', args: { width: 0, height: 40 } }));
  control.send(JSON.stringify({ command: 'signal', signal: 9 }));
  await operation.finished;
  assert.deepEqual(sizes, ['80x25', '100x30', '120x40']);
});

test('input to a terminal whose program does not read does not stop the process', async () => {
  const { operation } = startExec(server, ['sh', '-c', 'stty raw; echo ready; exec sleep 1000'], {
    terminal: true,
  });
  const control = await server.connect(operation, 'control');
  const zero = await server.connect(operation, '0');
  await zero.until((socket) => socket.text.includes('ready'));
  for (let i = 0; i < 100; i++) zero.send(Buffer.alloc(10_000, 'x'));
  control.send(JSON.stringify({ command: 'signal', signal: 15 }));
  await operation.finished;
  assert.equal(outcomeOf(operation).return, 143);
});

test('no descriptor is left behind by any of this', async () => {
  const run = async (terminal: boolean, argv: readonly string[]): Promise<void> => {
    const { operation } = startExec(server, argv, { terminal });
    const names = terminal ? ['control', '0'] : ['control', '0', '1', '2'];
    const sockets: TestSocket[] = [];
    for (const name of names) sockets.push(await server.connect(operation, name));
    await operation.finished;
    for (const socket of sockets) {
      socket.socket.terminate();
      await socket.closed();
    }
  };
  await run(false, ['true']);
  await run(true, ['true']);
  const before = openDescriptors();
  for (let i = 0; i < 20; i++) {
    await run(false, ['echo', 'x']);
    await run(true, ['echo', 'x']);
    await run(false, ['/no/such/program']);
  }
  for (let turns = 0; openDescriptors() > before && turns < 100; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(openDescriptors() <= before, `${String(openDescriptors())} after ${String(before)}`);
});
