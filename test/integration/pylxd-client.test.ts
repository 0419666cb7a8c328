import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

/** Debian's own, which finds Debian's modules. */
const PYTHON = '/usr/bin/python3';
const IS_THERE = spawnSync(PYTHON, ['-c', 'import pylxd']).status === 0;
const SKIP = IS_THERE ? false : 'needs pylxd (package python3-pylxd)';
const run = promisify(execFile);
let daemon: SlipwayDaemon;

before(async () => {
  daemon = await SlipwayDaemon.start();
  await daemon.furnish('rcpybr0');
  await daemon.importImage(await buildTinyImage(daemon.dir), 'tiny');
});

after(async () => {
  await daemon.destroy();
});

/** Runs Python with `client` at the socket; returns what it prints. */
async function python(script: string): Promise<string> {
  const head = 'import json, pylxd\nclient = pylxd.Client()\n';
  const env = { PATH: '/usr/bin:/bin', HOME: daemon.dir, LXD_DIR: daemon.state };
  const { stdout } = await run(PYTHON, ['-c', head + script], { env, timeout: 120_000 });
  return stdout;
}

test('pylxd makes a container, runs a command, keeps files and deletes it', { skip: SKIP }, async () => {
  const out = await python(`
c = client.containers.create(
    {'name': 'py', 'source': {'type': 'image', 'alias': 'tiny'}, 'config': {'user.a': '1'}}, wait=True)
c.start(wait=True)
print(c.status, c.state().status)
ended = c.execute(['sh', '-c', 'echo out; echo err >&2; exit 3'])
print(ended.exit_code, ended.stdout.strip(), ended.stderr.strip())
c.files.put('/root/kept', b'bytes', mode='0640', uid=5)
print(c.files.get('/root/kept'), c.execute(['stat', '-c', '%a %u', '/root/kept']).stdout.strip())
c.config['user.a'] = '2'
c.save(wait=True)
print(client.containers.get('py').config['user.a'], [one.name for one in client.containers.all()])
c.freeze(wait=True)
print(c.status)
c.unfreeze(wait=True)
c.restart(wait=True, force=True)
c.stop(wait=True, force=True)
print(c.status)
c.rename('mine', wait=True)
client.containers.get('mine').delete(wait=True)
print(client.containers.all())
`);
  assert.equal(out, "Running Running\n3 out err\nb'bytes' 640 5\n2 ['py']\nFrozen\nStopped\n[]\n");
});

test('pylxd reads images, profiles, networks and pools', { skip: SKIP }, async () => {
  const out = await python(`
print([image.aliases[0]['name'] for image in client.images.all()])
profile = client.profiles.create('p', config={'user.a': '1'})
print(client.profiles.get('p').config, client.profiles.exists('q'))
profile.delete()
print(client.networks.get('rcpybr0').managed, [pool.driver for pool in client.storage_pools.all()])
try:
    client.containers.get('nope')
except pylxd.exceptions.NotFound as err:
    print(type(err).__name__)
`);
  assert.equal(out, "['tiny']\n{'user.a': '1'} False\nTrue ['overlay']\nNotFound\n");
});
