import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openNative } from '../../native/index.ts';
import { steps } from '../../native/steps.ts';
import type { ContainerState } from '../../native/types.ts';
import { isFault } from '../../process/fault.ts';
import { Guest, later, makeScratch, MAP, removeScratch, within } from '../support/native-guest.ts';

const native = openNative({ timeoutMs: 30_000 });
let scratch = '';
let guest: Guest;

before(async () => {
  scratch = await makeScratch();
  guest = await Guest.make(native, scratch, 'native-main');
  await guest.start([steps.writeFile(guest.root, '/etc/made/hostname', 'native-main\n', false)]);
});

after(async () => {
  if (guest.initPid > 0) await guest.stop();
  await removeScratch(scratch);
});

function cgroups(name: string): string {
  return execFileSync('find', ['/sys/fs/cgroup', '-maxdepth', '3', '-name', `*${name}*`], {
    encoding: 'utf8',
  });
}

test('the root is an overlay that only the container sees, with unshifted ids on disk', async () => {
  assert.ok(!readFileSync('/proc/mounts', 'utf8').includes(scratch));
  const { code, output } = await guest.run([
    'sh',
    '-c',
    'cat /etc/made/hostname; stat -c %u:%g /etc/made /etc/made/hostname /',
  ]);
  assert.equal(code, 0);
  assert.equal(output, 'native-main\n0:0\n0:0\n0:0\n');
  await guest.run(['sh', '-c', 'touch /tmp/mine']);
  assert.equal(statSync(join(guest.folder, 'upper/tmp/mine')).uid, 0);
  assert.equal(statSync(`/proc/${String(guest.initPid)}/root/tmp/mine`).uid, 1_000_000);
});

test('a directory of the image can be renamed and the image stays as it is', async () => {
  const { code } = await guest.run(['mv', '/usr', '/usr2']);
  assert.equal(code, 0);
  assert.ok(existsSync(join(guest.image, 'usr')));
});

test('the monitor tells state, init, configuration, cgroup and console', async () => {
  const monitor = native.monitor(guest.lxcPath, guest.name);
  assert.equal(await monitor.state(), 'RUNNING');
  assert.equal(await monitor.initPid(), guest.initPid);
  assert.equal(await monitor.configItem('lxc.uts.name'), 'native-main');
  assert.equal(await monitor.cgroupPath('memory'), '/lxc.payload.native-main');
  assert.equal(await monitor.cgroupPath(''), '/lxc.payload.native-main');
  await assert.rejects(monitor.cgroupPath('nonsense'), (err) => isFault(err, 'not_found'));
  assert.equal((await monitor.consoleLog({ clear: false })).length, 0);
});

test('what init writes to the console is in its log and on an attached console', async () => {
  const monitor = native.monitor(guest.lxcPath, guest.name);
  const console0 = await monitor.openConsole(0);
  await assert.rejects(monitor.openConsole(0), (err) => isFault(err, 'busy'));
  await guest.run(['sh', '-c', 'echo from inside > /dev/console']);
  const chunk = Buffer.alloc(256);
  // Two terminals stand between, and liblxc lets both of them turn the line end.
  assert.match(chunk.toString('utf8', 0, readSync(console0.fd, chunk)), /^from inside\r+\n$/);
  native.closeFd(console0.fd);
  console0.release();
  console0.release();
  assert.equal(String(await monitor.consoleLog({ clear: true })), 'from inside\r\n');
  assert.equal((await monitor.consoleLog({ clear: false })).length, 0);
});

test('a command ends with its own code, 128+N after a signal, 127 or 126 when it cannot be run', async () => {
  assert.equal((await guest.run(['sh', '-c', 'exit 7'])).code, 7);
  assert.equal((await guest.run(['sh', '-c', 'kill -9 $$'])).code, 137);
  assert.equal((await guest.run(['no-such-program'])).code, 127);
  assert.equal((await guest.run(['/etc/inittab'])).code, 126);
  assert.equal((await guest.run(['true'], { sealed: true })).code, 0);
});

test('a command sees its own environment, user and directory and nothing of the daemon', async () => {
  const { output } = await guest.run(['sh', '-c', 'id -u; id -g; pwd; echo "[$EMPTY]"; ls /proc/self/fd'], {
    uid: 33,
    gid: 34,
    cwd: '/tmp',
    env: { PATH: '/bin', EMPTY: '' },
  });
  assert.equal(output, '33\n34\n/tmp\n[]\n0\n1\n2\n3\n');
  const env = await guest.run(['env']);
  assert.deepEqual(env.output.trim().split('\n').sort(), ['PATH=/bin:/sbin', 'container=lxc']);
  const args = await guest.run(['sh', '-c', 'echo "$#:$1:$2"', 'x', '', 'a\nb']);
  assert.equal(args.output, '2::a\nb\n');
});

test('a signal reaches the command', async () => {
  const none = openSync('/dev/null', 'r+');
  const command = native.exec(guest.request(['sleep', '1000'], [none, none, none]));
  const { pid } = await command.started;
  assert.ok(existsSync(`/proc/${String(pid)}`));
  command.signal(15);
  assert.equal(await within('sleep', command.exited), 143);
  command.signal(9);
  closeSync(none);
});

test('a terminal of the container is the controlling terminal and belongs to its root', async () => {
  const { master, slave } = await native.monitor(guest.lxcPath, guest.name).openPty();
  native.setWindowSize(master, 100, 30);
  const script = 'tty; stty size; stat -c %u $(tty); echo done > /dev/tty';
  const command = native.exec(guest.request(['sh', '-c', script], [slave, slave, slave]));
  await command.started;
  native.closeFd(slave);
  assert.equal(await within('shell', command.exited), 0);
  const chunk = Buffer.alloc(4096);
  const text = chunk.toString('utf8', 0, readSync(master, chunk));
  assert.match(text, /^\/dev\/pts\/\d+\r\n30 100\r\n0\r\ndone\r\n$/);
  native.closeFd(master);
});

test('a command that cannot be entered is a fault', async () => {
  const none = openSync('/dev/null', 'r+');
  const command = native.exec({ ...guest.request(['true'], [none, none, none]), name: 'native-nobody' });
  await assert.rejects(command.started, (err) => isFault(err, 'unavailable'));
  await assert.rejects(command.exited, (err) => isFault(err, 'unavailable'));
  for (const ids of [{ uid: 65_536 }, { gid: 4_000_000_000 }]) {
    const beyond = native.exec({ ...guest.request(['true'], [none, none, none]), ...ids });
    await assert.rejects(beyond.started, (err) => isFault(err, 'bad_request'));
  }
  assert.throws(
    () => native.exec(guest.request([], [none, none, none])),
    (err) => isFault(err, 'bad_request'),
  );
  closeSync(none);
});

test('a privileged container runs on the same steps, without a map', async () => {
  const other = await Guest.make(native, scratch, 'native-privileged', { map: [] });
  await other.start([steps.writeFile(other.root, '/etc/mine', 'x', false)]);
  const { output } = await other.run(['sh', '-c', 'cat /proc/self/uid_map; stat -c %u /etc/mine'], {
    sealed: true,
  });
  assert.match(output, /^ +0 +0 +4294967295\n0\n$/);
  const running = await native.openFiles({ initPid: other.initPid });
  await running.mkdir('/tmp/made', { uid: 70_000, gid: 0, mode: 0o700 });
  await assert.rejects(running.openRead('/dev/null'), (err) => isFault(err, 'bad_request'));
  await running.close();
  await other.stop();
  const stopped = await native.openFiles({ plan: other.rootPlan(), root: other.root });
  assert.equal((await stopped.stat('/tmp/made')).uid, 70_000);
  await stopped.close();
});

test('a mount is plugged in and out, with the ids of the container', async () => {
  const source = join(scratch, 'plugged');
  mkdirSync(source);
  writeFileSync(join(source, 'note'), 'hello');
  const target = '/mnt/deep/point';
  await native.run([steps.idmap(MAP), steps.mountInto(guest.initPid, source, target, ['idmap'])]);
  const { output } = await guest.run([
    'sh',
    '-c',
    `cat ${target}/note; stat -c %u:%g ${target}/note /mnt/deep; touch ${target}/from-guest`,
  ]);
  assert.equal(output, 'hello0:0\n0:0\n');
  assert.equal(statSync(join(source, 'from-guest')).uid, 0);
  await native.run([steps.umountFrom(guest.initPid, target)]);
  assert.equal((await guest.run(['ls', target])).output, '');
  assert.ok(!readFileSync('/proc/mounts', 'utf8').includes('plugged'));
});

test('what a guest mounts below a plugged mount is not seen on the host', async () => {
  const source = join(scratch, 'peer');
  mkdirSync(join(source, 'below'), { recursive: true });
  const hostMounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');
  execFileSync('mount', ['--bind', source, source]);
  execFileSync('mount', ['--make-shared', source]);
  try {
    for (const [flags, seen] of [[[], false] as const, [['shared'], true] as const]) {
      await native.run([steps.idmap(MAP), steps.mountInto(guest.initPid, source, '/mnt/peer', flags)]);
      assert.equal((await guest.run(['mount', '-t', 'tmpfs', 'guest', '/mnt/peer/below'])).code, 0);
      assert.equal(hostMounts().includes('peer/below'), seen);
      assert.equal((await guest.run(['busybox', 'umount', '/mnt/peer/below'])).code, 0);
      assert.ok(!hostMounts().includes('peer/below'));
      await native.run([steps.umountFrom(guest.initPid, '/mnt/peer')]);
    }
  } finally {
    execFileSync('umount', ['--recursive', source]);
  }
});

test('a plugged mount that the guest took away itself is gone', async () => {
  const source = join(scratch, 'taken');
  mkdirSync(source);
  await native.run([steps.mountInto(guest.initPid, source, '/mnt/taken', [])]);
  assert.equal((await guest.run(['busybox', 'umount', '/mnt/taken'])).code, 0);
  await native.run([steps.umountFrom(guest.initPid, '/mnt/taken')]);
  assert.equal((await guest.run(['busybox', 'rmdir', '/mnt/taken'])).code, 0);
  await native.run([steps.umountFrom(guest.initPid, '/mnt/taken')]);
  await native.run([steps.umountFrom(guest.initPid, '/no/such/folder')]);
});

test('a file can be plugged in read-only, and links cannot turn the mount point outside', async () => {
  const source = join(scratch, 'single');
  writeFileSync(source, 'one file');
  await guest.run(['sh', '-c', 'ln -s /../../../../../../tmp/aim /tmp/link']);
  await native.run([steps.mountInto(guest.initPid, source, '/tmp/link-file', ['ro'])]);
  assert.equal((await guest.run(['sh', '-c', 'cat /tmp/link-file; echo x > /tmp/link-file'])).code, 1);
  await native.run([steps.umountFrom(guest.initPid, '/tmp/link-file')]);
  await assert.rejects(native.run([steps.mountInto(guest.initPid, source, '/tmp/link', [])]), (err) =>
    isFault(err, 'native_failed'),
  );
  assert.ok(!existsSync('/tmp/aim'));
});

test('files of the running container are reached as its root, and only inside it', async () => {
  const files = await native.openFiles({ initPid: guest.initPid });
  const { fd, created } = await files.openWrite('/tmp/pushed', {
    uid: 5,
    gid: 6,
    mode: 0o4750,
    append: false,
  });
  assert.ok(created);
  writeSync(fd, 'pushed');
  closeSync(fd);
  assert.equal((await guest.run(['stat', '-c', '%u:%g:%a:%s', '/tmp/pushed'])).output, '5:6:4750:6\n');
  const again = await files.openWrite('/tmp/pushed', { uid: 0, gid: 0, mode: 0o600, append: true });
  assert.equal(again.created, false);
  writeSync(again.fd, '+more');
  closeSync(again.fd);
  const read = await files.openRead('/tmp/pushed');
  const chunk = Buffer.alloc(64);
  assert.equal(chunk.toString('utf8', 0, readSync(read.fd, chunk)), 'pushed+more');
  assert.equal(read.stat.mode, 0o4750);
  closeSync(read.fd);
  await files.close();
  await files.close();
  await assert.rejects(files.stat('/'), (err) => isFault(err, 'unavailable'));
});

test('a tree that is out for harm gets errors and nothing of the host', async () => {
  await guest.run([
    'sh',
    '-c',
    'cd /tmp; ln -s /../../../../etc/shadow up; ln -s loop loop; mkfifo fifo; ln -s /proc/1/root/etc magic; mkdir many; cd many; for i in $(seq 2000); do : > "n$i"; done',
  ]);
  const files = await native.openFiles({ initPid: guest.initPid });
  const new0 = { uid: 0, gid: 0, mode: 0o644 };
  const cases: [string, string, () => Promise<unknown>][] = [
    ['an upward link', 'not_found', () => files.openRead('/tmp/up')],
    ['a loop', 'bad_request', () => files.openRead('/tmp/loop')],
    ['a fifo', 'bad_request', () => files.openRead('/tmp/fifo')],
    ['a fifo for writing', 'bad_request', () => files.openWrite('/tmp/fifo', { ...new0, append: false })],
    ['a device', 'bad_request', () => files.openRead('/dev/null')],
    ['a directory', 'bad_request', () => files.openRead('/tmp')],
    ['a magic link', 'bad_request', () => files.list('/tmp/magic')],
    ['ids beyond the map', 'bad_request', () => files.mkdir('/tmp/d', { uid: 65_536, gid: 0, mode: 0o755 })],
    ['a missing parent', 'not_found', () => files.mkdir('/nowhere/d', new0)],
    ['an existing name', 'already_exists', () => files.mkdir('/tmp', new0)],
    ['an existing link', 'already_exists', () => files.symlink('/tmp/up', 'x', new0)],
    ['a directory that is not empty', 'bad_request', () => files.remove('/tmp')],
    ['the root', 'bad_request', () => files.remove('/')],
    ['appending to nothing', 'not_found', () => files.openWrite('/tmp/no', { ...new0, append: true })],
    ['a NUL byte', 'bad_request', () => files.stat('/tmp\0/x')],
    ['a name too long', 'bad_request', () => files.stat(`/${'x'.repeat(300)}`)],
    [
      'a sysctl for writing',
      'forbidden',
      () => files.openWrite('/proc/sys/kernel/hostname', { ...new0, append: false }),
    ],
  ];
  for (const [what, code, act] of cases) {
    await assert.rejects(act, (err) => isFault(err) && err.code === code, what);
  }
  assert.equal((await files.stat('/tmp/up')).type, 'symlink');
  assert.equal(await files.readlink('/tmp/up'), '/../../../../etc/shadow');
  assert.equal((await files.list('/tmp/many')).length, 2000);
  await files.close();
});

test('a guest that reboots is stopped, and the hook leaves word of it', async () => {
  const note = join(scratch, 'note');
  mkdirSync(note);
  const other = await Guest.make(native, scratch, 'native-reboot', {
    lines: ['lxc.hook.version = 1', `lxc.hook.post-stop = ${native.helperPath} hook ${note}`],
  });
  const stopped = later<void>();
  await other.start();
  await native.monitor(other.lxcPath, other.name).watch((state) => {
    if (state === 'STOPPED') stopped.resolve();
  });
  await other.run(['reboot', '-f']);
  await within('reboot', stopped.promise);
  assert.ok(existsSync(join(note, 'reboot')));
  assert.equal(await native.monitor(other.lxcPath, other.name).state(), 'STOPPED');
});

test('a start that fails says what liblxc said', async () => {
  const other = await Guest.make(native, scratch, 'native-broken', {
    lines: ['lxc.init.cmd = /no/such/init'],
  });
  await assert.rejects(other.start(), (err) => {
    assert.ok(isFault(err, 'native_failed'));
    assert.equal(err.facts['step'], 'start');
    assert.match(String(err.cause), /no\/such\/init/);
    return true;
  });
  assert.equal(cgroups('native-broken'), '');
  assert.ok(!readFileSync('/proc/mounts', 'utf8').includes(scratch));
});

test('a stop is told once, and nothing is left; its files are reached all the same', async () => {
  const states: ContainerState[] = [];
  const stopped = later<void>();
  await native.monitor(guest.lxcPath, guest.name).watch((state) => {
    states.push(state);
    if (state === 'STOPPED') stopped.resolve();
  });
  const pid = guest.initPid;
  assert.equal(native.signalProcess(pid, 9), true);
  await within('stop', stopped.promise);
  assert.equal(states[0], 'RUNNING');
  assert.equal(states.filter((state) => state === 'STOPPED').length, 1);
  assert.equal(states.at(-1), 'STOPPED');
  assert.equal(await native.waitGone(pid, 5000), true);
  assert.equal(native.signalProcess(pid, 9), false);
  guest.initPid = 0;
  assert.ok(!readFileSync('/proc/mounts', 'utf8').includes(scratch));
  assert.equal(cgroups('native-main'), '');

  const files = await native.openFiles({ plan: guest.rootPlan(), root: guest.root });
  assert.deepEqual(
    await files.stat('/tmp/pushed').then((s) => [s.uid, s.gid, s.mode, s.size]),
    [5, 6, 0o4750, 11],
  );
  await files.mkdir('/tmp/stopped', { uid: 33, gid: 33, mode: 0o1777 });
  await assert.rejects(files.mkdir('/tmp/x', { uid: 65_536, gid: 0, mode: 0o755 }), (err) =>
    isFault(err, 'bad_request'),
  );
  await assert.rejects(files.openRead('/tmp/up'), (err) => isFault(err, 'not_found'));
  await files.close();
  assert.equal(statSync(join(guest.folder, 'upper/tmp/stopped')).uid, 33);

  await guest.start();
  assert.equal((await guest.run(['stat', '-c', '%u', '/tmp/stopped'])).output, '33\n');
});
