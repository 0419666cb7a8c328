import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asFull, refusal, reserveBytes } from '../../../../api/storage/space.ts';
import { defaultLoopBytes } from '../../../../api/storage/btrfs-source.ts';
import { Fault, isFault } from '../../../../process/fault.ts';

const GIB = 2 ** 30;

test('a twentieth stays free, at least 1 GiB, never more than a fifth', () => {
  assert.equal(reserveBytes(100 * GIB), 5 * GIB);
  assert.equal(reserveBytes(10 * GIB), GIB);
  assert.equal(reserveBytes(2 * GIB), 0.4 * GIB);
});

test('writing stops before the reserve, and before the inodes are gone', () => {
  const room = { freeBytes: 10 * GIB, totalBytes: 100 * GIB, freeInodes: 500, totalInodes: 1000 };
  assert.equal(refusal(room, 0), null);
  assert.match(refusal(room, 6 * GIB) ?? '', /only 10240 MiB are free/);
  assert.match(refusal({ ...room, freeInodes: 5 }, 0) ?? '', /inodes/);
  // btrfs has no fixed number of inodes.
  assert.equal(refusal({ ...room, freeInodes: 0, totalInodes: 0 }, 0), null);
});

test('no space is one Fault, whoever says it', () => {
  const texts = ['ENOSPC: no space left on device, write', 'tar: x: Cannot write: No space left on device'];
  for (const text of [...texts, 'Disk quota exceeded']) {
    assert.ok(
      isFault(asFull(new Fault('tool_failed', 'run tar', { cause: new Error(text) }), '/x'), 'storage_full'),
    );
  }
  const other = new Error('other');
  assert.equal(asFull(other, '/x'), other);
});

test('a loop file is a fifth of what is free, from 5 to 30 GiB', () => {
  assert.deepEqual(
    [10, 50, 1000].map((gib) => defaultLoopBytes(gib * GIB) / GIB),
    [5, 10, 30],
  );
});
