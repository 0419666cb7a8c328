/** Config drives over REST: what is taken, who may read it, and where it goes. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { packTar, type TarEntry } from 'modern-tar';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxdClient, type Caller } from '../../driver/lxd/client.ts';
import { SlipwayDaemon, type Envelope } from '../support/slipway-daemon.ts';

const caller: Caller = { requestId: 'req-d21e' };
let daemon: SlipwayDaemon;
let client: LxdClient;

before(async () => {
  daemon = await SlipwayDaemon.start();
  client = new LxdClient(daemon.socket);
  await daemon.done('POST', '/1.0/storage-pools', { name: 'default', driver: 'overlay' });
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
});

after(async () => {
  client.close();
  await daemon.destroy();
});

async function create(name: string, config: Record<string, string> = {}): Promise<void> {
  const devices = { root: { type: 'disk', path: '/', pool: 'default' } };
  const source = { type: 'image', alias: 'tiny' };
  await daemon.done('POST', '/1.0/instances', { name, profiles: [], config, devices, source });
}

function put(name: string, body: Uint8Array): Promise<Envelope> {
  return daemon.send('PUT', `/1.0/instances/${name}/config-drive`, body);
}

function file(name: string, body: string): TarEntry {
  return { header: { name, size: Buffer.byteLength(body), type: 'file', mode: 0o777 }, body };
}

async function state(name: string, action: string): Promise<void> {
  await daemon.done('PUT', `/1.0/instances/${name}/state`, { action, force: true });
}

async function sh(name: string, script: string): Promise<string> {
  const ran = await client.exec(caller, name, ['sh', '-c', script]);
  return `${String(ran.exitCode)} ${ran.stdout.trim()}`;
}

const drives = (): string[] => readdirSync(join(daemon.state, 'config-drives')).sort();

test('a guest finds its drive from its next start on, for its root to read and nobody to write', async () => {
  await create('drive-one', { 'security.idmap.isolated': 'true' });
  const folder: TarEntry = { header: { name: './openstack/', size: 0, type: 'directory' } };
  const archive = await packTar([
    folder,
    file('./openstack/latest/meta_data.json', '{"a":1}'),
    file('empty', ''),
  ]);
  assert.equal((await put('drive-one', archive)).status_code, 200);
  assert.deepEqual(await daemon.done('GET', '/1.0/instances/drive-one/config-drive'), {
    files: { empty: 0, 'openstack/latest/meta_data.json': 7 },
  });
  await state('drive-one', 'start');
  assert.equal(await sh('drive-one', 'cat /config-drive/openstack/latest/meta_data.json'), '0 {"a":1}');
  const modes = 'stat -c "%a %u %g" /config-drive /config-drive/openstack/latest/meta_data.json';
  assert.equal(await sh('drive-one', modes), '0 500 0 0\n400 0 0');
  assert.match(await sh('drive-one', 'mount -o remount,bind,rw /config-drive; touch /config-drive/x'), /^1/);
  const running = await put('drive-one', archive);
  assert.equal(running.error_code, 400);
  assert.match(running.error, /stop it before/);
});

test('a drive is replaced whole, follows a rename, is not copied, and goes with its instance', async () => {
  await state('drive-one', 'stop');
  assert.equal((await put('drive-one', await packTar([file('other', 'x')]))).status_code, 200);
  await daemon.done('POST', '/1.0/instances/drive-one', { name: 'drive-two' });
  assert.deepEqual(drives(), ['drive-two']);
  const source = { type: 'copy', source: 'drive-two' };
  await daemon.done('POST', '/1.0/instances', { name: 'drive-copy', source });
  await state('drive-copy', 'start');
  assert.match(await sh('drive-copy', 'test -e /config-drive/other'), /^1/);
  await state('drive-two', 'start');
  assert.equal(await sh('drive-two', 'ls /config-drive'), '0 other');
  await state('drive-two', 'stop');
  assert.equal((await daemon.request('DELETE', '/1.0/instances/drive-two/config-drive')).status_code, 200);
  assert.equal((await daemon.request('GET', '/1.0/instances/drive-two/config-drive')).error_code, 404);
  await state('drive-two', 'start');
  assert.match(await sh('drive-two', 'ls /config-drive/other'), /^1/);
  await state('drive-two', 'stop');
  assert.equal((await put('drive-two', await packTar([file('again', 'x')]))).status_code, 200);
  await daemon.done('DELETE', '/1.0/instances/drive-two');
  assert.deepEqual(drives(), []);
});

test('what a crash left of a drive, or of an instance that is gone, is swept up', async () => {
  for (const name of ['.a1b2c3', 'nobody', 'other_nobody'])
    mkdirSync(join(daemon.state, 'config-drives', name));
  await daemon.kill();
  await daemon.restart();
  assert.deepEqual(drives(), []);
});

test('archives with anything but files below the drive are refused and change nothing', async () => {
  await create('drive-bad');
  const link: TarEntry = { header: { name: 'l', size: 0, type: 'symlink', linkname: '/etc/passwd' } };
  const many = Array.from({ length: 1025 }, (_, index) => file(`f${String(index)}`, ''));
  const bad: [string, Uint8Array | TarEntry[]][] = [
    ['no archive', Buffer.from('not a tar archive')],
    ['an empty body', Buffer.alloc(0)],
    ['an empty archive', []],
    ['a way out', [file('../out', 'x')]],
    ['another way out', [file('a/../../out', 'x')]],
    ['an absolute path', [file('/etc/out', 'x')]],
    ['a link', [link]],
    ['a file twice', [file('a', '1'), file('a', '2')]],
    ['a file as a folder', [file('a', '1'), file('a/b', '2')]],
    ['too many files', many],
  ];
  for (const [what, given] of bad) {
    const answer = await put('drive-bad', Array.isArray(given) ? await packTar(given) : given);
    assert.equal(answer.error_code, 400, `${what}: ${answer.error}`);
  }
  assert.equal((await put('drive-bad', Buffer.alloc(17 * 2 ** 20))).error_code, 413);
  assert.equal((await put('drive-none', await packTar([file('a', '1')]))).error_code, 404);
  assert.deepEqual(drives(), []);
  assert.ok(!existsSync(join(daemon.state, 'out')));
});
