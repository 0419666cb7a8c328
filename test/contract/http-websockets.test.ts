import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { makeServerCertificate } from '../../api/http/server-certificate.ts';
import { send, sendRaw } from '../support/http-client.ts';
import { readMetadata } from '../support/http-fakes.ts';
import { startServer, type TestServer } from '../support/http-server.ts';
import { mustOpen, openWebSocket } from '../support/websocket-client.ts';
import WebSocket from 'ws';

let server: TestServer;
const SECRETS = { '0': '0'.repeat(64), control: 'c'.repeat(64) };

before(async () => {
  server = await startServer({
    https: true,
    maxWaitingBytes: 100_000,
    webSocketRoutes: [
      {
        path: '/1.0/instances/{name}/echo',
        access: 'project',
        summary: 'test',
        accept: async (call) => (socket) => {
          socket.send(JSON.stringify({ name: call.params['name'], path: call.instancesPath }));
        },
      },
      {
        path: '/1.0/test/bug',
        access: 'any',
        summary: 'test',
        accept: () => {
          throw new TypeError('secret');
        },
      },
    ],
  });
});

after(async () => {
  await server.close();
});

function startExec(): { id: string; connected: string[]; end: () => void } {
  const connected: string[] = [];
  let end: () => void = () => undefined;
  const operation = server.operations.create({
    class: 'websocket',
    description: 'Executing command',
    project: 'default',
    metadata: { fds: SECRETS },
    onConnect: (fd, socket) => {
      connected.push(fd);
      socket.on('message', (data: Buffer, isBinary) => {
        socket.send(data, { binary: isBinary });
      });
    },
    run: () => new Promise((resolve) => (end = resolve)),
  });
  return {
    id: operation.id,
    connected,
    end: () => {
      end();
    },
  };
}

test('an operation is connected with its secrets, each once', async () => {
  const exec = startExec();
  const path = `/1.0/operations/${exec.id}/websocket?secret=`;
  const control = await mustOpen(server.socketPath, path + SECRETS.control);
  const stdin = await mustOpen(server.socketPath, path + SECRETS['0']);
  assert.deepEqual(exec.connected, ['control', '0']);
  control.socket.send('{"command":"signal"}');
  assert.deepEqual(await control.next(), { command: 'signal' });
  assert.equal(stdin.socket.extensions, '');
  for (const secret of [SECRETS.control, 'f'.repeat(64), '']) {
    const refused = await openWebSocket(server.socketPath, path + secret);
    assert.ok('status' in refused);
    assert.equal(refused.status, 403);
    assert.match(refused.text, /"error":"permission denied"/);
  }
  exec.end();
  control.socket.terminate();
  stdin.socket.terminate();
});

test('the secret alone lets a client in that nobody trusts', async () => {
  const exec = startExec();
  const socket = new WebSocket(
    `wss://127.0.0.1:${String(server.port)}/1.0/operations/${exec.id}/websocket?secret=${SECRETS['0']}`,
    {
      rejectUnauthorized: false,
    },
  );
  await new Promise((resolve) => socket.once('open', resolve));
  assert.deepEqual(exec.connected, ['0']);
  socket.terminate();
  exec.end();
});

test('an ended operation, an unknown one and one of another class refuse', async () => {
  const task = server.operations.create({
    class: 'task',
    description: 'x',
    project: 'default',
    run: () => new Promise(() => undefined),
  });
  const exec = startExec();
  await new Promise(setImmediate);
  exec.end();
  await server.operations.get(exec.id)?.finished;
  for (const [id, status] of [
    [task.id, 400],
    [exec.id, 400],
    ['nothing', 404],
  ] as const) {
    const refused = await openWebSocket(
      server.socketPath,
      `/1.0/operations/${id}/websocket?secret=${SECRETS['0']}`,
    );
    assert.ok('status' in refused);
    assert.equal(refused.status, status);
  }
});

test('a websocket of an instance is reached under both names of instances', async () => {
  for (const path of ['/1.0/instances', '/1.0/containers']) {
    const opened = await mustOpen(server.socketPath, `${path}/c%2F1/echo`);
    assert.deepEqual(await opened.next(), { name: 'c/1', path });
    opened.socket.terminate();
  }
});

test('a bug before the upgrade is a 500 without details, and the server goes on', async () => {
  const refused = await openWebSocket(server.socketPath, '/1.0/test/bug');
  assert.ok('status' in refused);
  assert.equal(refused.status, 500);
  assert.doesNotMatch(refused.text, /secret/);
  assert.equal((await send(server, { path: '/' })).status, 200);
});

test('a handshake with a bad key is refused', async () => {
  const answer = await sendRaw(
    server.socketPath,
    'GET /1.0/events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n',
    3000,
  );
  assert.match(answer.text, /^HTTP\/1\.1 400 /);
  assert.ok(answer.ended);
});

test('an upgrade to something else is answered as a plain request', async () => {
  const ask = (path: string) =>
    sendRaw(
      server.socketPath,
      `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
      3000,
    );
  const root = await ask('/');
  assert.match(root.text, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(root.text, /"metadata":\["\/1\.0"\]/);
  assert.ok(root.ended);
  assert.match((await ask('/1.0/events')).text, /^HTTP\/1\.1 400 /);
  assert.match((await ask('/nothing')).text, /^HTTP\/1\.1 404 /);
});

test('events come in order, of the project and the types that were asked for', async () => {
  const all = await mustOpen(server.socketPath, '/1.0/events?all-projects=true');
  const some = await mustOpen(server.socketPath, '/1.0/events?type=lifecycle&project=p1');
  server.events.lifecycle('instance-created', '/1.0/instances/c1', { project: 'default' });
  server.events.logging('info', 'Starting', { instance: 'c1' });
  server.events.lifecycle('instance-started', '/1.0/instances/c2?project=p1', { project: 'p1' });
  server.events.lifecycle('config-updated', '/1.0');
  const actions: unknown[] = [];
  for (let i = 0; i < 4; i++)
    actions.push(readMetadata((await all.next())['metadata'])['action'] ?? 'logging');
  assert.deepEqual(actions, ['instance-created', 'logging', 'instance-started', 'config-updated']);
  const first = await some.next();
  assert.equal(first['project'], 'p1');
  assert.equal(first['location'], 'none');
  assert.match(String(first['timestamp']), /^\d{4}-\d\d-\d\dT.*Z$/);
  assert.equal(readMetadata((await some.next())['metadata'])['action'], 'config-updated');
  all.socket.terminate();
  some.socket.terminate();
});

test('bad questions about events are refused before the upgrade', async () => {
  for (const query of ['type=nonsense', 'type=lifecycle,x', 'project=p1&all-projects=true']) {
    const refused = await openWebSocket(server.socketPath, `/1.0/events?${query}`);
    assert.ok('status' in refused);
    assert.equal(refused.status, 400);
  }
});

test('a restricted listener hears of its project, and never of tokens or the log', async () => {
  const laptop = await makeServerCertificate('laptop');
  await server.trust.add({
    fingerprint: laptop.fingerprint,
    certificate: laptop.certificate,
    type: 'client',
    name: 'laptop',
    restricted: true,
    projects: ['p1'],
  });
  const listen = (query: string) =>
    new WebSocket(`wss://127.0.0.1:${String(server.port)}/1.0/events?${query}`, {
      rejectUnauthorized: false,
      cert: laptop.certificate,
      key: laptop.key,
    });
  for (const query of ['project=default', 'all-projects=true', 'project=p1&type=logging']) {
    const status = await new Promise((resolve) => {
      listen(query).once('unexpected-response', (_req, res) => {
        resolve(res.statusCode);
      });
    });
    assert.equal(status, 403, query);
  }
  const socket = listen('project=p1');
  await new Promise((resolve) => socket.once('open', resolve));
  const messages: string[] = [];
  const last = new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      messages.push(data.toString());
      if (data.toString().includes('last')) resolve();
    });
  });
  server.operations.create({
    class: 'token',
    description: 'Executing operation',
    project: '',
    metadata: { secret: 'hidden' },
  });
  server.events.logging('info', 'hidden', {});
  server.events.lifecycle('x', 'hidden', { project: 'default' });
  server.events.lifecycle('x', 'last', { project: 'p1' });
  await last;
  assert.equal(messages.length, 1);
  socket.terminate();
});

test('a listener that does not read is dropped, the others go on', async () => {
  const good = await mustOpen(server.socketPath, '/1.0/events');
  const lazy = connect(server.socketPath);
  const key = Buffer.alloc(16).toString('base64');
  lazy.write(
    `GET /1.0/events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  );
  await new Promise((resolve) => lazy.once('data', resolve));
  lazy.pause();
  const gone = new Promise((resolve) => lazy.once('close', resolve));
  lazy.on('error', () => undefined);
  for (let i = 0; i < 40; i++) {
    server.events.lifecycle('instance-started', 'x'.repeat(20_000), { project: 'default' });
    await good.next();
  }
  lazy.resume();
  await gone;
  server.events.lifecycle('instance-started', 'still here', { project: 'default' });
  assert.equal(readMetadata((await good.next())['metadata'])['source'], 'still here');
  good.socket.terminate();
});

test('operations are listed by status, shown, waited for and cancelled', async () => {
  const exec = startExec();
  const list = await send(server, { path: '/1.0/operations' });
  assert.match(list.text, new RegExp(`"running":\\[[^\\]]*"/1\\.0/operations/${exec.id}"`));
  const late = await send(server, { path: `/1.0/operations/${exec.id}/wait?timeout=0` });
  assert.match(late.text, /"status":"Running"/);
  assert.equal((await send(server, { path: `/1.0/operations/${exec.id}/wait?timeout=soon` })).status, 400);
  assert.equal((await send(server, { method: 'DELETE', path: `/1.0/operations/${exec.id}` })).status, 400);
  const waited = send(server, { path: `/1.0/operations/${exec.id}/wait` });
  exec.end();
  assert.match((await waited).text, /"status":"Success","status_code":200/);
  assert.equal((await send(server, { path: '/1.0/operations/nothing' })).status, 404);
  const slow = server.operations.create({
    class: 'task',
    description: 'Downloading image',
    project: 'default',
    mayCancel: true,
    run: ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason);
        });
      }),
  });
  assert.equal((await send(server, { method: 'DELETE', path: `/1.0/operations/${slow.id}` })).status, 200);
  assert.equal(slow.render()['status'], 'Cancelled');
});

test('waiting without trust needs the secret of the operation', async () => {
  const task = server.operations.create({
    class: 'task',
    description: 'x',
    project: 'default',
    metadata: { secret: 'known' },
    run: async () => undefined,
  });
  const remote = { port: server.port };
  assert.equal((await send(remote, { path: `/1.0/operations/${task.id}/wait` })).status, 403);
  assert.equal((await send(remote, { path: `/1.0/operations/${task.id}/wait?secret=wrong` })).status, 403);
  assert.equal((await send(remote, { path: `/1.0/operations/${task.id}/wait?secret=known` })).status, 200);
});

test('a server that stands alone says so', async () => {
  const reply = await send(server, { path: '/1.0/cluster' });
  assert.equal(readMetadata(reply.json()['metadata'])['enabled'], false);
  assert.equal((await send(server, { path: '/1.0/cluster/members' })).status, 404);
  assert.equal((await send(server, { method: 'PUT', path: '/1.0/cluster' })).status, 400);
});

test('the configuration is read, replaced and merged with its tag', async () => {
  const shown = await send(server, { path: '/1.0' });
  assert.equal(readMetadata(shown.json()['metadata'])['auth'], 'trusted');
  const change = (method: string, config: object | null, tag = '') =>
    send(server, { method, path: '/1.0', headers: { 'If-Match': tag }, body: JSON.stringify({ config }) });
  const https = { 'core.https_address': server.config.get('core.https_address') };
  assert.equal((await change('PUT', { ...https, 'user.a': 'b' }, String(shown.headers.etag))).status, 200);
  assert.equal((await change('PUT', { ...https }, String(shown.headers.etag))).status, 412);
  assert.equal((await change('PATCH', { 'user.c': 1 })).status, 200);
  assert.deepEqual(server.config.all(), { ...https, 'user.a': 'b', 'user.c': '1' });
  assert.equal((await change('PATCH', null)).status, 200);
});
