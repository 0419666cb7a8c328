import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeServerCertificate } from '../../api/http/server-certificate.ts';
import { readMetadata } from '../support/http-fakes.ts';
import { send, type Reply, type Target } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';

let server: TestServer;

before(async () => {
  server = await startServer({ https: true });
});

after(async () => {
  await server.close();
});

function post(target: Target, body: object): Promise<Reply> {
  return send(target, { method: 'POST', path: '/1.0/certificates', body: JSON.stringify(body) });
}

/** Issues a token as the local admin and writes it as `lxc config trust add` prints it. */
async function issue(
  more: object = {},
): Promise<{ text: string; id: string; metadata: Record<string, unknown> }> {
  const reply = await post(server, { type: 'client', token: true, name: 'laptop', ...more });
  assert.equal(reply.status, 202, reply.text);
  const operation = readMetadata(reply.json()['metadata']);
  const metadata = readMetadata(operation['metadata']);
  const request = readMetadata(metadata['request']);
  const { secret, fingerprint, addresses } = metadata;
  const text = Buffer.from(
    JSON.stringify({ client_name: request['name'], fingerprint, addresses, secret }),
  ).toString('base64');
  return { text, id: String(operation['id']), metadata };
}

test('a token lets one client in, on the terms it was issued with, once', async () => {
  const { text, metadata } = await issue({ restricted: true, projects: ['p1'] });
  assert.equal(metadata['fingerprint'], server.certificate.fingerprint);
  assert.deepEqual(metadata['addresses'], [`127.0.0.1:${String(server.port)}`]);
  const client = await makeServerCertificate('client');
  const target = { port: server.port, cert: client.certificate, key: client.key };
  const joined = await post(target, { type: 'client', password: text, restricted: false, name: 'liar' });
  assert.equal(joined.status, 201, joined.text);
  const row = server.trust.get(client.fingerprint);
  assert.deepEqual([row.name, row.restricted, row.projects], ['laptop', true, ['p1']]);
  const second = await makeServerCertificate('second');
  const again = await post(
    { port: server.port, cert: second.certificate, key: second.key },
    { type: 'client', password: text },
  );
  assert.equal(again.status, 403);
});

test('a token is an operation that can be listed and revoked', async () => {
  const { text, id } = await issue();
  const list = await send(server, { path: '/1.0/operations?recursion=1' });
  assert.match(
    list.text,
    new RegExp(`"running":\\[.*"id":"${id}","class":"token","description":"Executing operation"`),
  );
  assert.equal((await send(server, { method: 'DELETE', path: `/1.0/operations/${id}` })).status, 200);
  const client = await makeServerCertificate('client');
  const late = await post(
    { port: server.port, cert: client.certificate, key: client.key },
    { type: 'client', password: text },
  );
  assert.equal(late.status, 403);
});

test('a token that has expired is gone', async () => {
  await server.config.merge({ 'core.remote_token_expiry': '1S' });
  const { id, metadata } = await issue();
  assert.ok(Date.parse(String(metadata['expiresAt'])) > Date.now() - 1000);
  const ended = await send(server, { path: `/1.0/operations/${id}/wait?timeout=20` });
  assert.match(ended.text, /"status":"Cancelled"/);
  await server.config.merge({ 'core.remote_token_expiry': 'soon' });
  assert.equal((await post(server, { type: 'client', token: true })).status, 400);
  await server.config.merge({ 'core.remote_token_expiry': '' });
});

test('without a listener for it no token is issued', async () => {
  await server.config.merge({ 'core.https_address': '' });
  const reply = await post(server, { type: 'client', token: true });
  assert.equal(reply.status, 400);
  assert.match(reply.text, /isn't listening on network/);
});
