import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxcClient, SKIP } from '../support/lxc-client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const COLUMNS = '46abcdDefFlmMnNpPsStu';
let daemon: SlipwayDaemon;
let lxc: LxcClient;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('rclibr0');
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  lxc = await LxcClient.create(daemon);
});

after(async () => {
  await daemon.destroy();
  await lxc.close();
});

function states(text: string): Record<string, string> {
  return Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(',')),
  );
}

/** Names and states of all instances, as the list shows them. */
async function listed(): Promise<Record<string, string>> {
  return states(await lxc.ok('list', '-f', 'csv', '-c', 'ns'));
}

test('launch makes and starts a container, init only makes it', { skip: SKIP }, async () => {
  await lxc.ok('launch', 'tiny', 'one', '-c', 'user.kind=first', '-c', 'limits.memory=64MiB');
  await lxc.ok('init', 'tiny', 'two', '--ephemeral', '-d', 'root,size=100MiB');
  await lxc.ok('init', 'three', '--empty');
  assert.deepEqual(await listed(), { one: 'RUNNING', two: 'STOPPED', three: 'STOPPED' });
  assert.equal((await lxc.ok('exec', 'one', '--', 'hostname')).trim(), 'one');
  assert.match(await lxc.refused('launch', 'tiny', 'one'), /already (exists|in use)|UNIQUE/i);
  assert.match(await lxc.refused('launch', 'nothing', 'four'), /not found/);
  await lxc.ok('delete', 'three');
});

test('list shows every column, in every format', { skip: SKIP }, async () => {
  const line = (await lxc.ok('list', 'one', '-f', 'csv', '-c', COLUMNS)).trim();
  assert.equal(line.split('\n').length, 1);
  assert.ok(line.includes('one') && line.includes('RUNNING') && line.includes('CONTAINER'), line);
  assert.match(await lxc.ok('list', '--fast'), /NAME.*STATE.*ARCHITECTURE.*CREATED AT.*PROFILES.*TYPE/);
  const asked = await lxc.ok('list', '-f', 'csv', '-c', 'n,user.kind,limits.memory:MEM,devices:eth0.network');
  assert.equal(asked, 'one,first,64MiB,rclibr0\ntwo,,,rclibr0\n');
  const [json] = JSON.parse(await lxc.ok('list', 'one', '-f', 'json')) as { state: { pid: number } }[]; // as printed
  assert.ok(json !== undefined && json.state.pid > 1);
  assert.match(await lxc.ok('list', 'one', '-f', 'yaml'), /^ {2}status: Running$/m);
  assert.match(await lxc.ok('list', '-f', 'compact', '-c', 'n'), /^\s+one\s*$/m);
});

test('list filters by name, key, state, type and address', { skip: SKIP }, async () => {
  const names = async (...filters: string[]) =>
    (await lxc.ok('list', '-f', 'csv', '-c', 'n', ...filters)).trim().split('\n');
  assert.deepEqual(await names('user.kind=first'), ['one']);
  assert.deepEqual(await names('status=stopped'), ['two']);
  assert.deepEqual(await names('^t'), ['two']);
  assert.deepEqual(await names('type=container'), ['one', 'two']);
  assert.deepEqual(await names('type=virtual-machine'), ['']);
  assert.deepEqual(await names('ipv4=203.0.113.0/24'), ['']);
});

test('info tells of the server, its resources, an instance and its log', { skip: SKIP }, async () => {
  assert.match(await lxc.ok('info'), /server_version: 5\.0\.2/);
  assert.match(await lxc.ok('info', '--resources'), /Memory:\n(.*\n)* +Total: /);
  const info = await lxc.ok('info', 'one');
  assert.match(info, /^Status: RUNNING$/m);
  assert.match(info, /Memory \(current\): [1-9]/);
  assert.match(info, /eth0:\n +Type: broadcast\n +State: UP/);
  assert.match(await lxc.ok('info', 'one', '--show-log'), /^Log:$/m);
  assert.match(await lxc.ok('info', 'two'), /^Type: container \(ephemeral\)$/m);
});

test('copy and move on the same host keep the files and take changes', { skip: SKIP }, async () => {
  await lxc.ok('exec', 'one', '--', 'sh', '-c', 'echo kept > /root/kept');
  await lxc.ok('copy', 'one', 'copied', '-c', 'user.kind=second', '-p', 'default');
  assert.equal((await lxc.ok('config', 'get', 'copied', 'user.kind')).trim(), 'second');
  await lxc.ok('start', 'copied');
  assert.equal(await lxc.ok('exec', 'copied', '--', 'cat', '/root/kept', '/etc/hostname'), 'kept\ncopied\n');
  assert.match(await lxc.refused('move', 'copied', 'moved'), /running instance/);
  await lxc.ok('stop', '-f', 'copied');
  await lxc.ok('move', 'copied', 'moved');
  await lxc.ok('rename', 'moved', 'again');
  assert.deepEqual(await listed(), { one: 'RUNNING', two: 'STOPPED', again: 'STOPPED' });
  await lxc.ok('start', 'again');
  assert.equal(await lxc.ok('exec', 'again', '--', 'cat', '/root/kept', '/etc/hostname'), 'kept\nagain\n');
});

test('stop, start, restart and pause change what runs', { skip: SKIP }, async () => {
  const pid = async () => Number((await daemon.done('GET', '/1.0/instances/again/state')).pid);
  const first = await pid();
  await lxc.ok('pause', 'again');
  assert.equal((await listed())['again'], 'FROZEN');
  await lxc.ok('start', 'again');
  assert.equal(await pid(), first);
  await lxc.ok('restart', '-f', 'again');
  const second = await pid();
  assert.notEqual(second, first);
  await lxc.ok('restart', 'again');
  assert.notEqual(await pid(), second);
  await lxc.ok('stop', 'again');
  assert.equal((await listed())['again'], 'STOPPED');
  assert.match(await lxc.refused('stop', 'again'), /already stopped/);
  assert.match(await lxc.refused('start', 'one'), /already running/);
});

test('--all works on every instance, and an ephemeral one goes when it stops', { skip: SKIP }, async () => {
  await lxc.ok('start', '--all');
  assert.deepEqual(await listed(), { one: 'RUNNING', two: 'RUNNING', again: 'RUNNING' });
  await lxc.ok('pause', '--all');
  assert.deepEqual(await listed(), { one: 'FROZEN', two: 'FROZEN', again: 'FROZEN' });
  await lxc.ok('restart', '--all', '-f');
  assert.deepEqual(await listed(), { one: 'RUNNING', two: 'RUNNING', again: 'RUNNING' });
  await lxc.ok('stop', '--all', '-f');
  assert.deepEqual(await listed(), { one: 'STOPPED', again: 'STOPPED' });
});

test('delete refuses what runs unless it is forced', { skip: SKIP }, async () => {
  await lxc.ok('start', 'again');
  assert.match(await lxc.refused('delete', 'again'), /currently running/);
  await lxc.ok('delete', '-f', 'again');
  await lxc.ok('delete', 'one');
  assert.equal(await lxc.ok('list', '-f', 'csv'), '');
  assert.match(await lxc.refused('delete', 'one'), /not found/);
});
