import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import WebSocket from 'ws';
import { hashTrustPassword } from '../../api/certificates/trust-password.ts';
import { answers, type Access, type Route } from '../../api/http/route.ts';
import { makeServerCertificate, type ServerCertificate } from '../../api/http/server-certificate.ts';
import { send, type Reply, type Target } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';

let server: TestServer;
let laptop: ServerCertificate;
let other: ServerCertificate;

const show = (path: string, access: Access): Route => ({
  method: 'GET',
  path,
  access,
  summary: 'test',
  handle: async (call) =>
    answers.sync({
      trusted: call.caller.trusted,
      requestor: call.caller.requestor,
      projects: call.caller.projects,
    }),
});

before(async () => {
  laptop = await makeServerCertificate('laptop');
  other = await makeServerCertificate('other');
  const routes = (['any', 'trusted', 'project', 'admin', 'metrics'] as const).map((access) =>
    show(`/1.0/test/${access}`, access),
  );
  server = await startServer({ routes, https: true });
});

after(async () => {
  await server.close();
});

beforeEach(async () => {
  for (const row of server.trust.list()) await server.trust.remove(row.fingerprint);
});

const base64 = (made: ServerCertificate): string =>
  new X509Certificate(made.certificate).raw.toString('base64');

function remote(made: ServerCertificate | null): Target {
  return made === null ? { port: server.port } : { port: server.port, cert: made.certificate, key: made.key };
}

function ask(target: Target, path: string, headers: Record<string, string> = {}): Promise<Reply> {
  return send(target, { path, headers });
}

function post(target: Target, body: object): Promise<Reply> {
  return send(target, { method: 'POST', path: '/1.0/certificates', body: JSON.stringify(body) });
}

/** Adds the laptop's certificate as the local admin. */
async function trustLaptop(more: object = {}): Promise<string> {
  const reply = await post(server, { type: 'client', name: 'laptop', certificate: base64(laptop), ...more });
  assert.equal(reply.status, 201, reply.text);
  assert.equal(reply.headers.location, `/1.0/certificates/${laptop.fingerprint}`);
  return laptop.fingerprint;
}

async function statuses(target: Target, query = ''): Promise<number[]> {
  const replies: number[] = [];
  for (const access of ['any', 'trusted', 'project', 'admin', 'metrics']) {
    replies.push((await ask(target, `/1.0/test/${access}${query}`)).status);
  }
  return replies;
}

test('a peer of the unix socket is root and may everything', async () => {
  assert.deepEqual(await statuses(server), [200, 200, 200, 200, 200]);
  const reply = await ask(server, '/1.0/test/any');
  assert.match(reply.text, /"requestor":\{"username":"root","protocol":"unix","address":"@"\}/);
});

test('a client without a certificate or with an unknown one sees open paths only', async () => {
  assert.deepEqual(await statuses(remote(null)), [200, 403, 403, 403, 403]);
  assert.deepEqual(await statuses(remote(other)), [200, 403, 403, 403, 403]);
  const reply = await ask(remote(other), '/1.0/test/admin');
  assert.equal(reply.json()['error'], 'not authorized');
});

test('an untrusted client learns nothing about the server but its interface', async () => {
  const reply = await ask(remote(null), '/1.0');
  const metadata = JSON.stringify(reply.json()['metadata']);
  assert.match(metadata, /"auth":"untrusted"/);
  assert.doesNotMatch(metadata, /environment|config"/);
});

test('headers do not make a client trusted', async () => {
  const headers = {
    'X-LXD-authenticated': 'true',
    'X-Forwarded-For': '127.0.0.1',
    'X-Real-IP': '127.0.0.1',
    Authorization: 'Basic cm9vdDpyb290',
    'X-SSL-Client-Verify': 'SUCCESS',
    'User-Agent': 'lxd-cluster-notifier',
    Host: 'unix.socket',
  };
  assert.equal((await ask(remote(other), '/1.0/test/trusted', headers)).status, 403);
  // A client that insists on being trusted is not shown the public half either.
  assert.equal((await ask(remote(other), '/1.0', headers)).status, 403);
});

test('a trusted certificate may everything, under its fingerprint', async () => {
  await trustLaptop();
  assert.deepEqual(await statuses(remote(laptop)), [200, 200, 200, 200, 200]);
  const { requestor } = JSON.parse((await ask(remote(laptop), '/1.0/test/any')).text).metadata;
  assert.equal(requestor.username, laptop.fingerprint);
  assert.equal(requestor.protocol, 'tls');
  assert.match(requestor.address, /^127\.0\.0\.1:\d+$/);
});

test('a restricted certificate is kept to its projects', async () => {
  await trustLaptop({ restricted: true, projects: ['p1'] });
  assert.deepEqual(await statuses(remote(laptop), '?project=p1'), [200, 200, 200, 403, 200]);
  assert.deepEqual(await statuses(remote(laptop)), [200, 200, 403, 403, 200]);
  const shown = await ask(remote(laptop), '/1.0');
  assert.match(shown.text, /"config":null/);
  assert.equal(shown.headers.etag, undefined);
});

test('a metrics certificate opens metrics alone', async () => {
  await trustLaptop({ type: 'metrics' });
  assert.deepEqual(await statuses(remote(laptop)), [200, 403, 403, 403, 200]);
  await server.config.merge({ 'core.metrics_authentication': 'false' });
  assert.equal((await ask(remote(null), '/1.0/test/metrics')).status, 200);
  await server.config.merge({ 'core.metrics_authentication': '' });
});

test('a removed certificate loses the open connection too', async () => {
  await trustLaptop();
  const socket = new WebSocket(`wss://127.0.0.1:${String(server.port)}/1.0/events`, {
    rejectUnauthorized: false,
    cert: laptop.certificate,
    key: laptop.key,
  });
  await new Promise((resolve) => socket.once('open', resolve));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const gone = await send(server, {
    method: 'DELETE',
    path: `/1.0/certificates/${laptop.fingerprint.slice(0, 12)}`,
  });
  assert.equal(gone.status, 200);
  await closed;
  assert.equal((await ask(remote(laptop), '/1.0/test/trusted')).status, 403);
});

test('certificates are listed, shown by a prefix, changed and removed', async () => {
  const fingerprint = await trustLaptop();
  assert.deepEqual((await ask(server, '/1.0/certificates')).json()['metadata'], [
    `/1.0/certificates/${fingerprint}`,
  ]);
  const shown = await ask(server, `/1.0/certificates/${fingerprint.slice(0, 8)}`);
  const { metadata } = JSON.parse(shown.text);
  assert.deepEqual(metadata, {
    name: 'laptop',
    type: 'client',
    restricted: false,
    projects: [],
    certificate: laptop.certificate,
    fingerprint,
  });
  const edit = (method: string, body: object, tag = String(shown.headers.etag)) =>
    send(server, {
      method,
      path: `/1.0/certificates/${fingerprint}`,
      headers: { 'If-Match': tag },
      body: JSON.stringify(body),
    });
  assert.equal((await edit('PUT', { ...metadata, name: 'desk' }, 'wrong')).status, 412);
  assert.equal((await edit('PUT', { ...metadata, name: 'desk' })).status, 200);
  assert.equal(server.trust.get(fingerprint).name, 'desk');
  assert.equal((await edit('PATCH', { projects: ['p1'] }, '')).status, 200);
  assert.deepEqual(server.trust.get(fingerprint).projects, ['p1']);
  assert.equal(server.trust.get(fingerprint).name, 'desk');
  assert.equal((await ask(server, '/1.0/certificates/abcdef')).status, 404);
});

const BAD_POSTS: readonly (readonly [what: string, body: object, status: number])[] = [
  ['no type', { certificate: 'x' }, 400],
  ['a server certificate', { type: 'server', certificate: 'x' }, 400],
  ['text that is no base64', { type: 'client', certificate: '%%%' }, 400],
  ['bytes that are no certificate', { type: 'client', certificate: 'AAAA' }, 400],
  ['no certificate over the unix socket', { type: 'client', name: 'x' }, 400],
  ['an unknown project', { type: 'client', certificate: 'AAAA', projects: ['nope'] }, 400],
  ['a number for a name', { type: 'client', name: 7 }, 400],
];

for (const [what, body, status] of BAD_POSTS) {
  test(`a new certificate with ${what} is refused`, async () => {
    assert.equal((await post(server, body)).status, status);
  });
}

test('the same certificate twice is a conflict, PEM and line breaks are taken', async () => {
  await trustLaptop();
  for (const certificate of [laptop.certificate, base64(laptop).replace(/(.{64})/g, '$1\n')]) {
    assert.equal((await post(server, { type: 'client', certificate })).status, 409);
  }
});

test('an expired certificate is refused', async () => {
  const old = await makeServerCertificate('old', new Date('2000-01-01T00:00:00Z'));
  const reply = await post(server, { type: 'client', certificate: base64(old) });
  assert.equal(reply.status, 400);
  assert.match(reply.text, /expired/);
});

test('a trusted client without another certificate is told so', async () => {
  await trustLaptop();
  const reply = await post(remote(laptop), { type: 'client' });
  assert.equal(reply.status, 400);
  assert.equal(reply.json()['error'], 'Client is already trusted');
});

test('a restricted client may renew its certificate and change nothing else', async () => {
  await trustLaptop({ restricted: true, projects: ['p1'] });
  assert.equal((await post(remote(laptop), { type: 'client', certificate: base64(other) })).status, 403);
  const own = `/1.0/certificates/${laptop.fingerprint}`;
  const edit = (body: object) =>
    send(remote(laptop), { method: 'PATCH', path: own, body: JSON.stringify(body) });
  assert.equal((await edit({ restricted: false })).status, 403);
  assert.equal((await edit({ projects: ['p1', 'default'] })).status, 403);
  assert.equal((await edit({ certificate: base64(other) })).status, 200);
  assert.equal((await ask(remote(other), '/1.0/test/project?project=p1')).status, 200);
  assert.equal((await ask(remote(laptop), '/1.0/test/trusted')).status, 403);
});

test('the trust password lets a client in, a wrong one does not and is slowed down', async () => {
  await server.config.merge({ 'core.trust_password': await hashTrustPassword('sesame') });
  assert.equal((await post(remote(other), { type: 'client' })).status, 403);
  assert.equal((await post(remote(laptop), { type: 'client', password: 'sesame' })).status, 201);
  assert.equal((await ask(remote(laptop), '/1.0/test/admin')).status, 200);
  for (let i = 0; i < 5; i++)
    assert.equal((await post(remote(other), { type: 'client', password: 'x' })).status, 403);
  const late = await post(remote(other), { type: 'client', password: 'sesame' });
  assert.equal(late.status, 403);
  assert.match(late.text, /too many/);
  await server.config.merge({ 'core.trust_password': '' });
});

test('stolen words do not open the store: untrusted callers cannot issue tokens or name a type', async () => {
  assert.equal((await post(remote(other), { type: 'client', token: true })).status, 403);
  assert.equal((await post(remote(null), { type: 'metrics', certificate: base64(other) })).status, 403);
});
