import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Ovsdb, parseOvsdbAddress } from '../../../../api/network/ovsdb.ts';
import { JsonFrames } from '../../../../api/network/json-frames.ts';
import { mapOf, uuidsOf } from '../../../../api/network/ovsdb-values.ts';
import { isFault } from '../../../../process/fault.ts';

interface Request {
  readonly method: string;
  readonly params: readonly unknown[];
  readonly id: number;
}

type Answer = (socket: net.Socket, request: Request) => void;

const dir = mkdtempSync(join(tmpdir(), 'ovsdb-test-'));
const closing: (() => void)[] = [];
let servers = 0;

after(() => {
  for (const close of closing) close();
  rmSync(dir, { recursive: true, force: true });
});

/** A database that answers as told, and a client of it. */
async function pair(
  answer: Answer,
  timeoutMs = 5_000,
): Promise<{ client: Ovsdb; connections: () => number }> {
  servers += 1;
  const path = join(dir, `db${String(servers)}.sock`);
  let connections = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    const frames = new JsonFrames();
    socket.on('data', (piece) => {
      // No encoding is set: pieces are bytes, and what comes is a client's request.
      for (const text of frames.push(Buffer.from(piece))) answer(socket, JSON.parse(text) as Request);
    });
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const client = new Ovsdb({ address: () => `unix:${path}`, timeoutMs });
  closing.push(() => {
    client.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { client, connections: () => connections };
}

function reply(socket: net.Socket, request: Request, result: unknown, error: unknown = null): void {
  socket.write(JSON.stringify({ id: request.id, result, error }));
}

test('objects are parted wherever the stream is cut', () => {
  const text = '{"a":"}\\"{","b":[{"c":1},[]]}{"id":"ü€𝄞"}\n {"x":{}}';
  const whole = ['{"a":"}\\"{","b":[{"c":1},[]]}', '{"id":"ü€𝄞"}', '\n {"x":{}}'];
  const bytes = Buffer.from(text);
  for (let size = 1; size <= bytes.length; size += 1) {
    const frames = new JsonFrames();
    const found: string[] = [];
    for (let at = 0; at < bytes.length; at += size) found.push(...frames.push(bytes.subarray(at, at + size)));
    assert.deepEqual(found, whole, `pieces of ${String(size)} bytes`);
    assert.equal(frames.pending, 0);
  }
});

test('answers in pieces, and out of order, reach who asked', async () => {
  const held: (() => void)[] = [];
  const { client, connections } = await pair((socket, request) => {
    assert.equal(request.params[0], 'Open_vSwitch');
    const text = JSON.stringify({ id: request.id, result: [{ rows: [request.params[1]] }], error: null });
    held.push(() => {
      for (const letter of text) socket.write(letter);
    });
    if (held.length === 2) for (const send of held.reverse()) send();
  });
  const [one, two] = await Promise.all([client.transact([{ op: 'a' }]), client.transact([{ op: 'b' }])]);
  assert.deepEqual(one, [{ rows: [{ op: 'a' }] }]);
  assert.deepEqual(two, [{ rows: [{ op: 'b' }] }]);
  assert.equal(connections(), 1);
});

test('errors of an operation, of the whole and of the request are faults with their text', async () => {
  const answers: [unknown, unknown][] = [
    [[{}, { error: 'constraint violation', details: 'no row' }, null], null],
    [[{}, {}, { error: 'referential integrity violation', details: 'in use' }], null],
    [null, { error: 'unknown database' }],
    ['nonsense', null],
  ];
  const { client } = await pair((socket, request) => {
    const [result, error] = answers.shift() ?? [];
    reply(socket, request, result, error);
  });
  for (const text of [
    /constraint violation \(no row\)/,
    /referential .*in use/,
    /unknown database/,
    /no list/,
  ]) {
    await assert.rejects(
      client.transact([{ op: 'x' }]),
      (err) => isFault(err, 'conflict') && text.test(err.message),
    );
  }
});

test('the server is told that the client lives', async () => {
  let echoed: unknown = null;
  const { client } = await pair((socket, request) => {
    if (request.method === 'transact') {
      socket.write(JSON.stringify({ method: 'echo', params: ['are you there'], id: 'echo' }));
      waiting = request;
      return;
    }
    echoed = request;
    if (waiting !== null) reply(socket, waiting, [{}]);
  });
  let waiting: Request | null = null;
  await client.transact([{ op: 'x' }]);
  assert.deepEqual(echoed, { id: 'echo', result: ['are you there'], error: null });
});

test('a connection that broke is made again, and what was under way is asked again, once', async () => {
  let asked = 0;
  const { client, connections } = await pair((socket, request) => {
    asked += 1;
    if (asked === 1) socket.destroy();
    else reply(socket, request, [{ count: asked }]);
  });
  assert.deepEqual(await client.transact([{ op: 'x' }]), [{ count: 2 }]);
  assert.equal(connections(), 2);

  const stubborn = await pair((socket) => socket.destroy());
  await assert.rejects(stubborn.client.transact([{ op: 'x' }]), (err) => isFault(err, 'unavailable'));
  assert.equal(stubborn.connections(), 2);
});

test('a database that is silent, absent or none is said to be so', async () => {
  const silent = await pair(() => undefined, 50);
  await assert.rejects(silent.client.transact([]), (err) => isFault(err, 'timeout'));
  const absent = new Ovsdb({ address: () => `unix:${dir}/nothing` });
  await assert.rejects(
    absent.transact([]),
    (err) => isFault(err, 'unavailable') && err.message.includes('network.ovs.connection'),
  );
  const other = await pair((socket) => socket.write('{not json}'));
  await assert.rejects(other.client.transact([]), (err) => isFault(err, 'unavailable'));
});

test('addresses are sockets and hosts with a port', () => {
  assert.deepEqual(parseOvsdbAddress('unix:/run/x.sock'), { path: '/run/x.sock' });
  assert.deepEqual(parseOvsdbAddress('tcp:192.0.2.1:6640'), { host: '192.0.2.1', port: 6640 });
  assert.deepEqual(parseOvsdbAddress('tcp:[2001:db8::1]:6640'), { host: '2001:db8::1', port: 6640 });
  for (const bad of [
    '',
    'unix:',
    'unix:relative',
    'tcp:host',
    'tcp:host:0',
    'tcp:host:99999',
    'ssl:h:1',
    'tcp:::1:2',
  ]) {
    assert.throws(
      () => parseOvsdbAddress(bad),
      (err) => isFault(err, 'bad_request'),
      bad,
    );
  }
});

test('values of one, none and several are read alike', () => {
  assert.deepEqual(uuidsOf(['uuid', 'a']), ['a']);
  assert.deepEqual(uuidsOf(['set', []]), []);
  assert.deepEqual(uuidsOf(['set', [['uuid', 'a'], ['uuid', 'b']]]), ['a', 'b']); // prettier-ignore
  assert.deepEqual(mapOf(['map', [['k', 'v']]]), { k: 'v' });
  assert.deepEqual(mapOf('x'), {});
});
