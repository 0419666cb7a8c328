import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEventWaiters } from '../../../../driver/compute/event-waiters.ts';
import { isFault } from '../../../../process/fault.ts';

const plugged = (tag: string) => ({ name: 'network-vif-plugged', tag });
const done = (tag: string, status = 'completed') => ({ ...plugged(tag), status });
const isConflict = (err: unknown): boolean => isFault(err, 'conflict');

test('a wait ends when all its events came, before it began or after', async () => {
  const waiters = createEventWaiters();
  const expected = waiters.expect('i', [plugged('a'), plugged('b')]);
  assert.equal(waiters.deliver('i', done('a')), true);
  const waiting = expected.wait(10_000);
  assert.equal(waiters.deliver('i', done('b')), true);
  await waiting;
  assert.equal(waiters.deliver('i', done('b')), false);
});

test('nothing to wait for is no wait', async () => {
  await createEventWaiters().expect('i', []).wait(0);
});

test('an event of another instance, or with another tag, wakes nobody', () => {
  const waiters = createEventWaiters();
  waiters.expect('i', [plugged('a')]);
  assert.equal(waiters.deliver('j', done('a')), false);
  assert.equal(waiters.deliver('i', done('c')), false);
});

test('one event wakes one waiter, the one that has waited longest', async () => {
  const waiters = createEventWaiters();
  const first = waiters.expect('i', [plugged('a')]);
  const second = waiters.expect('i', [plugged('a')]);
  waiters.deliver('i', done('a'));
  await first.wait(10_000);
  await assert.rejects(second.wait(1), (err) => isFault(err, 'timeout'));
});

test('an event that failed fails the wait', async () => {
  const waiters = createEventWaiters();
  const expected = waiters.expect('i', [plugged('a'), plugged('b')]);
  waiters.deliver('i', done('a', 'failed'));
  await assert.rejects(expected.wait(10_000), isConflict);
});

test('a wait that was given up fails, whether it has begun or not', async () => {
  const waiters = createEventWaiters();
  const begun = waiters.expect('i', [plugged('a')]).wait(10_000);
  const later = waiters.expect('i', [plugged('a')]);
  const other = waiters.expect('j', [plugged('a')]);
  waiters.cancel('i');
  await assert.rejects(begun, isConflict);
  await assert.rejects(later.wait(10_000), isConflict);
  waiters.cancelAll();
  await assert.rejects(other.wait(10_000), isConflict);
});

test('who has forgotten is not woken', () => {
  const waiters = createEventWaiters();
  waiters.expect('i', [plugged('a')]).forget();
  assert.equal(waiters.deliver('i', done('a')), false);
});
