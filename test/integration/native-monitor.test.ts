import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import type { ContainerState } from '../../native/types.ts';
import { isFault } from '../../process/fault.ts';
import { Guest, later, makeScratch, removeScratch, within } from '../support/native-guest.ts';

const native = openNative();
/** For a monitor that hangs; an answer of one that does not may take longer on a busy machine. */
const impatient = openNative({ monitorTimeoutMs: 400, execTimeoutMs: 300 });
let scratch = '';
let guest: Guest;

before(async () => {
  scratch = await makeScratch();
  guest = await Guest.make(native, scratch, 'native-stuck');
  await guest.start();
});

after(async () => {
  if (guest.initPid > 0) await guest.stop();
  await removeScratch(scratch);
});

function parentOf(pid: number): number {
  const found = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'));
  return Number(found?.[1]);
}

test('a monitor that hangs is a timeout fault and holds up nothing else', async () => {
  const monitorPid = parentOf(guest.initPid);
  const monitor = impatient.monitor(guest.lxcPath, guest.name);
  native.signalProcess(monitorPid, 19);
  try {
    const order: string[] = [];
    // More than the queue of the listening socket and the thread pool hold.
    const asked = Array.from({ length: 300 }, () =>
      monitor.state().then(
        () => 'answered',
        (err: unknown) => {
          order.push('late');
          return isFault(err) ? err.code : String(err);
        },
      ),
    );
    const watched = assert.rejects(
      monitor.watch(() => undefined),
      (err) => isFault(err, 'timeout'),
    );
    const [text] = await native.readFiles(['/proc/self/comm']);
    await native.interfaces([0]);
    order.push('files and interfaces');
    assert.ok(text !== null);
    const none = openSync('/dev/null', 'r+');
    const command = impatient.exec(guest.request(['true'], [none, none, none]));
    await assert.rejects(command.started, (err) => isFault(err, 'timeout'));
    await assert.rejects(command.exited, (err) => isFault(err, 'timeout'));
    closeSync(none);
    assert.deepEqual(new Set(await Promise.all(asked)), new Set(['timeout']));
    await watched;
    assert.equal(order[0], 'files and interfaces');
  } finally {
    native.signalProcess(monitorPid, 18);
  }
  await within(
    'an answer of the woken monitor',
    (async () => {
      for (;;) {
        const state = await monitor.state().catch(() => null);
        if (state === 'RUNNING') return;
      }
    })(),
  );
});

test('a container that nobody runs is stopped, and a watch says so', async () => {
  const monitor = native.monitor(guest.lxcPath, 'native-nobody');
  assert.equal(await monitor.state(), 'STOPPED');
  assert.equal(await monitor.initPid(), 0);
  await assert.rejects(monitor.configItem('lxc.uts.name'), (err) => isFault(err, 'unavailable'));
  const told = later<ContainerState>();
  await monitor.watch(told.resolve);
  assert.equal(await within('the state', told.promise), 'STOPPED');
});

test('a watch that is closed says nothing any more', async () => {
  const other = await Guest.make(native, scratch, 'native-quiet');
  await other.start();
  const states: ContainerState[] = [];
  const watch = await native.monitor(other.lxcPath, other.name).watch((state) => states.push(state));
  watch.close();
  watch.close();
  await other.stop();
  assert.deepEqual(states, ['RUNNING']);
});

test('names and paths of any length lead to the socket that liblxc made', async () => {
  // Around the length where liblxc goes over to a hashed name.
  const fixed = `${guest.lxcPath}//command`.length;
  for (const total of [103, 104, 105, 106, 107, 120]) {
    const name = 'n'.repeat(total - fixed);
    const other = await Guest.make(native, scratch, name);
    await other.start();
    assert.equal(await native.monitor(other.lxcPath, name).initPid(), other.initPid, String(total));
    await other.stop();
  }
});

test('the cgroup that the monitor names has the init in it, and missing files read as null', async () => {
  const group = await native.monitor(guest.lxcPath, guest.name).cgroupPath('');
  const base = join('/sys/fs/cgroup/unified', group);
  const [procs, missing] = await native.readFiles([join(base, 'cgroup.procs'), join(base, 'nonsense')]);
  assert.ok(procs !== null && procs !== undefined);
  assert.ok(procs.split('\n').includes(String(guest.initPid)));
  assert.equal(missing, null);
});

test('interfaces are read in the namespaces of processes without entering them', async () => {
  const [host, inside, gone] = await native.interfaces([0, guest.initPid, 2 ** 30]);
  assert.equal(gone, null);
  assert.ok(host?.some((i) => i.name === 'lo' && i.up && i.type === 'loopback'));
  assert.deepEqual(
    inside?.map((i) => [i.name, i.up, i.addresses.length]),
    [['lo', false, 0]],
  );
});
