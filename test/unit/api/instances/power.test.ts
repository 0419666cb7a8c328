import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POWER_STATES, Powers, nextPower } from '../../../../api/instances/power.ts';
import { StartQueue } from '../../../../api/instances/start-queue.ts';

test('every state ends in Stopped when init is gone', () => {
  for (const state of POWER_STATES) assert.equal(nextPower(state, 'init_gone'), 'Stopped', state);
});

test('only a stopped instance can be started', () => {
  for (const state of POWER_STATES.filter((s) => s !== 'Stopped')) {
    assert.throws(() => nextPower(state, 'start_asked'), /refused/, state);
  }
});

test('a stopped instance costs no memory', () => {
  const powers = new Powers();
  powers.send('a', 'start_asked');
  assert.equal(powers.status('a'), 'Starting');
  powers.send('a', 'start_failed');
  assert.equal(powers.status('a'), 'Stopped');
  assert.deepEqual(powers.runningIds(), []);
});

test('starts beyond the limit wait in the order of their priority', async () => {
  const queue = new StartQueue(() => 1);
  const order: string[] = [];
  const { signal } = new AbortController();
  const gates: (() => void)[] = [];
  const start = (name: string, priority: number): Promise<void> =>
    queue.run(priority, signal, async () => {
      order.push(name);
      await new Promise<void>((resolve) => gates.push(resolve));
    });
  const all = [start('first', 0), start('low', 0), start('high', 10), start('low too', 0)];
  for (let n = 0; n < 4; n += 1) {
    while (gates.length === 0) await new Promise((resolve) => setImmediate(resolve));
    gates.shift()?.();
  }
  await Promise.all(all);
  assert.deepEqual(order, ['first', 'high', 'low', 'low too']);
});

test('a waiting start that is cancelled leaves the queue', async () => {
  const queue = new StartQueue(() => 1);
  const abort = new AbortController();
  let release: () => void = () => undefined;
  const first = queue.run(
    0,
    new AbortController().signal,
    () => new Promise<void>((resolve) => (release = resolve)),
  );
  const second = queue.run(0, abort.signal, () => Promise.resolve());
  abort.abort(new Error('cancelled'));
  await assert.rejects(second, /cancelled/);
  release();
  await first;
  await queue.run(0, new AbortController().signal, () => Promise.resolve());
});
