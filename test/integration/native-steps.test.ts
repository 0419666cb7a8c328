import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findBinaries, loadBinding } from '../../native/binding.ts';
import { StepError } from '../../native/faults.ts';
import { runPlan } from '../../native/helper.ts';
import { openNative } from '../../native/index.ts';
import { Launcher } from '../../native/launcher.ts';
import { steps } from '../../native/steps.ts';
import type { Step } from '../../native/steps.ts';
import { describeChain, isFault } from '../../process/fault.ts';
import { makeScratch, MAP, removeScratch } from '../support/native-guest.ts';

const native = openNative({ timeoutMs: 20_000 });
let scratch = '';

before(async () => {
  scratch = await makeScratch();
});

after(async () => {
  await removeScratch(scratch);
});

/** Runs a program of the machine; throws when it fails. */
function tool(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Processes of this program that wait for requests to fork helpers. */
function launchers(): number[] {
  const own = String(process.pid);
  const children = readFileSync(`/proc/${own}/task/${own}/children`, 'utf8').trim().split(' ').map(Number);
  return children.filter((pid) => commandLine(pid).includes('slipway-helper launch'));
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // it has ended meanwhile
  }
}

/** A launcher of its own, with nothing under way. */
async function ownLauncher() {
  const before = launchers();
  const mine = openNative({ timeoutMs: 20_000 });
  await mine.run([]);
  const pid = launchers().find((each) => !before.includes(each));
  assert.ok(pid !== undefined, 'no launcher was started');
  return { mine, pid };
}

function fresh(name: string): string {
  const path = join(scratch, name);
  mkdirSync(path, { recursive: true });
  return path;
}

async function failureOf(plan: readonly Step[]): Promise<{ step: string; index: number; text: string }> {
  try {
    await native.run(plan);
  } catch (err) {
    assert.ok(isFault(err));
    assert.ok(err.cause instanceof StepError);
    return err.cause.failure;
  }
  throw new Error('the plan did not fail');
}

test('a plan stops at the step that fails and names it', async () => {
  const dir = join(scratch, 'plan');
  const failure = await failureOf([
    steps.mkdir(join(dir, 'one'), '0750'),
    steps.bind('/no/such/source', dir, []),
    steps.mkdir(join(dir, 'two'), '0750'),
  ]);
  assert.equal(failure.step, 'bind');
  assert.equal(failure.index, 1);
  assert.match(failure.text, /\/no\/such\/source/);
  assert.equal(statSync(join(dir, 'one')).mode & 0o7777, 0o750);
  assert.ok(!existsSync(join(dir, 'two')));
});

test('steps that are none are refused', async () => {
  assert.match((await failureOf([['dance']])).text, /no such verb/);
  assert.match((await failureOf([['mkdir', '/x']])).text, /number of arguments/);
  assert.match((await failureOf([['idmap', 'nonsense']])).text, /not an id map/);
  assert.match((await failureOf([steps.mkdir('relative', '0755')])).text, /absolute/);
  await assert.rejects(native.run([['mkdir', '/x\0y', '0755']]), (err) => isFault(err, 'bad_request'));
});

test('a plan that is aborted rejects with the reason', async () => {
  const reason = new Error('changed my mind');
  const abort = new AbortController();
  const running = native.run([steps.confine(fresh('abort'), 1 << 20, ['/bin/sleep', '1000'])], {
    signal: abort.signal,
  });
  abort.abort(reason);
  await assert.rejects(running, (err) => err === reason);
  await assert.rejects(native.run([], { signal: abort.signal }), (err) => err === reason);
});

test('a plan that does not end is killed at its deadline', async () => {
  const impatient = openNative({ timeoutMs: 200 });
  await assert.rejects(
    impatient.run([steps.confine(fresh('late'), 1 << 20, ['/bin/sleep', '1000'])]),
    (err) => isFault(err, 'timeout'),
  );
});

test('idmapped mounts are told from file systems that have none', async () => {
  assert.equal(await native.idmappedMountsWork(scratch), true);
  assert.equal(await native.idmappedMountsWork('/proc'), false);
  await assert.rejects(native.idmappedMountsWork('/no/such/folder'), (err) => isFault(err, 'native_failed'));
});

test('device nodes get their owner in ids of the map', async () => {
  const path = join(fresh('nodes'), 'null');
  const plan = [steps.idmap(MAP), steps.mknod(path, { kind: 'c', major: 1, minor: 3, mode: '0640' }, 0, 5)];
  await native.run(plan);
  await native.run(plan);
  const stat = lstatSync(path);
  assert.ok(stat.isCharacterDevice());
  assert.deepEqual(
    [stat.uid, stat.gid, stat.mode & 0o7777, stat.rdev],
    [1_000_000, 1_000_005, 0o640, (1 << 8) | 3],
  );
  assert.match((await failureOf([steps.idmap(MAP), steps.chown(path, 65_536, 0)])).text, /not in the map/);
});

test('a bind mount can be read-only, and nothing of it is left afterwards', async () => {
  const source = fresh('source');
  const target = fresh('target');
  const failure = await failureOf([
    steps.privateMounts(),
    steps.bind(source, target, ['ro', 'nodev']),
    steps.writeFile(target, '/f', 'x', false),
  ]);
  assert.match(failure.text, /Read-only file system/);
  await native.run([
    steps.privateMounts(),
    steps.bind(source, target, []),
    steps.writeFile(target, '/f', 'x', false),
  ]);
  assert.equal(readFileSync(join(source, 'f'), 'utf8'), 'x');
  assert.ok(!existsSync(join(target, 'f')));
  assert.ok(!readFileSync('/proc/mounts', 'utf8').includes(scratch));
});

test('an overlay over an upper layer that cannot be written is an error', async () => {
  const base = fresh('overlay');
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(base, name));
  const failure = await failureOf([
    steps.privateMounts(),
    steps.bind(base, base, ['ro']),
    steps.overlay([join(base, 'lower')], join(base, 'upper'), join(base, 'work'), join(base, 'merged'), true),
  ]);
  assert.equal(failure.step, 'overlay');
});

test('a file is never behind two loop devices, and its device goes with the last mount', async () => {
  const image = join(scratch, 'image.ext4');
  writeFileSync(image, '');
  truncateSync(image, 16 << 20);
  tool('mkfs.ext4', ['-q', image]);
  const one = fresh('loop-one');
  const two = fresh('loop-two');
  const held = await native.openFiles({
    plan: [steps.privateMounts(), steps.loop(image, one, 'ext4', 'nodev,noatime')],
    root: one,
  });
  await held.mkdir('/from-one', { uid: 0, gid: 0, mode: 0o755 });
  const devices = (): string[] =>
    tool('losetup', ['-j', image, '-n', '-O', 'NAME']).trim().split('\n').filter(Boolean);
  assert.equal(devices().length, 1);
  const again = await native.openFiles({
    plan: [steps.privateMounts(), steps.loop(image, two, 'ext4', 'nodev,noatime')],
    root: two,
  });
  assert.equal(devices().length, 1);
  assert.deepEqual((await again.list('/')).sort(), ['from-one', 'lost+found']);
  await held.close();
  await again.close();
  await native.run([steps.privateMounts(), steps.loop(image, one, 'ext4', '-')]);
  while (devices().length > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.match(
    (await failureOf([steps.privateMounts(), steps.loop('/no/such', one, 'ext4', '')])).text,
    /No such file/,
  );
});

test('a plan that runs into a full disk is storage_full', async () => {
  const small = fresh('small');
  await assert.rejects(
    native.run([
      steps.privateMounts(),
      steps.tmpfs(small, 64),
      steps.writeFile(small, '/big', 'x'.repeat(200_000), false),
    ]),
    (err) => isFault(err, 'storage_full'),
  );
});

test('what a hostile image brought is scrubbed', async () => {
  const tree = fresh('tree');
  mkdirSync(join(tree, 'dev'));
  tool('mknod', [join(tree, 'dev/sda'), 'b', '8', '0']);
  writeFileSync(join(tree, 'file'), 'x');
  symlinkSync('/dev', join(tree, 'out'));
  tool('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', tree]);
  await native.run([steps.scrub(tree)]);
  assert.ok(!existsSync(join(tree, 'dev/sda')));
  assert.ok(existsSync('/dev/null'));
  assert.throws(() => tool('getfattr', ['-n', 'trusted.overlay.opaque', tree]));
});

function confined(
  writable: string,
  maxBytes: number,
  script: string,
  input = '',
): { status: number | null; out: string } {
  const done = spawnSync(
    native.helperPath,
    ['confine', writable, String(maxBytes), '/bin/sh', '-c', script],
    {
      input,
      encoding: 'utf8',
    },
  );
  return { status: done.status, out: done.stdout };
}

test('a confined program writes to its folder and nowhere else', () => {
  const folder = fresh('confined');
  const good = confined(folder, 1 << 20, 'cat > made; pwd; chown 5:6 made; echo x > /dev/null', 'from stdin');
  assert.deepEqual(good, { status: 0, out: `${folder}\n` });
  assert.equal(readFileSync(join(folder, 'made'), 'utf8'), 'from stdin');
  assert.equal(statSync(join(folder, 'made')).uid, 5);
  const refused: [string, string][] = [
    ['another folder', `echo x > ${join(scratch, 'elsewhere')}`],
    ['the system', 'echo x > /etc/made-by-test'],
    ['a mount', `mount -o remount,rw / && echo x > ${join(scratch, 'elsewhere')}`],
    ['a disk of the host', 'ls /dev/vda /dev/loop0'],
    ['a device of its own making', 'mknod null c 1 3 && echo x > null'],
    ['a file over the limit', 'dd if=/dev/zero of=big bs=1M count=4'],
    ['the network', 'ls /sys/class/net/eth0 && cat < /dev/tcp/127.0.0.1/1'],
    ['kernel settings', 'echo 1 > /proc/sys/kernel/panic'],
  ];
  for (const [what, script] of refused) {
    assert.notEqual(confined(folder, 1 << 20, script).status, 0, what);
  }
  assert.ok(!existsSync(join(scratch, 'elsewhere')));
  rmSync(folder, { recursive: true });
});

test('a confined program that cannot be run says why', () => {
  const done = spawnSync(native.helperPath, ['confine', fresh('none'), '1024', '/no/such/program'], {
    encoding: 'utf8',
  });
  assert.equal(done.status, 125);
  assert.match(done.stderr, /"step":"confine".*no\/such\/program/);
});

test('a launcher that was killed is replaced', async () => {
  const { mine, pid } = await ownLauncher();
  assert.equal(mine.signalProcess(pid, constants.signals.SIGKILL), true);
  assert.equal(await mine.waitGone(pid, 5000), true);
  await mine.run([steps.mkdir(join(scratch, 'after'), '0755')]);
  // The end of the first launcher is heard of by now, and does not harm the second.
  await mine.run([steps.mkdir(join(scratch, 'after/all'), '0755')]);
  assert.ok(existsSync(join(scratch, 'after/all')));
});

/** Plans that append a line to files of their own, and answer. */
function writing(folder: string, count: number): { readonly file: string; readonly plan: Step[] }[] {
  return Array.from({ length: count }, (_, number) => {
    const file = join(folder, String(number));
    return {
      file,
      plan: [steps.confine(folder, 1 << 20, ['/bin/sh', '-c', `echo line >> ${file}; echo '{"ok":true}'`])],
    };
  });
}

function linesOf(file: string): number {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
}

async function ended(running: Promise<void>): Promise<string> {
  return running.then(
    () => 'answered',
    (err: unknown) => describeChain(err),
  );
}

test('what a launcher had not begun when it died is begun by the next one, once', async () => {
  const { mine, pid } = await ownLauncher();
  const folder = fresh('handed-over');
  mine.signalProcess(pid, constants.signals.SIGSTOP);
  const plans = writing(folder, 20);
  const given = new AbortController();
  const running = plans.map(({ plan }) => ended(mine.run(plan)));
  const givenUp = ended(mine.run([steps.mkdir(join(folder, 'given-up'), '0755')], { signal: given.signal }));
  given.abort(new Error('no longer wanted'));
  mine.signalProcess(pid, constants.signals.SIGKILL);
  const ends = await Promise.all(running);
  assert.deepEqual(new Set(ends), new Set(['answered']));
  assert.deepEqual(new Set(plans.map(({ file }) => linesOf(file))), new Set([1]));
  assert.match(await givenUp, /no longer wanted/);
  assert.ok(!existsSync(join(folder, 'given-up')));
});

test('a plan that was given up while its launcher hung is never carried out', async () => {
  const { mine, pid } = await ownLauncher();
  const abort = new AbortController();
  mine.signalProcess(pid, constants.signals.SIGSTOP);
  const folder = fresh('given-up');
  const [first] = writing(folder, 1);
  assert.ok(first !== undefined);
  const running = ended(mine.run(first.plan, { signal: abort.signal }));
  await new Promise((resolve) => setImmediate(resolve));
  abort.abort(new Error('no longer wanted'));
  assert.match(await running, /no longer wanted/);
  mine.signalProcess(pid, constants.signals.SIGCONT);
  await mine.run([]);
  assert.equal(linesOf(first.file), 0);
});

test('no plan runs twice and none is lost unheard while launchers are killed', async () => {
  const { mine } = await ownLauncher();
  const others = launchers();
  const folder = fresh('killed-at-random');
  const plans = writing(folder, 200);
  const running = plans.map(async ({ plan, file }, number) => {
    for (let turn = 0; turn < number; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    if (number % 10 === 5) {
      for (const pid of launchers()) if (!others.slice(0, -1).includes(pid)) mine.signalProcess(pid, 9);
    }
    return { file, how: await ended(mine.run(plan)) };
  });
  for (const { file, how } of await Promise.all(running)) {
    const lines = linesOf(file);
    if (how === 'answered') assert.equal(lines, 1);
    else if (how.includes('has ended')) assert.equal(lines, 0);
    else assert.match(how, /ended without an answer/); // killed at its work
    assert.ok(lines <= 1, `${file} was written twice`);
  }
  assert.ok(plans.some(({ file }) => linesOf(file) === 1));
});

test('a helper that cannot be started is told as what it is', async () => {
  const broken = new Launcher(loadBinding(findBinaries().addon), '/bin/false');
  const run = runPlan(broken, [], { timeoutMs: 20_000 });
  await assert.rejects(run, (err) => isFault(err, 'native_failed') && /has ended 5 times/.test(err.message));
  const none = new Launcher(loadBinding(findBinaries().addon), '/no/such/helper');
  await assert.rejects(runPlan(none, [], { timeoutMs: 20_000 }), /start \/no\/such\/helper/);
});
