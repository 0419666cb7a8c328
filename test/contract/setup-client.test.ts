/** The client of the set-up commands against a service that answers whatever a test says. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { daemonPid } from '../../api/setup/background.ts';
import { RestClient } from '../../api/setup/rest-client.ts';
import { isFault } from '../../process/fault.ts';

interface Got {
  readonly line: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

let folder = '';
let server: Server;
let client: RestClient;
let got: Got[] = [];
/** Answers in the order they are given; a string is sent as it is. */
let answers: (object | string)[] = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'setup-client-'));
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      got.push({
        line: `${request.method ?? ''} ${request.url ?? ''}`,
        headers: request.headers,
        body: Buffer.concat(chunks),
      });
      const answer = answers.shift() ?? '';
      response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
    });
  });
  server.listen(join(folder, 'unix.socket'));
  await once(server, 'listening');
  client = new RestClient(join(folder, 'unix.socket'));
});

after(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

function expect(...next: (object | string)[]): void {
  answers = next;
  got = [];
}

test('a list is its metadata, a thing that is missing is null, an error keeps its text', async () => {
  expect({ type: 'sync', metadata: ['/1.0/instances/a'] });
  assert.deepEqual(await client.get('/1.0/instances'), ['/1.0/instances/a']);
  expect({ type: 'error', error_code: 404, error: 'Instance not found' });
  assert.equal(await client.find('/1.0/instances/b'), null);
  expect({ type: 'error', error_code: 409, error: 'taken' });
  await assert.rejects(
    client.change('POST', '/1.0/instances', {}),
    (err: unknown) => isFault(err, 'conflict') && err.message === 'taken',
  );
});

test('a change is waited for until its operation has ended', async () => {
  expect(
    { type: 'async', metadata: { id: 'op1', status_code: 103 } },
    { type: 'sync', metadata: { id: 'op1', status_code: 103 } },
    { type: 'sync', metadata: { id: 'op1', status_code: 200, metadata: { fingerprint: 'f' } } },
  );
  assert.deepEqual(await client.change('POST', '/1.0/images', { a: 1 }), { fingerprint: 'f' });
  assert.deepEqual(
    got.map((one) => one.line.replace(/\?.*/, '')),
    ['POST /1.0/images', 'GET /1.0/operations/op1/wait', 'GET /1.0/operations/op1/wait'],
  );
  assert.equal(got[0]?.body.toString(), '{"a":1}');
});

test('an operation that failed gives its reason', async () => {
  expect({ type: 'async', metadata: { id: 'op2', status_code: 400, err: 'no space left' } });
  await assert.rejects(
    client.change('PUT', '/1.0/x'),
    (err: unknown) => isFault(err, 'tool_failed') && err.message === 'no space left',
  );
});

test('a file is sent as it is, and two as a form in their order', async () => {
  const first = join(folder, 'meta.tar');
  const second = join(folder, 'root.squashfs');
  writeFileSync(first, Buffer.alloc(3_000_000, 1));
  writeFileSync(second, 'squash');
  const done = { type: 'sync', metadata: 'ok' };
  expect(done, done);
  let last = '';
  await client.upload('/1.0/images', first, {
    headers: { 'X-LXD-filename': 'meta.tar' },
    onBytes: (sent, total) => {
      last = `${String(sent)}/${String(total)}`;
    },
  });
  assert.equal(got[0]?.body.length, 3_000_000);
  assert.equal(got[0].headers['x-lxd-filename'], 'meta.tar');
  assert.equal(last, '3000000/3000000');
  await client.uploadForm(
    '/1.0/images',
    [
      { name: 'metadata', file: first },
      { name: 'rootfs', file: second },
    ],
    {},
  );
  const boundary = /boundary=(.*)$/.exec(got[1]?.headers['content-type'] ?? '')?.[1] ?? '';
  const parts = (got[1]?.body.toString('latin1') ?? '').split(`--${boundary}`);
  assert.equal(parts.length, 4);
  assert.match(parts[1] ?? '', /name="metadata"; filename="meta\.tar"/);
  assert.ok(parts[2]?.endsWith('\r\n\r\nsquash\r\n'));
  assert.equal(parts[3], '--\r\n');
});

test('what is no answer of this API is told apart from nobody being there', async () => {
  expect('hello');
  await assert.rejects(client.get('/1.0'), (err: unknown) => isFault(err, 'unavailable'));
  expect({ type: 'sync', metadata: { environment: {} } });
  await assert.rejects(daemonPid(client), /not this program/);
  expect({ type: 'sync', metadata: { environment: { server_pid: 42 } } });
  assert.equal(await daemonPid(client), 42);
  assert.equal(await daemonPid(new RestClient(join(folder, 'nobody'))), null);
});
