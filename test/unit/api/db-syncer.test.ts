import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Syncer } from '../../../api/db/syncer.ts';

/** Syncs that end when the test says so. */
function steps() {
  const ends: ((err?: Error) => void)[] = [];
  const sync = () =>
    new Promise<void>((resolve, reject) => {
      ends.push((err) => {
        if (err === undefined) resolve();
        else reject(err);
      });
    });
  return { ends, syncer: new Syncer(sync) };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a write that comes while a sync runs waits for one that begins after it, together with others', async () => {
  const { ends, syncer } = steps();
  const done: string[] = [];
  const first = syncer.settle().then(() => done.push('first'));
  const second = syncer.settle().then(() => done.push('second'));
  const third = syncer.settle().then(() => done.push('third'));
  assert.equal(ends.length, 1);
  ends[0]?.();
  await first;
  await turn();
  assert.deepEqual(done, ['first']);
  assert.equal(ends.length, 2, 'the two share one sync');
  ends[1]?.();
  await Promise.all([second, third]);
  assert.equal(ends.length, 2);
});

test('a sync that fails fails those it was for, and the next tries again', async () => {
  const { ends, syncer } = steps();
  const first = syncer.settle();
  const second = syncer.settle();
  ends[0]?.(new Error('disk'));
  await assert.rejects(first, /disk/);
  await turn();
  ends[1]?.();
  await second;
  const third = syncer.settle();
  assert.equal(ends.length, 3);
  ends[2]?.();
  await third;
});
