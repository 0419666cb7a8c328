import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boundaryOf, readParts } from '../../../../api/images/multipart.ts';
import { Fault } from '../../../../process/fault.ts';
import { multipart } from '../../../support/image-archives.ts';

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  await Promise.resolve();
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Buffer, size: number, boundary = 'B'): Promise<[string, string, Buffer][]> {
  const parts: [string, string, Buffer][] = [];
  for await (const part of readParts(inChunks(bytes, size), boundary)) {
    const pieces: Buffer[] = [];
    for await (const piece of part.content) pieces.push(Buffer.from(piece));
    parts.push([part.name, part.filename, Buffer.concat(pieces)]);
  }
  return parts;
}

test('parts come out as they went in, however the body is cut into chunks', async () => {
  // Contents full of what looks like the beginning of a boundary.
  const tricky = Buffer.from('\r\n--\r\n-\r\n--A\r\r\n\n--B\r\n--'.repeat(20));
  const parts = [
    { name: 'metadata', filename: 'm "q".tar', content: tricky },
    { name: 'rootfs', filename: '', content: Buffer.alloc(0) },
  ].map((part) => ({ ...part, filename: part.filename.replace(/"/g, '\\"') }));
  const body = multipart('B', parts);
  for (const size of [1, 2, 3, 7, 64, body.length]) {
    assert.deepEqual(await read(body, size), [
      ['metadata', 'm "q".tar', tricky],
      ['rootfs', '', Buffer.alloc(0)],
    ]);
  }
});

test('a body that is cut short or malformed is a bad request', async () => {
  const body = multipart('B', [{ name: 'metadata', filename: 'm', content: Buffer.alloc(100, 65) }]);
  for (let length = 0; length < body.length - 3; length += 1) {
    await assert.rejects(read(body.subarray(0, length), 10), Fault, String(length));
  }
  for (const text of [
    '',
    'no boundary at all',
    '--Bxx',
    `--B\r\n${'h'.repeat(20_000)}`,
    'x'.repeat(50_000),
  ]) {
    await assert.rejects(read(Buffer.from(text), 1000), Fault, text.slice(0, 20));
  }
});

test('the boundary is read from the content type', () => {
  assert.equal(boundaryOf('multipart/form-data; boundary=abc'), 'abc');
  assert.equal(boundaryOf('Multipart/Form-Data; charset=x; boundary="a b"'), 'a b');
  assert.equal(boundaryOf('application/octet-stream'), null);
  assert.equal(boundaryOf(undefined), null);
  assert.throws(() => boundaryOf('multipart/form-data; nothing'), Fault);
});
