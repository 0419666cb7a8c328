/** A full disk, and things that vanish behind the daemon's back: an error of what needs them, and of nothing else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildTinyImage } from '../../api/setup/tiny-image.ts';
import { SlipwayDaemon } from '../support/slipway-daemon.ts';

const PREFIX = 'survd-';
const BRIDGE = 'survd0';

const tool = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });

describe('a daemon on a host where things are missing', { timeout: 600_000 }, () => {
  let daemon: SlipwayDaemon;
  let scratch: string;
  let small: string;
  let image: string;

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'slipway-survival-'));
    await chmod(scratch, 0o711);
    small = join(scratch, 'small');
    await mkdir(small);
    await writeFile(join(scratch, 'disk.img'), '');
    await truncate(join(scratch, 'disk.img'), 128 * 2 ** 20);
    tool('mkfs.ext4', '-q', '-F', join(scratch, 'disk.img'));
    tool('mount', '-o', 'loop', join(scratch, 'disk.img'), small);
    image = await buildTinyImage(scratch);
    daemon = await SlipwayDaemon.start();
    await daemon.furnish(BRIDGE);
    await daemon.importImage(image, 'tiny');
    await daemon.done('POST', '/1.0/storage-pools', {
      name: 'small',
      driver: 'dir',
      config: { source: small },
    });
    await create('fine');
    await setState('fine', 'start');
  });

  after(async () => {
    await daemon.destroy();
    tool('umount', '-l', small);
    await rm(scratch, { recursive: true, force: true });
  });

  const url = (name: string): string => `/1.0/instances/${PREFIX}${name}`;
  const setState = (name: string, action: string): Promise<unknown> =>
    daemon.done('PUT', `${url(name)}/state`, { action, force: true, timeout: 30 });
  async function create(name: string, pool = 'default'): Promise<void> {
    await daemon.done('POST', '/1.0/instances', {
      name: PREFIX + name,
      source: { type: 'image', alias: 'tiny' },
      devices: { root: { type: 'disk', path: '/', pool } },
    });
  }
  async function isFine(): Promise<void> {
    const ended = await daemon.done('POST', `${url('fine')}/exec`, {
      command: ['true'],
      'record-output': true,
    });
    assert.equal(ended.metadata.return, 0);
  }
  async function fill(): Promise<void> {
    try {
      tool('dd', 'if=/dev/zero', `of=${join(small, 'filler')}`, 'bs=1M', 'status=none');
    } catch {
      // It ends when the disk is full.
    }
    await Promise.resolve();
  }
  const empty = (): Promise<void> => rm(join(small, 'filler'), { force: true });

  test('a create on a full pool says so, leaves nothing, and works when there is room again', async () => {
    await fill();
    await assert.rejects(create('full', 'small'), /full|no space/i);
    assert.deepEqual(readdirSync(join(small, 'containers')), []);
    assert.ok(!((await daemon.done('GET', '/1.0/instances')) as string[]).includes(url('full')));
    await isFine();
    await empty();
    await create('full', 'small');
    await setState('full', 'start');
    await fill();
    await setState('full', 'stop');
    await empty();
    await setState('full', 'start');
    await setState('full', 'stop');
    await daemon.done('DELETE', url('full'));
  });

  test('a volume that has vanished is an error of its instance, which can be deleted', async () => {
    await create('novolume');
    await rm(join(daemon.state, 'storage-pools/default/containers', `${PREFIX}novolume`), {
      recursive: true,
    });
    await assert.rejects(setState('novolume', 'start'), /novolume|missing|ENOENT/);
    assert.equal((await daemon.done('GET', url('novolume'))).status, 'Stopped');
    await isFine();
    await daemon.done('DELETE', url('novolume'));
  });

  test('an image file that has vanished refuses launches where it is needed, and says so', async () => {
    const { target } = (await daemon.done('GET', '/1.0/images/aliases/tiny')) as { target: string };
    const file = join(daemon.state, 'images', target);
    await rename(file, `${file}.aside`);
    await assert.rejects(create('noimage', 'small'), /image.*missing/);
    await isFine();
    await rename(`${file}.aside`, file);
    await create('noimage', 'small');
    await daemon.done('DELETE', url('noimage'));
  });

  test('an unpacked image that has vanished is unpacked again', async () => {
    const { target } = (await daemon.done('GET', '/1.0/images/aliases/tiny')) as { target: string };
    await create('nounpacked');
    await rm(join(daemon.state, 'storage-pools/default/images', target), { recursive: true });
    await create('afresh');
    await setState('nounpacked', 'start');
    await setState('afresh', 'start');
    await setState('afresh', 'stop');
    await daemon.done('DELETE', url('afresh'));
    await setState('nounpacked', 'stop');
    await daemon.done('DELETE', url('nounpacked'));
  });

  test('a log folder that has vanished is made again', async () => {
    await create('nolog');
    await setState('nolog', 'start');
    await rm(join(daemon.dir, 'log', `${PREFIX}nolog`), { recursive: true });
    await daemon.done('GET', `${url('nolog')}/state`);
    await setState('nolog', 'stop');
    await setState('nolog', 'start');
    await setState('nolog', 'stop');
    await daemon.done('DELETE', url('nolog'));
  });

  test('a bridge that has vanished is an error of starts that need it, and comes back', async () => {
    await create('nobridge');
    tool('ip', 'link', 'delete', BRIDGE);
    await assert.rejects(setState('nobridge', 'start'));
    assert.equal((await daemon.done('GET', url('nobridge'))).status, 'Stopped');
    await isFine();
    await daemon.kill('SIGTERM');
    await daemon.restart();
    await setState('nobridge', 'start');
    await setState('nobridge', 'stop');
    await daemon.done('DELETE', url('nobridge'));
  });

  test('a killed dnsmasq is back after a start of the daemon', async () => {
    const pidFile = join(daemon.state, 'networks', BRIDGE, 'dnsmasq.pid');
    const pid = Number(readFileSync(pidFile, 'utf8'));
    process.kill(pid, 'SIGKILL');
    await daemon.kill();
    await daemon.restart();
    assert.ok(existsSync(pidFile));
    const now = Number(readFileSync(pidFile, 'utf8'));
    assert.notEqual(now, pid);
    process.kill(now, 0);
  });
});

describe('a daemon whose own disk is full', { timeout: 300_000 }, () => {
  test('refuses changes with a clear error, goes on answering, and works when there is room again', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'slipway-survival-'));
    tool('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder);
    const connection = `[database]\nconnection = sqlite://${join(folder, 'local.db')}\n`;
    const daemon = await SlipwayDaemon.start({ config: connection });
    try {
      const change = (text: string): Promise<unknown> =>
        daemon.done('PATCH', '/1.0/profiles/default', { config: { 'user.text': text } });
      await change('before');
      try {
        tool('dd', 'if=/dev/zero', `of=${join(folder, 'filler')}`, 'bs=64k', 'status=none');
      } catch {
        // Full.
      }
      await assert.rejects(change('x'.repeat(200_000)), /disk of the database is full/);
      const profile = await daemon.done('GET', '/1.0/profiles/default');
      assert.equal(profile.config['user.text'], 'before');
      await rm(join(folder, 'filler'));
      await change('after');
      await daemon.kill();
      await daemon.restart();
      assert.equal((await daemon.done('GET', '/1.0/profiles/default')).config['user.text'], 'after');
    } finally {
      await daemon.destroy();
      tool('umount', '-l', folder);
      await rm(folder, { recursive: true, force: true });
    }
  });
});
