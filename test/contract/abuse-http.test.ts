import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import { answers, type Route } from '../../api/http/route.ts';
import { DEFAULT_LIMITS } from '../../api/http/server.ts';
import { send, sendRaw } from '../support/http-client.ts';
import { Random } from '../support/random.ts';
import { startServer, type TestServer } from '../support/http-server.ts';

let server: TestServer;

const routes: Route[] = [
  {
    method: 'POST',
    path: '/1.0/instances',
    access: 'project',
    summary: 'test',
    body: z.object({ name: z.string(), config: z.record(z.string(), z.string()).nullish() }),
    handle: async (call) => answers.sync(call.body),
  },
  {
    method: 'GET',
    path: '/1.0/instances/{name}/logs/{file}',
    access: 'project',
    summary: 'test',
    handle: async (call) => answers.sync(call.params),
  },
  {
    method: 'POST',
    path: '/1.0/images',
    access: 'any',
    summary: 'test',
    body: 'stream',
    handle: async (call) => {
      let size = 0;
      for await (const chunk of call.stream) size += Buffer.isBuffer(chunk) ? chunk.length : 0;
      return answers.sync(size);
    },
  },
];

before(async () => {
  server = await startServer({
    routes,
    https: true,
    limits: { ...DEFAULT_LIMITS, headersTimeoutMs: 1000, maxConnections: 3000 },
  });
});

after(async () => {
  await server.close();
});

/** The server still answers, and nothing was logged as an error. */
async function stillWell(): Promise<void> {
  assert.equal((await send(server, { path: '/' })).status, 200);
  assert.deepEqual(server.errors, []);
}

const HOST = 'Host: x\r\n';
const GARBAGE: readonly (readonly [what: string, bytes: string, status: RegExp])[] = [
  ['random letters', 'what is this?\r\n\r\n', /^HTTP\/1\.1 400 /],
  ['a TLS greeting on the plain socket', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', /^HTTP\/1\.1 400 /],
  ['an unknown method', `BREW / HTTP/1.1\r\n${HOST}\r\n`, /^HTTP\/1\.1 400 /],
  ['no host', 'GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /],
  [
    'two lengths',
    `POST /1.0/instances HTTP/1.1\r\n${HOST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
    /^HTTP\/1\.1 400 /,
  ],
  [
    'a length and chunks',
    `POST /1.0/instances HTTP/1.1\r\n${HOST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    /^HTTP\/1\.1 400 /,
  ],
  [
    'a negative length',
    `POST /1.0/instances HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`,
    /^HTTP\/1\.1 400 /,
  ],
  [
    'a bad chunk',
    `POST /1.0/instances HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    /^(HTTP\/1\.1 400 |$)/,
  ],
  ['a header without a name', `GET / HTTP/1.1\r\n${HOST}: x\r\n\r\n`, /^HTTP\/1\.1 400 /],
  ['a zero byte in a header', `GET / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`, /^HTTP\/1\.1 400 /],
  [
    'a head that is too large',
    `GET / HTTP/1.1\r\n${HOST}X: ${'x'.repeat(40_000)}\r\n\r\n`,
    /^HTTP\/1\.1 431 /,
  ],
  [
    'a path that is too long',
    `GET /${'x'.repeat(40_000)} HTTP/1.1\r\n${HOST}\r\n`,
    /^HTTP\/1\.1 (431|414|404) /,
  ],
  ['too many headers', `GET / HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(8000)}\r\n`, /^HTTP\/1\.1 (431|200) /],
  [
    'garbage behind a good request',
    `GET / HTTP/1.1\r\n${HOST}\r\n\x00\x01\x02\r\n\r\n`,
    /^(HTTP\/1\.1 (200|400) |$)/,
  ],
  ['a connect', `CONNECT evil.test:443 HTTP/1.1\r\n${HOST}\r\n`, /^$/],
];

for (const [what, bytes, status] of GARBAGE) {
  test(`${what}: a clear refusal or a closed connection`, async () => {
    const { text, ended } = await sendRaw(server.socketPath, Buffer.from(bytes, 'latin1'), 5000);
    assert.match(text, status);
    assert.ok(ended || /^HTTP\/1\.1 (200|404) /.test(text), 'the connection is left open');
    await stillWell();
  });
}

test('random bytes never get more than a refusal', async () => {
  const random = new Random(7);
  for (let i = 0; i < 50; i++) {
    const { text } = await sendRaw(server.socketPath, random.bytes(1 + random.below(400)), 200);
    assert.match(text, /^(HTTP\/1\.1 4\d\d |$)/);
  }
  await stillWell();
});

test('pipelined requests are answered one after the other', async () => {
  const { text } = await sendRaw(server.socketPath, `GET / HTTP/1.1\r\n${HOST}\r\n`.repeat(100), 500);
  assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 100);
});

test('half a head is closed after the time for heads', async () => {
  for (const half of ['', 'GET / HT', `GET / HTTP/1.1\r\n${HOST}X-Half: `]) {
    const started = connect(server.socketPath);
    if (half !== '') started.write(half);
    started.resume();
    await once(started, 'close');
  }
  await stillWell();
});

test('a body that ends early takes only its own connection with it', async () => {
  const socket = connect(server.socketPath);
  socket.write(`POST /1.0/instances HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\n{"name":`);
  socket.end();
  socket.resume();
  await once(socket, 'close');
  const upload = connect(server.socketPath);
  upload.write(`POST /1.0/images HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\nabc`);
  upload.destroy();
  await once(upload, 'close');
  await stillWell();
});

const BODIES: readonly (readonly [what: string, body: string, status: number])[] = [
  ['10 MB of blanks', ' '.repeat(10_000_000), 413],
  ['10 MB of one string', `{"name":"${'x'.repeat(10_000_000)}"}`, 413],
  ['brackets without end', '['.repeat(500_000), 400],
  ['deep nesting', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 400],
  ['deep nesting around half a letter', `["\\ud800",${'['.repeat(100_000)}${']'.repeat(100_000)}]`, 400],
  ['deep nesting in an unknown key', `{"name":"a","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 200],
  [
    '100,000 keys',
    JSON.stringify({
      name: 'a',
      config: Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`k${String(i)}`, ''])),
    }),
    200,
  ],
  ['a polluted prototype', '{"name":"a","config":{"__proto__":"x","constructor":"y"}}', 200],
  ['a number for a text', '{"name":12}', 400],
  ['a huge number', '{"name":1e400}', 400],
  ['a list of names', '{"name":["a"]}', 400],
];

for (const [what, body, status] of BODIES) {
  test(`a body of ${what} is answered ${String(status)}`, async () => {
    const reply = await send(server, { method: 'POST', path: '/1.0/instances', body });
    assert.equal(reply.status, status, reply.text.slice(0, 200));
    await stillWell();
  });
}

const PATHS = [
  '/1.0/instances/../certificates',
  '/1.0/../1.0/instances/c1/logs/x/../../../../etc/passwd',
  '//1.0/instances',
  '/1.0//instances',
  '/1.0/./instances',
  '/1.0/instances/c1/logs/..',
  '\\1.0\\instances',
  '/1.0/instances/c1/logs/a/b',
];

for (const path of PATHS) {
  test(`the path ${path} is not tidied up into another one`, async () => {
    const { text } = await sendRaw(
      server.socketPath,
      `GET ${path} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
      5000,
    );
    if (path.endsWith('/logs/..')) assert.match(text, /"file":"\.\."/);
    else assert.match(text, /^HTTP\/1\.1 40[04] /);
  });
}

test('a dotted name stays one parameter for its route to refuse', async () => {
  const reply = await send(server, { path: '/1.0/instances/c1/logs/..%2F..%2Fetc%2Fpasswd' });
  assert.match(reply.text, /"file":"\.\.\/\.\.\/etc\/passwd"/);
});

test('1,000 idle connections on each listener do not keep others out', async () => {
  const idle: Socket[] = [];
  try {
    const waiting: Promise<unknown>[] = [];
    for (let i = 0; i < 1000; i++) {
      const plain = connect(server.socketPath);
      const remote = connect(server.port, '127.0.0.1');
      for (const socket of [plain, remote]) {
        // Closed by the server when it has waited long enough: that is what it should do.
        socket.on('error', () => undefined);
        idle.push(socket);
        waiting.push(once(socket, 'connect'));
      }
    }
    await Promise.all(waiting);
    await stillWell();
    assert.equal((await send({ port: server.port }, { path: '/' })).status, 200);
  } finally {
    for (const socket of idle) socket.destroy();
  }
});

test('idle connections are closed in the end', async () => {
  const idle = Array.from({ length: 20 }, () => connect(server.socketPath));
  await Promise.all(
    idle.map((socket) => {
      socket.resume();
      return once(socket, 'close');
    }),
  );
});

test('a handshake that is no TLS, or stops, costs the listener nothing', async () => {
  const plain = connect(server.port, '127.0.0.1');
  plain.on('error', () => undefined);
  plain.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  plain.resume();
  await once(plain, 'close');
  const half = connect(server.port, '127.0.0.1');
  half.on('error', () => undefined);
  half.write(Buffer.from('160301', 'hex'));
  half.resume();
  await once(half, 'close');
  const good = connectTls({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(good, 'secureConnect');
  good.destroy();
  await stillWell();
});

test('a stranger over TLS is refused on every route that asks for trust', async () => {
  for (const route of server.routes.filter(({ access }) => access !== 'any' && access !== 'metrics')) {
    const path = route.path.replace(/\{\w+\*?\}/g, 'x');
    const reply = await send(
      { port: server.port },
      { method: route.method, path, body: '{}', headers: { 'Content-Length': '2' } },
    );
    assert.equal(reply.status, 403, `${route.method} ${path}`);
    assert.equal(reply.json()['error'], 'not authorized');
  }
});
