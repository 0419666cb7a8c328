import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { mkdtemp, open, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Answer, Route } from '../../api/http/route.ts';
import { parseRange } from '../../api/http/send-file.ts';
import { send, type Reply } from '../support/http-client.ts';
import { startServer, type TestServer } from '../support/http-server.ts';

const CONTENT = Buffer.from('0123456789'.repeat(1000));
let server: TestServer;
let file = '';

const show = (path: string, handle: () => Promise<Answer>): Route => ({
  method: 'GET',
  path,
  access: 'project',
  summary: 'test',
  handle,
});

function fileRoutes(): Route[] {
  return [
    show('/1.0/test/file', async () => ({ kind: 'file', content: { path: file }, filename: 'a b.txt' })),
    show('/1.0/test/fd', async () => ({
      kind: 'file',
      content: { fd: openSync(file, 'r') },
      filename: 'ü',
      headers: { 'X-LXD-mode': '0644', 'X-LXD-name': 'ü\n' },
    })),
    show('/1.0/test/bytes', async () => ({
      kind: 'file',
      content: { bytes: CONTENT },
      filename: 'rootfs.tar.gz',
    })),
    show('/1.0/test/parts', async () => ({
      kind: 'multipart',
      parts: [
        { name: 'metadata', filename: 'meta.tar', path: file },
        { name: 'rootfs', filename: 'root.squashfs', path: file },
      ],
    })),
  ];
}

before(async () => {
  file = join(await mkdtemp(join(tmpdir(), 'http-file-')), 'file');
  await writeFile(file, CONTENT);
  await utimes(file, 1_700_000_000, 1_700_000_000);
  server = await startServer({ routes: fileRoutes() });
});

after(async () => {
  await server.close();
  await rm(dirname(file), { recursive: true });
});

function get(path: string, headers: Record<string, string> = {}): Promise<Reply> {
  return send(server, { path, headers });
}

const RANGES: readonly (readonly [header: string, size: number, range: ReturnType<typeof parseRange>])[] = [
  ['bytes=0-0', 10, { start: 0, end: 0 }],
  ['bytes=5-', 10, { start: 5, end: 9 }],
  ['bytes=5-100', 10, { start: 5, end: 9 }],
  ['bytes=-100', 10, { start: 0, end: 9 }],
  ['bytes=-0', 10, 'outside'],
  ['bytes=10-', 10, 'outside'],
  ['bytes=0-', 0, 'outside'],
  ['bytes=5-1', 10, 'whole'],
  ['bytes=0-1,3-4', 10, 'whole'],
  ['lines=0-1', 10, 'whole'],
  ['bytes=99999999999999999999-', 10, 'outside'],
];

for (const [header, size, range] of RANGES) {
  test(`the range ${header} of ${String(size)} bytes`, () => {
    assert.deepEqual(parseRange(header, size), range);
  });
}

test('a file is sent whole, in part, or not at all when it is not newer', async () => {
  for (const path of ['/1.0/test/file', '/1.0/test/fd']) {
    const whole = await get(path);
    assert.deepEqual(whole.bytes, CONTENT);
    assert.equal(whole.headers['content-type'], 'application/octet-stream');
    const part = await get(path, { Range: 'bytes=5-14' });
    assert.equal(part.status, 206);
    assert.equal(part.text, '5678901234');
    assert.equal(part.headers['content-range'], 'bytes 5-14/10000');
    assert.equal((await get(path, { Range: 'bytes=-3' })).text, '789');
    assert.equal((await get(path, { Range: 'bytes=10000-' })).status, 416);
    const unchanged = await get(path, { 'If-Modified-Since': String(whole.headers['last-modified']) });
    assert.equal(unchanged.status, 304);
    const head = await send(server, { method: 'HEAD', path });
    assert.equal(head.headers['content-length'], '10000');
  }
});

test('names of files survive as header values', async () => {
  assert.equal(
    (await get('/1.0/test/bytes')).headers['content-disposition'],
    'inline;filename=rootfs.tar.gz',
  );
  assert.equal((await get('/1.0/test/file')).headers['content-disposition'], 'inline;filename="a b.txt"');
  const odd = (await get('/1.0/test/fd')).headers;
  assert.equal(odd['content-disposition'], "inline;filename*=UTF-8''%C3%BC");
  assert.equal(odd['x-lxd-name'], '%C3%BC%0A');
  assert.equal(odd['x-lxd-mode'], '0644');
});

test('descriptors of files that were sent are closed', async () => {
  const handle = await open(file, 'r');
  const lowest = handle.fd;
  await handle.close();
  for (let i = 0; i < 20; i++)
    await get('/1.0/test/fd', i % 2 === 0 ? {} : { 'If-Modified-Since': new Date().toUTCString() });
  const again = await open(file, 'r');
  assert.ok(again.fd <= lowest + 2, `descriptor ${String(again.fd)} after ${String(lowest)}`);
  await again.close();
});

test('several files are sent as parts that a form parser reads', async () => {
  const reply = await get('/1.0/test/parts');
  const form = await new Response(reply.bytes, {
    headers: { 'Content-Type': String(reply.headers['content-type']) },
  }).formData();
  assert.deepEqual([...form.keys()], ['metadata', 'rootfs']);
  const part = form.get('rootfs');
  assert.ok(part instanceof File);
  assert.equal(part.name, 'root.squashfs');
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), CONTENT);
});
