import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { link, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, createServer as createNetServer, type Server as NetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { parseListenAddress } from '../../api/http/address.ts';
import { groupId, userName } from '../../api/http/system-names.ts';
import { listenUnix } from '../../api/http/unix-listener.ts';
import { isFault } from '../../process/fault.ts';
import { SILENT, type Log } from '../../process/log.ts';
import { send } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';

let server: TestServer;
let directory = '';

before(async () => {
  server = await startServer({ https: true });
  directory = await mkdtemp(join(tmpdir(), 'http-listen-'));
});

after(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

const ADDRESSES: readonly (readonly [text: string, host: string | null, port: number])[] = [
  ['[::]:8443', '::', 8443],
  [':8443', null, 8443],
  ['*:9000', null, 9000],
  ['::1', '::1', 8443],
  ['[::1]', '::1', 8443],
  ['127.0.0.1', '127.0.0.1', 8443],
  ['node7.test:1', 'node7.test', 1],
];

for (const [text, host, port] of ADDRESSES) {
  test(`"${text}" is an address to listen on`, () => {
    assert.deepEqual(parseListenAddress(text), { host, port });
  });
}

for (const text of ['a b', '127.0.0.1:99999', '[x]:1', '[::1', 'http://x:1', '1:2:3:x']) {
  test(`"${text}" is no address to listen on`, () => {
    assert.throws(
      () => parseListenAddress(text),
      (err) => isFault(err, 'bad_request'),
    );
  });
}

function plainServer(): Server {
  return createServer((_req, res) => {
    res.end('ok');
  });
}

function listen(
  target: Server,
  path: string,
  more: { group?: string | null; activatedFd?: number | null; log?: Log } = {},
): Promise<void> {
  return listenUnix(target, {
    path,
    group: more.group ?? null,
    activatedFd: more.activatedFd ?? null,
    log: more.log ?? SILENT,
  });
}

function close(target: NetServer): Promise<void> {
  return new Promise((resolve) => {
    target.close(() => {
      resolve();
    });
  });
}

test('a second daemon refuses to start while the first answers', async () => {
  const second = plainServer();
  await assert.rejects(
    listen(second, server.socketPath),
    (err) => isFault(err, 'conflict') && /another daemon/.test(err.message),
  );
  assert.equal((await send(server, { path: '/' })).status, 200);
});

test('a socket that nobody listens on is replaced', async () => {
  const path = join(directory, 'new', 'stale.socket');
  const first = plainServer();
  await listen(first, path);
  // Put aside while it is closed, the file stays behind as after a kill -9.
  await rename(path, `${path}.kept`);
  await close(first);
  await rename(`${path}.kept`, path);
  const second = plainServer();
  await listen(second, path);
  assert.equal((await send({ socketPath: path }, { path: '/' })).text, 'ok');
  assert.equal((await stat(path)).mode & 0o777, 0o660);
  assert.equal((await stat(join(directory, 'new'))).mode & 0o777, 0o711);
  await close(second);
});

test('a file in the place of the socket is left alone', async () => {
  const path = join(directory, 'file');
  await writeFile(path, 'precious');
  await assert.rejects(listen(plainServer(), path), (err) => isFault(err, 'bad_request'));
});

test('the socket is given to a group that exists, and a missing one is only warned of', async (t) => {
  if (process.getuid?.() !== 0) {
    t.skip('needs root');
    return;
  }
  const path = join(directory, 'group.socket');
  const given = plainServer();
  await listen(given, path, { group: 'daemon' });
  assert.equal((await stat(path)).gid, groupId('daemon'));
  await close(given);
  const warnings: string[] = [];
  const other = plainServer();
  await listen(other, path, {
    group: 'no-such-group',
    log: { ...SILENT, warn: (msg) => void warnings.push(msg) },
  });
  assert.equal(warnings.length, 1);
  await close(other);
});

test('a listening descriptor from outside is taken as it is', async () => {
  const path = join(directory, 'activated.socket');
  const holder = createNetServer();
  await new Promise<void>((resolve) => holder.listen(path, resolve));
  const handle: unknown = Reflect.get(holder, '_handle');
  assert.ok(typeof handle === 'object' && handle !== null);
  const fd: unknown = Reflect.get(handle, 'fd');
  assert.ok(typeof fd === 'number');
  const script = `
    const { listenUnix } = await import(${JSON.stringify(new URL('../../api/http/unix-listener.ts', import.meta.url).href)});
    const { createServer } = await import('node:http');
    const server = createServer((req, res) => res.end('activated'));
    await listenUnix(server, { path: '/nowhere', group: null, activatedFd: 3, log: { warn() {} } });
    process.send('ready');
  `;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'inherit', fd, 'ipc'],
  });
  await new Promise((resolve) => child.once('message', resolve));
  // The holder's close removes the name it made; the socket lives on under this one.
  const kept = `${path}.kept`;
  await link(path, kept);
  await close(holder);
  assert.equal((await send({ socketPath: kept }, { path: '/' })).text, 'activated');
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
});

test('the HTTPS listener speaks TLS 1.3, asks for a certificate and needs none', async () => {
  const socket = connectTls({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  assert.equal(socket.getProtocol(), 'TLSv1.3');
  assert.equal(
    socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase(),
    server.certificate.fingerprint,
  );
  socket.destroy();
  const old = connectTls({
    port: server.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    maxVersion: 'TLSv1.2',
  });
  await assert.rejects(
    new Promise((resolve, reject) => old.once('secureConnect', resolve).once('error', reject)),
  );
});

test('the listener moves, refuses what it cannot have, and goes', async () => {
  const first = server.port;
  const put = (address: string) =>
    send(server, {
      method: 'PATCH',
      path: '/1.0',
      body: JSON.stringify({ config: { 'core.https_address': address } }),
    });
  const taken = createNetServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const bound = taken.address();
  assert.ok(bound !== null && typeof bound === 'object');
  const refused = await put(`127.0.0.1:${String(bound.port)}`);
  assert.equal(refused.status, 400);
  assert.match(refused.text, /cannot listen on/);
  assert.equal((await send({ port: first }, { path: '/' })).status, 200);
  taken.close();
  // The same port on all addresses collides with the old listener, which must give way.
  assert.equal((await put(`0.0.0.0:${String(first)}`)).status, 200);
  assert.equal((await send({ port: first }, { path: '/' })).status, 200);
  assert.ok(server.listeners.addresses().every((address) => address.endsWith(`:${String(first)}`)));
  assert.equal((await put('')).status, 200);
  await assert.rejects(send({ port: first }, { path: '/' }));
  assert.equal((await put('[::1]:0')).status, 200);
  assert.match(server.listeners.addresses()[0] ?? '', /^\[::1\]:\d+$/);
  assert.equal((await put('not an address')).status, 400);
});

test('the metrics listener serves three paths', async () => {
  const probe = createNetServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const bound = probe.address();
  assert.ok(bound !== null && typeof bound === 'object');
  await new Promise((resolve) => probe.close(resolve));
  await server.config.merge({ 'core.metrics_address': `127.0.0.1:${String(bound.port)}` });
  assert.equal((await send({ port: bound.port }, { path: '/1.0' })).status, 200);
  assert.equal((await send({ port: bound.port }, { path: '/1.0/certificates' })).status, 404);
  await server.config.merge({ 'core.metrics_address': '' });
});

test('a connection stays open between requests', async () => {
  const socket = connect(server.socketPath);
  const replies: string[] = [];
  for (let i = 0; i < 3; i++) {
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    replies.push(String(await new Promise((resolve) => socket.once('data', resolve))));
  }
  assert.ok(replies.every((reply) => reply.startsWith('HTTP/1.1 200 OK')));
  socket.destroy();
});

test('users and groups are named from the files of the host', async () => {
  const passwd = join(directory, 'passwd');
  await writeFile(passwd, 'root:x:0:0:::\nalice:x:1000:1000:::\n');
  assert.equal(userName(1000, passwd), 'alice');
  assert.equal(userName(1001, passwd), 'uid=1001');
  assert.equal(userName(1000, join(directory, 'nothing')), 'uid=1000');
  assert.equal(groupId('nobody-here'), null);
  assert.equal(groupId('42'), 42);
});
