/** Messages that a peer has packed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import type { ConsumeMessage } from 'amqplib';
import { bodyOf } from '../../../../driver/rpc/body.ts';
import { isFault } from '../../../../process/fault.ts';

const TEXT = Buffer.from('{"oslo.version": "2.0"}');

function message(content: Buffer, headers: Readonly<Record<string, unknown>> | undefined) {
  // Of the properties only the headers are looked at.
  return { content, properties: { headers } as ConsumeMessage['properties'] };
}

test('a body is what it is, unless its headers say that it is packed', () => {
  assert.equal(bodyOf(message(TEXT, undefined)), TEXT);
  assert.equal(bodyOf(message(TEXT, {})), TEXT);
  const gzip = { compression: 'application/x-gzip' };
  assert.deepEqual(bodyOf(message(deflateSync(TEXT), gzip)), TEXT);
  assert.deepEqual(bodyOf(message(gzipSync(TEXT), gzip)), TEXT);
});

test('what cannot be unpacked is refused, and so is what would fill the memory', () => {
  const refuses = (content: Buffer, compression: string) => {
    assert.throws(
      () => bodyOf(message(content, { compression })),
      (err) => isFault(err, 'bad_request'),
    );
  };
  refuses(TEXT, 'application/x-gzip');
  refuses(TEXT, 'application/x-bz2');
  refuses(deflateSync(Buffer.alloc(2 ** 28)), 'application/x-gzip');
});
