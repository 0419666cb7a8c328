import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attempts } from '../../../../api/certificates/attempts.ts';
import { isFault } from '../../../../process/fault.ts';

const wrong = async (): Promise<boolean> => false;
const right = async (): Promise<boolean> => true;

async function failTimes(attempts: Attempts, times: number, address: string): Promise<void> {
  for (let i = 0; i < times; i++) assert.equal(await attempts.check(address, wrong), false);
}

test('five wrong attempts close the door for a minute, for the whole network', async () => {
  let now = 1000;
  const attempts = new Attempts(() => now);
  await failTimes(attempts, 5, '192.0.2.1:4000');
  const refused = (address: string) =>
    assert.rejects(attempts.check(address, right), (err) => isFault(err, 'not_trusted'));
  await refused('192.0.2.1:5000');
  assert.equal(await attempts.check('192.0.2.2:4000', right), true);
  now += 61_000;
  assert.equal(await attempts.check('192.0.2.1:4000', right), true);
});

test('a right attempt clears the count', async () => {
  const attempts = new Attempts();
  await failTimes(attempts, 4, '192.0.2.1:1');
  assert.equal(await attempts.check('192.0.2.1:1', right), true);
  await failTimes(attempts, 4, '192.0.2.1:1');
  assert.equal(await attempts.check('192.0.2.1:1', right), true);
});

test('an IPv6 owner is counted by the first half of the address', async () => {
  const attempts = new Attempts();
  for (const host of [
    '2001:db8:0:1::1',
    '2001:db8:0:1::2',
    '2001:db8:0:1:a:b:c:d',
    '2001:db8::1:0:0:0:3',
    '2001:db8:0:1::4',
  ]) {
    await attempts.check(`[${host}]:443`, wrong);
  }
  await assert.rejects(attempts.check('[2001:db8:0:1::99]:1', right), (err) => isFault(err, 'not_trusted'));
  assert.equal(await attempts.check('[2001:db8:0:2::1]:1', right), true);
});

test('only a few are checked at a time', async () => {
  const attempts = new Attempts();
  let release: () => void = () => undefined;
  const slow = (): Promise<boolean> =>
    new Promise((resolve) => {
      const before = release;
      release = () => {
        before();
        resolve(true);
      };
    });
  const running = [attempts.check('a:1', slow), attempts.check('b:1', slow)];
  await assert.rejects(attempts.check('c:1', right), (err) => isFault(err, 'unavailable'));
  release();
  assert.deepEqual(await Promise.all(running), [true, true]);
  assert.equal(await attempts.check('c:1', right), true);
});
