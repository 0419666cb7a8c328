import assert from 'node:assert/strict';
import { once } from 'node:events';
import { lstat, mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxcClient, SKIP } from '../support/lxc-client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

let daemon: SlipwayDaemon;
let lxc: LxcClient;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('rclxbr0');
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  lxc = await LxcClient.create(daemon);
  await daemon.done('POST', '/1.0/instances', { name: 'up', source: { type: 'image', alias: 'tiny' } });
  await daemon.done('PUT', '/1.0/instances/up/state', { action: 'start' });
  await daemon.done('POST', '/1.0/instances', { name: 'down', source: { type: 'image', alias: 'tiny' } });
});

after(async () => {
  await daemon.destroy();
  await lxc.close();
});

function inside(script: string): Promise<string> {
  return lxc.ok('exec', 'up', '--', 'sh', '-c', script);
}

test('exec keeps output, errors and exit codes apart', { skip: SKIP }, async () => {
  const ran = await lxc.run(['exec', 'up', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7']);
  assert.deepEqual(ran, { code: 7, out: 'out\n', err: 'err\n' });
  const killed = await lxc.run(['exec', 'up', '--', 'sh', '-c', 'kill -9 $$']);
  assert.equal(killed.code, 137);
  const missing = await lxc.run(['exec', 'up', '--', 'nosuch']);
  assert.deepEqual([missing.code, missing.err], [127, 'Error: Command not found\n']);
  const noProgram = await lxc.run(['exec', 'up', '--', '/etc/passwd']);
  assert.deepEqual([noProgram.code, noProgram.err], [126, 'Error: Command not executable\n']);
  assert.equal(await lxc.refused('exec', 'down', '--', 'true'), 'Error: Instance is not running');
  assert.equal(await lxc.refused('exec', 'nobody', '--', 'true'), 'Error: Instance not found');
});

test('exec takes environment, user, group and folder', { skip: SKIP }, async () => {
  const args = ['--env', 'A=b c', '--cwd', '/etc', '--user', '65534', '--group', '100'];
  const out = await lxc.ok('exec', 'up', ...args, '--', 'sh', '-c', 'echo $A; pwd; id -u; id -g');
  assert.equal(out, 'b c\n/etc\n65534\n100\n');
  assert.equal(await inside('echo $HOME $USER; pwd'), '/root root\n/root\n');
});

test('exec on a terminal has one, with its size and exit code', { skip: SKIP }, async () => {
  const ran = await lxc.terminal(['exec', 'up', '--', 'sh', '-c', 'tty; echo $TERM; exit 9']);
  assert.equal(ran.code, 9);
  assert.match(ran.out, /\/dev\/pts\/\d+\r\nxterm\r\n/);
  const forced = await lxc.run(['exec', 'up', '-t', '--', 'sh', '-c', 'test -t 1 && echo yes']);
  assert.match(forced.out, /yes/);
  const none = await lxc.run(['exec', 'up', '-T', '--', 'sh', '-c', 'test -t 1 || echo none']);
  assert.equal(none.out, 'none\n');
});

test('a hundred megabytes go through cat unchanged', { skip: SKIP }, async () => {
  const file = join(daemon.dir, 'blob');
  await lxc.shell(`head -c 104857600 /dev/urandom > ${file}`);
  const before = await lxc.shell(`sha256sum < ${file}`);
  assert.equal(await lxc.shell(`lxc exec up -- cat < ${file} | sha256sum`), before);
  assert.equal(await lxc.shell(`lxc exec up -- sha256sum < ${file}`), before);
});

test('the console is a shell to attach to and to leave, and keeps its log', { skip: SKIP }, async () => {
  const pid = async () => Number((await daemon.done('GET', '/1.0/instances/up/state')).pid);
  const before = await pid();
  for (const round of ['x1y', 'x2y']) {
    const child = lxc.start('/usr/bin/script', ['-qec', 'lxc console up', '/dev/null']);
    const ended = once(child, 'exit');
    let seen = '';
    const { stdin, stdout } = child;
    assert.ok(stdin !== null && stdout !== null);
    stdin.on('error', () => undefined);
    stdout.setEncoding('utf8').on('data', (chunk: string) => (seen += chunk));
    const typed = setInterval(() => stdin.write(`\recho x$((${round[1] ?? ''}))y\r`), 400);
    while (!seen.includes(round)) await once(stdout, 'data', { signal: AbortSignal.timeout(20_000) });
    clearInterval(typed);
    // The client sees its escape only when the two keys come apart.
    let keys = 0;
    const escape = setInterval(() => stdin.write(keys++ % 2 === 0 ? '\u0001' : 'q'), 200);
    const [code] = (await ended) as [number | null]; // of the event 'exit'
    clearInterval(escape);
    assert.equal(code, 0, seen);
  }
  assert.equal(await pid(), before);
  assert.match(await lxc.ok('console', 'up', '--show-log'), /x1y/);
  assert.match((await lxc.terminal(['console', 'down'])).out, /not running/);
});

test('files are pushed with their modes and owners', { skip: SKIP }, async () => {
  const tree = join(daemon.dir, 'tree');
  await mkdir(join(tree, 'sub'), { recursive: true, mode: 0o755 });
  await writeFile(join(tree, 'f'), 'hi\n', { mode: 0o640 });
  await writeFile(join(tree, 'sub', 'x'), 'x\n', { mode: 0o755 });
  await symlink('f', join(tree, 'l'));
  await lxc.ok('file', 'push', `${tree}/f`, 'up/root/one', '--mode', '751', '--uid', '5', '--gid', '6');
  assert.equal(await inside('stat -c "%a %u %g %s" /root/one'), '751 5 6 3\n');
  await lxc.ok('file', 'push', '-p', `${tree}/f`, 'up/opt/a/b/');
  assert.equal(await inside('stat -c "%a %u %g" /opt/a/b/f'), '640 0 0\n');
  await lxc.ok('file', 'push', '-r', '-p', tree, 'up/srv/deep/');
  assert.equal(await inside('cd /srv/deep/tree && cat l sub/x && stat -c %a sub/x'), 'hi\nx\n755\n');
  assert.equal(await inside('stat -c %F /srv/deep/tree/l'), 'symbolic link\n');
  assert.match(await lxc.refused('file', 'push', `${tree}/f`, 'up/none/f'), /no such file/i);
  await lxc.shell(`echo piped | lxc file push - up/root/piped`);
  assert.equal(await inside('cat /root/piped'), 'piped\n');
  await lxc.ok('file', 'push', `${tree}/f`, 'down/etc/x');
  assert.equal(await lxc.ok('file', 'pull', 'down/etc/x', '-'), 'hi\n');
});

test('files are pulled, edited and deleted', { skip: SKIP }, async () => {
  await inside(
    'mkdir -p /root/t/s; echo 1 > /root/t/a; ln -s a /root/t/b; echo 2 > /root/t/s/c; chmod 600 /root/t/a',
  );
  const target = join(daemon.dir, 'pulled');
  await lxc.ok('file', 'pull', '-r', '-p', 'up/root/t', target);
  assert.equal(await readFile(join(target, 't', 's', 'c'), 'utf8'), '2\n');
  assert.equal((await lstat(join(target, 't', 'a'))).mode & 0o777, 0o600);
  assert.match(await readlink(join(target, 't', 'b')), /a$/);
  assert.match(await lxc.refused('file', 'pull', 'up/root/t', target), /without --recursive/);
  assert.match(await lxc.refused('file', 'pull', 'up/root/nope', target), /no such file/i);
  await inside('chown 7:8 /root/t/a');
  await lxc.edit('sed -i s/1/edited/ "$1"', 'file', 'edit', 'up/root/t/a');
  assert.equal(await inside('cat /root/t/a; stat -c "%a %u %g" /root/t/a'), 'edited\n600 7 8\n');
  await lxc.ok('file', 'delete', 'up/root/t/a');
  assert.match(await lxc.refused('file', 'delete', 'up/root/t/a'), /no such file/i);
  assert.match(await lxc.refused('file', 'delete', 'up/root/t'), /not empty/);
  assert.equal(await inside('ls /root/t'), 'b\ns\n');
});
