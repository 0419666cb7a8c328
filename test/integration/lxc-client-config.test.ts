import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { LxcClient, SKIP } from '../support/lxc-client.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

let daemon: SlipwayDaemon;
let lxc: LxcClient;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('rclcbr0');
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
  lxc = await LxcClient.create(daemon);
  await daemon.done('POST', '/1.0/instances', { name: 'c', source: { type: 'image', alias: 'tiny' } });
  await daemon.done('PUT', '/1.0/instances/c/state', { action: 'start' });
});

after(async () => {
  await daemon.destroy();
  await lxc.close();
});

function inside(script: string): Promise<string> {
  return lxc.ok('exec', 'c', '--', 'sh', '-c', script);
}

test('keys are set, read, unset, shown and edited', { skip: SKIP }, async () => {
  await lxc.ok('config', 'set', 'c', 'user.a=1', 'limits.memory=100MiB');
  assert.equal(await lxc.ok('config', 'get', 'c', 'user.a'), '1\n');
  await lxc.ok('config', 'unset', 'c', 'user.a');
  assert.equal(await lxc.ok('config', 'get', 'c', 'user.a'), '\n');
  assert.match(await lxc.ok('config', 'show', 'c'), /^ {2}limits\.memory: 100MiB$/m);
  assert.match(await lxc.ok('config', 'show', 'c', '--expanded'), /^ {4}network: rclcbr0$/m);
  await lxc.edit('sed -i "s/^description:.*/description: edited/" "$1"', 'config', 'edit', 'c');
  assert.match(await lxc.ok('config', 'show', 'c'), /^description: edited$/m);
  assert.equal(await lxc.refused('config', 'set', 'c', 'nope=1'), 'Error: Unknown configuration key: nope');
  assert.match(await lxc.refused('config', 'set', 'c', 'limits.cpu=x'), /limits\.cpu/);
});

test('keys of the server are set, read, unset and shown', { skip: SKIP }, async () => {
  await lxc.ok('config', 'set', 'user.g=two words');
  assert.equal(await lxc.ok('config', 'get', 'user.g'), 'two words\n');
  assert.match(await lxc.ok('config', 'show'), /^ {2}user\.g: two words$/m);
  await lxc.edit('sed -i "s/two/three/" "$1"', 'config', 'edit');
  assert.equal(await lxc.ok('config', 'get', 'user.g'), 'three words\n');
  await lxc.ok('config', 'unset', 'user.g');
  assert.match(await lxc.refused('config', 'set', 'core.nope=1'), /core\.nope/);
});

test('devices are added, changed, overridden and removed while it runs', { skip: SKIP }, async () => {
  const shared = join(daemon.dir, 'shared');
  await mkdir(shared);
  await writeFile(join(shared, 'seen'), 'seen\n');
  await lxc.ok('config', 'device', 'add', 'c', 'bind', 'disk', `source=${shared}`, 'path=/mnt/bind');
  assert.equal(await inside('cat /mnt/bind/seen'), 'seen\n');
  assert.equal(await lxc.ok('config', 'device', 'list', 'c'), 'bind\n');
  assert.equal(await lxc.ok('config', 'device', 'get', 'c', 'bind', 'path'), '/mnt/bind\n');
  await lxc.ok('config', 'device', 'set', 'c', 'bind', 'readonly=true');
  assert.match(await inside('touch /mnt/bind/x 2>&1 || true'), /Read-only/);
  assert.match(await lxc.ok('config', 'device', 'show', 'c'), /^ {2}readonly: "true"$/m);
  await lxc.ok('config', 'device', 'unset', 'c', 'bind', 'readonly');
  await lxc.ok('config', 'device', 'remove', 'c', 'bind');
  assert.equal(await inside('cat /mnt/bind/seen 2>/dev/null || echo gone'), 'gone\n');
  await lxc.ok('config', 'device', 'add', 'c', 'null', 'unix-char', 'source=/dev/null', 'path=/dev/mynull');
  assert.equal(await inside('test -c /dev/mynull && echo yes'), 'yes\n');
  await lxc.ok('config', 'device', 'override', 'c', 'eth0', 'limits.ingress=10Mbit');
  assert.equal(await lxc.ok('config', 'device', 'get', 'c', 'eth0', 'limits.ingress'), '10Mbit\n');
  await lxc.ok('config', 'device', 'add', 'c', 'eth1', 'nic', 'network=rclcbr0', 'name=eth1');
  assert.equal(await inside('cat /sys/class/net/eth1/ifindex >/dev/null && echo there'), 'there\n');
  await lxc.ok('config', 'device', 'remove', 'c', 'eth0', 'eth1', 'null');
  assert.match(await lxc.refused('config', 'device', 'remove', 'c', 'nope'), /exist/);
});

test('metadata and templates are shown, edited, made and removed', { skip: SKIP }, async () => {
  assert.match(await lxc.ok('config', 'metadata', 'show', 'c'), /template: hostname\.tpl/);
  await lxc.edit('sed -i "s/os: .*/os: other/" "$1"', 'config', 'metadata', 'edit', 'c');
  assert.match(await lxc.ok('config', 'metadata', 'show', 'c'), /os: other/);
  await lxc.ok('config', 'template', 'create', 'c', 'mine.tpl');
  assert.match(await lxc.ok('config', 'template', 'list', 'c'), /hostname\.tpl(.|\n)*mine\.tpl/);
  await lxc.edit('echo "of {{ container.name }}" > "$1"', 'config', 'template', 'edit', 'c', 'mine.tpl');
  assert.equal(await lxc.ok('config', 'template', 'show', 'c', 'mine.tpl'), 'of {{ container.name }}\n');
  await lxc.ok('config', 'template', 'delete', 'c', 'mine.tpl');
  assert.match(await lxc.refused('config', 'template', 'show', 'c', 'mine.tpl'), /not found|no such/i);
});

test('profiles are made, changed, used and removed', { skip: SKIP }, async () => {
  await lxc.ok('profile', 'create', 'p');
  await lxc.ok('profile', 'set', 'p', 'environment.FROM=profile');
  assert.equal(await lxc.ok('profile', 'get', 'p', 'environment.FROM'), 'profile\n');
  await lxc.ok('profile', 'device', 'add', 'p', 'zero', 'unix-char', 'source=/dev/zero', 'path=/dev/myzero');
  assert.equal(await lxc.ok('profile', 'device', 'list', 'p'), 'zero\n');
  await lxc.ok('profile', 'device', 'set', 'p', 'zero', 'mode=0600');
  assert.equal(await lxc.ok('profile', 'device', 'get', 'p', 'zero', 'mode'), '0600\n');
  await lxc.ok('profile', 'copy', 'p', 'q');
  await lxc.ok('profile', 'add', 'c', 'p');
  assert.equal(await inside('echo $FROM; test -c /dev/myzero && echo yes'), 'profile\nyes\n');
  assert.match(await lxc.ok('profile', 'list', '-f', 'csv'), /^p,.*,1$/m);
  assert.match(await lxc.refused('profile', 'delete', 'p'), /in use/);
  await lxc.ok('profile', 'remove', 'c', 'p');
  assert.equal(await inside('test -e /dev/myzero || echo gone'), 'gone\n');
  await lxc.ok('profile', 'assign', 'c', 'default,q');
  assert.match(await lxc.ok('profile', 'show', 'q'), /^- \/1\.0\/instances\/c$/m);
  await lxc.ok('profile', 'assign', 'c', 'default');
  await lxc.edit('sed -i "s/^description:.*/description: edited/" "$1"', 'profile', 'edit', 'q');
  await lxc.ok('profile', 'rename', 'q', 'r');
  assert.match(await lxc.ok('profile', 'show', 'r'), /^description: edited$/m);
  await lxc.ok('profile', 'device', 'remove', 'r', 'zero');
  await lxc.ok('profile', 'unset', 'r', 'environment.FROM');
  await lxc.ok('profile', 'delete', 'r');
  await lxc.ok('profile', 'delete', 'p');
  assert.match(await lxc.refused('profile', 'delete', 'default'), /cannot be deleted/);
});

test('projects separate what is in them', { skip: SKIP }, async () => {
  await lxc.ok('project', 'create', 'other', '-c', 'features.images=false', '-c', 'features.profiles=false');
  await lxc.ok('launch', 'tiny', 'c', '--project', 'other');
  assert.equal(await lxc.ok('list', '--all-projects', '-f', 'csv', '-c', 'en'), 'default,c\nother,c\n');
  await lxc.ok('project', 'switch', 'other');
  assert.equal((await lxc.ok('exec', 'c', '--', 'hostname')).trim(), 'c');
  assert.match(await lxc.refused('project', 'delete', 'other'), /empty|in use/);
  await lxc.ok('delete', '-f', 'c');
  await lxc.ok('project', 'switch', 'default');
  await lxc.ok('project', 'set', 'other', 'user.a', '1');
  assert.equal(await lxc.ok('project', 'get', 'other', 'user.a'), '1\n');
  assert.match(await lxc.ok('project', 'info', 'default'), /INSTANCES +\| UNLIMITED \| 1/);
  await lxc.ok('project', 'rename', 'other', 'another');
  assert.match(await lxc.ok('project', 'list', '-f', 'csv'), /^another,/m);
  await lxc.ok('project', 'delete', 'another');
  assert.match(await lxc.refused('project', 'show', 'another'), /not found/);
});
