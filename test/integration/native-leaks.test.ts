import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { closeSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openNative } from '../../native/index.ts';
import { Guest, makeScratch, removeScratch } from '../support/native-guest.ts';

const native = openNative();
const GROWTH_MIB = 12;
let scratch = '';
let guest: Guest;
let collect: () => void = () => undefined;

before(async () => {
  setFlagsFromString('--expose_gc');
  const gc: unknown = runInNewContext('gc');
  // V8's own function, by the flag above.
  if (typeof gc === 'function') collect = gc as () => void;
  scratch = await makeScratch();
  guest = await Guest.make(native, scratch, 'native-leaks');
  await guest.start();
});

after(async () => {
  await guest.stop();
  await removeScratch(scratch);
});

/** Descriptors by number; the one that lists them is in both counts. */
function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Closing a handle takes a turn of the event loop or two. */
async function settled(wanted: number): Promise<number> {
  for (let turn = 0; turn < 1000 && descriptors() > wanted; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  return descriptors();
}

async function repeat(rounds: number, work: () => Promise<unknown>): Promise<void> {
  for (let done = 0; done < rounds; done += 10) await Promise.all(Array.from({ length: 10 }, work));
}

const cases: readonly (readonly [string, number, () => Promise<unknown>])[] = [
  ['states', 4000, () => native.monitor(guest.lxcPath, guest.name).state()],
  ['states of nobody', 4000, () => native.monitor(guest.lxcPath, 'nobody').state()],
  ['items', 2000, () => native.monitor(guest.lxcPath, guest.name).configItem('lxc.rootfs.path')],
  ['console logs', 2000, () => native.monitor(guest.lxcPath, guest.name).consoleLog({ clear: false })],
  [
    'terminals',
    300,
    async () => {
      const { master, slave } = await native.monitor(guest.lxcPath, guest.name).openPty();
      native.setWindowSize(master, 80, 25);
      native.closeFd(master);
      native.closeFd(slave);
    },
  ],
  [
    'watches',
    500,
    async () => {
      (await native.monitor(guest.lxcPath, guest.name).watch(() => undefined)).close();
    },
  ],
  ['file batches', 2000, () => native.readFiles(['/proc/self/status', '/proc/self/none', '/proc/self/comm'])],
  ['interfaces', 2000, () => native.interfaces([0, guest.initPid, 2 ** 30])],
  ['waits', 3000, () => native.waitGone(process.pid, 1)],
  [
    'pipes',
    3000,
    () => {
      const { read, write } = native.pipe();
      native.closeFd(read);
      native.closeFd(write);
      return Promise.resolve();
    },
  ],
  ['plans', 300, () => native.run([])],
  ['failing plans', 300, () => native.run([['dance']]).catch(() => undefined)],
  ['commands', 100, () => guest.run(['true'])],
  [
    'file sessions',
    100,
    async () => {
      const files = await native.openFiles({ initPid: guest.initPid });
      closeSync((await files.openRead('/etc/inittab')).fd);
      await files.close();
    },
  ],
];

for (const [what, rounds, work] of cases) {
  test(`${String(rounds)} ${what} leave no descriptor and no memory behind`, async () => {
    await repeat(Math.min(rounds, 200), work);
    collect();
    const before0 = descriptors();
    const memory = process.memoryUsage().rss;
    await repeat(rounds, work);
    collect();
    assert.ok(
      (await settled(before0)) <= before0,
      `${String(descriptors())} descriptors, ${String(before0)} before`,
    );
    const grown = (process.memoryUsage().rss - memory) / 1024 / 1024;
    assert.ok(grown < GROWTH_MIB, `${grown.toFixed(1)} MiB more`);
  });
}
