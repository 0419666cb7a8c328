import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { Writable } from 'node:stream';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import { answers, type Answer, type Call, type Route } from '../../api/http/route.ts';
import { Fault } from '../../process/fault.ts';
import { send, type Reply } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';

let server: TestServer;

const echo = async (call: Call): Promise<Answer> =>
  answers.sync({
    method: call.method,
    params: call.params,
    project: call.project,
    recursion: call.recursion,
    path: call.instancesPath,
    body: call.body ?? null,
    query: Object.fromEntries(call.query),
  });

function fakeRoutes(): Route[] {
  const route = (method: Route['method'], path: string, more: Partial<Route> = {}): Route => ({
    method,
    path,
    access: 'project',
    summary: 'test',
    handle: echo,
    ...more,
  });
  return [
    route('GET', '/1.0/instances', { isEmptyWithoutProject: true }),
    route('GET', '/1.0/networks'),
    route('GET', '/1.0/instances/{name}', { handle: async () => answers.sync({ a: 1 }, { tag: 'this' }) }),
    route('PUT', '/1.0/instances/{name}', {
      body: z.object({ limits: z.object({ cpu: z.string() }).optional(), count: z.number().nullish() }),
      handle: async (call) => {
        call.checkEtag({ tag: 'this' });
        return echo(call);
      },
    }),
    route('POST', '/1.0/instances', { handle: async () => answers.created('/1.0/instances/ü') }),
    route('DELETE', '/1.0/instances/{name}', {
      handle: async () =>
        answers.async(
          server.operations.create({
            class: 'task',
            description: 'Deleting instance',
            project: 'default',
            run: async () => undefined,
          }),
        ),
    }),
    route('GET', '/1.0/images/aliases/{name*}'),
    route('GET', '/1.0/images/{fingerprint}'),
    route('GET', '/1.0/test/text', {
      handle: async () => ({ kind: 'text', text: '# EOF\n', contentType: 'text/plain' }),
    }),
    route('HEAD', '/1.0/test/head', {
      handle: async () => ({ kind: 'headers', headers: { 'X-LXD-type': 'file' } }),
    }),
    route('GET', '/1.0/test/bug', {
      handle: () => {
        throw new TypeError('a secret of /etc/shadow');
      },
    }),
    route('GET', '/1.0/test/fault', {
      handle: () => Promise.reject(new Fault('storage_full', 'no room in pool "default"')),
    }),
    route('POST', '/1.0/test/upload', {
      body: 'stream',
      handle: async (call) => {
        let size = 0;
        for await (const chunk of call.stream) size += Buffer.isBuffer(chunk) ? chunk.length : 0;
        return answers.sync({ size });
      },
    }),
    route('POST', '/1.0/test/broken-upload', {
      body: 'stream',
      handle: async (call) => {
        const sink = new Writable({
          write: (_chunk, _encoding, done) => {
            done(new Fault('storage_full', 'the disk is full'));
          },
        });
        await pipeline(call.stream, sink);
        return answers.empty();
      },
    }),
    route('POST', '/1.0/test/unread', {
      body: 'stream',
      handle: () => Promise.reject(new Fault('forbidden', 'not authorized')),
    }),
  ];
}

before(async () => {
  server = await startServer({ routes: fakeRoutes() });
});

after(async () => {
  await server.close();
});

function get(path: string, headers: Record<string, string> = {}): Promise<Reply> {
  return send(server, { path, headers });
}

function metadata(reply: Reply): Record<string, unknown> {
  const value = reply.json()['metadata'];
  assert.ok(typeof value === 'object' && value !== null);
  return { ...value };
}

test('a sync answer has all seven keys', async () => {
  const reply = await get('/');
  assert.equal(reply.status, 200);
  assert.equal(reply.headers['content-type'], 'application/json');
  assert.deepEqual(reply.json(), {
    type: 'sync',
    status: 'Success',
    status_code: 200,
    operation: '',
    error_code: 0,
    error: '',
    metadata: ['/1.0'],
  });
});

const REFUSALS: readonly (readonly [
  what: string,
  method: string,
  path: string,
  status: number,
  text: RegExp,
])[] = [
  ['an unknown path', 'GET', '/1.0/nothing', 404, /^not found$/],
  ['a path with another case', 'GET', '/1.0/Instances', 404, /^not found$/],
  ['a trailing slash', 'GET', '/1.0/instances/', 404, /^not found$/],
  ['an empty name', 'GET', '/1.0/images/aliases/', 404, /^not found$/],
  ['an absent method on a known path', 'PATCH', '/1.0/instances', 501, /^not implemented$/],
  ['a wrong percent-encoding', 'GET', '/1.0/instances/%zz', 400, /decoded/],
  ['an encoding that is no UTF-8', 'GET', '/1.0/instances/%ff', 400, /decoded/],
  ['a zero byte in a name', 'GET', '/1.0/instances/a%00b', 400, /zero byte/],
  ['a zero byte in the query', 'GET', '/1.0/instances?filter=%00', 400, /zero byte/],
  ['an unknown project', 'GET', '/1.0/instances/c1?project=nope', 404, /Project not found/],
  ['a Fault', 'GET', '/1.0/test/fault', 507, /no room in pool/],
  ['a plain request to a websocket', 'GET', '/1.0/events', 400, /websocket/],
  [
    'a machine that cannot be',
    'DELETE',
    '/1.0/virtual-machines/v1',
    400,
    /virtual machines are not supported/,
  ],
  ['a machine that is not there', 'GET', '/1.0/virtual-machines/v1', 404, /Instance not found/],
];

for (const [what, method, path, status, text] of REFUSALS) {
  test(`${what} is answered ${String(status)} in the error envelope`, async () => {
    const reply = await send(server, { method, path });
    assert.equal(reply.status, status);
    assert.equal(reply.headers['x-content-type-options'], 'nosniff');
    const { error, ...rest } = reply.json();
    assert.match(String(error), text);
    assert.deepEqual(rest, {
      type: 'error',
      status: '',
      status_code: 0,
      operation: '',
      error_code: status,
      metadata: null,
    });
  });
}

test('names are decoded after the path has been split', async () => {
  assert.deepEqual(metadata(await get('/1.0/images/a%2Fb'))['params'], { fingerprint: 'a/b' });
  assert.deepEqual(metadata(await get('/1.0/images/aliases/debian%2F12/x'))['params'], {
    name: 'debian/12/x',
  });
});

test('an absolute request line is taken, as clients of unix sockets send it', async () => {
  const reply = await get('http://unix.socket/1.0/instances?recursion=2&project=p1');
  assert.equal(metadata(reply)['recursion'], 2);
  assert.equal(metadata(reply)['project'], 'p1');
});

test('instances are reached under their old name, with URLs of that name', async () => {
  assert.equal(metadata(await get('/1.0/instances'))['path'], '/1.0/instances');
  assert.equal(metadata(await get('/1.0/containers'))['path'], '/1.0/containers');
  assert.equal((await get('/1.0/containers/c1')).status, 200);
  assert.deepEqual((await get('/1.0/virtual-machines')).json()['metadata'], []);
});

test('a list of an unknown project is not found, or for the route to answer when it says so', async () => {
  assert.equal((await get('/1.0/instances?project=nope')).status, 200);
  assert.equal((await get('/1.0/networks?project=nope')).status, 404);
});

test('a member of a cluster is named by nobody: this server alone is "none"', async () => {
  assert.equal((await get('/1.0/networks?target=none')).status, 200);
  assert.equal((await get('/1.0/networks?target=other')).status, 404);
  const post = { method: 'POST', path: '/1.0/instances?target=none' };
  assert.equal((await send(server, post)).status, 400);
});

test('a created object is answered with its place', async () => {
  const reply = await send(server, { method: 'POST', path: '/1.0/instances' });
  assert.equal(reply.status, 201);
  assert.equal(reply.headers.location, '/1.0/instances/%C3%BC');
  assert.equal(reply.json()['metadata'], null);
});

test('an async answer holds the running operation, and the id of the request when there was one', async () => {
  const reply = await send(server, {
    method: 'DELETE',
    path: '/1.0/instances/c1',
    headers: { 'X-Openstack-Request-Id': 'req-8a1b' },
  });
  assert.equal(reply.status, 202);
  const body = reply.json();
  assert.equal(body['type'], 'async');
  assert.equal(body['status_code'], 100);
  assert.equal(body['operation'], reply.headers.location);
  const operation = metadata(reply);
  assert.equal(operation['status'], 'Running');
  assert.deepEqual(operation['metadata'], { req_id: 'req-8a1b' });
});

test('a tag that was read can be sent back, another one is refused', async () => {
  const { etag } = (await get('/1.0/instances/c1')).headers;
  assert.match(String(etag), /^"[0-9a-f]{64}"$/);
  const put = (tag: string) =>
    send(server, { method: 'PUT', path: '/1.0/instances/c1', headers: { 'If-Match': tag }, body: '{}' });
  assert.equal((await put(String(etag))).status, 200);
  assert.equal((await put(String(etag).replaceAll('"', ''))).status, 200);
  assert.equal((await put('invalid-etag')).status, 412);
  assert.match(String((await put('x')).json()['error']), /^ETag doesn't match: x vs /);
});

const BODIES: readonly (readonly [what: string, body: string, status: number, text: RegExp])[] = [
  ['unknown keys', '{"nothing":1,"limits":{"cpu":"1"}}', 200, /^$/],
  ['a wrong type', '{"limits":{"cpu":1}}', 400, /field "limits\.cpu" is not valid.*expected string/],
  ['a list for an object', '[]', 400, /request body is not valid/],
  ['null', 'null', 400, /request body is not valid/],
  ['no body', '', 400, /body is empty/],
  ['half a body', '{"limits":{"cpu":', 400, /syntax error at its end/],
  ['a stray comma', '{"count":1,\n  }', 400, /syntax error at line 2, column 3/],
  ['a bad escape', '{"a":"\\q"}', 400, /syntax error at line 1, column 7/],
  ['bytes that are no UTF-8', '\xff\xfe', 400, /not UTF-8/],
  ['a zero byte', '{"limits":{"cpu":"a\\u0000"}}', 400, /zero byte/],
  ['a backslash before u0000', '{"limits":{"cpu":"a\\\\u0000"}}', 200, /^$/],
  ['a prototype', '{"__proto__":{"limits":{"cpu":"9"}}}', 200, /^$/],
];

for (const [what, body, status, text] of BODIES) {
  test(`a body with ${what} is answered ${String(status)}`, async () => {
    const reply = await send(server, {
      method: 'PUT',
      path: '/1.0/instances/c1',
      body: Buffer.from(body, 'latin1'),
    });
    assert.equal(reply.status, status);
    assert.match(String(reply.json()['error']), text);
  });
}

test('half letters become whole ones, whole ones stay', async () => {
  const cpu = String.raw`\ud800\ud800 \ud83d\udca5 \\ud800 ü`;
  const body = `{"limits":{"cpu":"${cpu}"}}`;
  const reply = await send(server, { method: 'PUT', path: '/1.0/instances/c1', body });
  assert.deepEqual(metadata(reply)['body'], { limits: { cpu: '\ufffd\ufffd 💥 \\ud800 ü' } });
});

test('a body over the limit is answered 413 with and without a length', async () => {
  const body = Buffer.alloc(10 * 1024 * 1024, ' ');
  for (const headers of [{}, { 'Transfer-Encoding': 'chunked' }]) {
    const reply = await send(server, { method: 'PUT', path: '/1.0/instances/c1', headers, body });
    assert.equal(reply.status, 413);
  }
});

test('a body that no route wants is left alone', async () => {
  const reply = await send(server, {
    method: 'GET',
    path: '/1.0/instances',
    headers: { 'Content-Length': '8' },
    body: 'nonsense',
  });
  assert.equal(reply.status, 200);
});

test('a stream is not parsed', async () => {
  const reply = await send(server, {
    method: 'POST',
    path: '/1.0/test/upload',
    body: Buffer.alloc(3_000_000),
  });
  assert.deepEqual(reply.json()['metadata'], { size: 3_000_000 });
});

test('a stream that could not be stored is answered with the reason', async () => {
  for (const path of ['/1.0/test/broken-upload', '/1.0/test/unread']) {
    const reply = await send(server, { method: 'POST', path, body: Buffer.alloc(8_000_000) });
    assert.equal(reply.status, path.endsWith('unread') ? 403 : 507);
  }
});

test('a bug is answered 500 without a word of it, and logged with its stack', async () => {
  const reply = await get('/1.0/test/bug');
  assert.equal(reply.status, 500);
  assert.doesNotMatch(reply.text, /secret|shadow|TypeError/);
  assert.match(server.errors.join('\n'), /request failed unexpectedly: a secret of \/etc\/shadow TypeError/);
});

test('HEAD has the headers of GET and no body', async () => {
  const reply = await send(server, { method: 'HEAD', path: '/1.0/instances/c1' });
  assert.equal(reply.status, 200);
  assert.equal(reply.bytes.length, 0);
  assert.ok(Number(reply.headers['content-length']) > 0);
  const own = await send(server, { method: 'HEAD', path: '/1.0/test/head' });
  assert.equal(own.headers['x-lxd-type'], 'file');
  const absent = await send(server, { method: 'HEAD', path: '/1.0/nothing' });
  assert.equal(absent.status, 404);
});

test('OPTIONS is answered everywhere, with CORS headers only when they are configured', async () => {
  const ask = () =>
    send(server, { method: 'OPTIONS', path: '/any/where', headers: { Origin: 'https://ui.test' } });
  assert.equal((await ask()).headers['access-control-allow-origin'], undefined);
  await server.config.merge({
    'core.https_allowed_origin': 'https://ui.test',
    'core.https_allowed_credentials': 'true',
  });
  const reply = await ask();
  assert.equal(reply.status, 200);
  assert.equal(reply.bytes.length, 0);
  assert.equal(reply.headers['access-control-allow-origin'], 'https://ui.test');
  assert.equal(reply.headers['access-control-allow-credentials'], 'true');
  assert.equal((await get('/1.0')).headers['access-control-allow-origin'], undefined);
  await server.config.merge({ 'core.https_allowed_origin': '', 'core.https_allowed_credentials': '' });
});

test('a text is sent with its own type', async () => {
  const reply = await get('/1.0/test/text');
  assert.equal(reply.text, '# EOF\n');
  assert.equal(reply.headers['content-type'], 'text/plain');
});

test('before the database is open everything is answered 503, afterwards only reads go on', async () => {
  server.http.setPhase('starting');
  assert.equal((await get('/1.0')).status, 503);
  server.http.setPhase('stopping');
  assert.equal((await get('/1.0/instances')).status, 200);
  assert.equal((await send(server, { method: 'POST', path: '/1.0/instances' })).status, 503);
  server.http.setPhase('ready');
});

test('the socket is open to its owner and group only', async () => {
  assert.equal((await stat(server.socketPath)).mode & 0o777, 0o660);
});
