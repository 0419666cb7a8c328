import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { steps } from '../../native/steps.ts';
import type { IdExtent, Step } from '../../native/steps.ts';
import type { FileSession } from '../../native/types.ts';
import type { StoredImage } from '../../api/storage/types.ts';
import { isFault } from '../../process/fault.ts';
import { makeUnified, tar } from '../support/image-archives.ts';
import { StorageDaemon, volume } from '../support/storage-daemon.ts';

const MAP: readonly IdExtent[] = [{ kind: 'b', nsId: 0, hostId: 1_000_000, range: 65_536 }];
const signal = new AbortController().signal;
const MIB = 2 ** 20;
/** Node does not know EDQUOT, which btrfs says. */
const FULL = /ENOSPC|UNKNOWN: unknown error, write/;

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const driver of ['overlay', 'dir', 'btrfs'] as const) {
  describe(`a pool of driver ${driver}`, () => {
    const daemon = new StorageDaemon();
    let image: StoredImage;

    before(async () => {
      await daemon.open();
      const config = driver === 'btrfs' ? { size: '512MiB' } : {};
      await daemon.pools.create({ name: 'default', driver, description: '', config });
      const source = join(daemon.state, 'source');
      makeUnified(source);
      const file = tar(join(daemon.state, 'image.tar'), source);
      const fingerprint = await daemon.import(readFileSync(file));
      image = await daemon.images.find({ project: 'default', fingerprint });
    });
    after(() => daemon.close());

    const plan = async (name: string, idmap = MAP): Promise<Step[]> => [
      steps.privateMounts(),
      steps.idmap(idmap),
      ...(await daemon.pools.get('default').rootSteps(volume(name), idmap)),
    ];
    const inside = async <T>(name: string, work: (files: FileSession) => Promise<T>): Promise<T> => {
      const root = daemon.pools.get('default').rootPath(volume(name));
      const files = await daemon.native.openFiles({ plan: await plan(name), root });
      try {
        return await work(files);
      } finally {
        await files.close();
      }
    };
    const create = (name: string, sizeBytes: number | null = null): Promise<void> =>
      daemon.pools.get('default').create(volume(name), { kind: 'image', image }, { sizeBytes, signal });
    const write = async (files: FileSession, path: string, bytes: number): Promise<void> => {
      const { fd } = await files.openWrite(path, { uid: 0, gid: 0, mode: 0o644, append: false });
      try {
        writeFileSync(fd, Buffer.alloc(bytes, 1));
        execFileSync('sync', ['-d', `/proc/${String(process.pid)}/fd/${String(fd)}`]);
      } finally {
        daemon.native.closeFd(fd);
      }
    };

    test('an instance has the owners, modes and links of its image, in ids of the container', async () => {
      await create('c1');
      await inside('c1', async (files) => {
        const facts = async (path: string) => {
          const { uid, gid, mode } = await files.stat(path);
          return [uid, gid, mode & 0o7777];
        };
        assert.deepEqual(await facts('/'), [0, 0, 0o755]);
        assert.deepEqual(await facts('/bin/su'), [0, 0, 0o4755]);
        assert.deepEqual(await facts('/home/user/file'), [1000, 1000, 0o644]);
        assert.equal(await files.readlink('/etc/os-release'), '../usr/lib/os-release');
      });
      const path = daemon.pools.get('default').volumePath(volume('c1'));
      assert.match(readFileSync(join(path, 'metadata.yaml'), 'utf8'), /creation_date: 1700000000/);
      assert.equal(readFileSync(join(path, 'templates/hostname.tpl'), 'utf8'), '{{ container.name }}\n');
    });

    test('nobody on the host but root can reach the files of a guest', async () => {
      await create('private');
      const path = daemon.pools.get('default').volumePath(volume('private'));
      assert.equal(lstatSync(path).mode & 0o777, 0o700);
      for (const fingerprint of await daemon.pools.unpackedImages('default')) {
        const unpacked = join(daemon.paths.pools, 'default', 'images', fingerprint);
        assert.equal(lstatSync(unpacked).mode & 0o777, 0o700);
      }
    });

    test('what an instance writes is neither in its image nor in another instance', async () => {
      await create('w1');
      await inside('w1', async (files) => {
        await write(files, '/etc/hostname', 5);
        await files.remove('/bin/tool');
      });
      await create('w2');
      await inside('w2', async (files) => {
        assert.equal((await files.stat('/etc/hostname')).size, 6);
        assert.equal((await files.stat('/bin/tool')).type, 'file');
      });
      await inside('w1', async (files) => {
        assert.equal((await files.stat('/etc/hostname')).size, 5);
        await assert.rejects(files.stat('/bin/tool'), (err) => isFault(err, 'not_found'));
      });
    });

    test('no mount of an instance is seen on the host', async () => {
      await create('m1', 64 * MIB);
      const before = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length;
      await inside('m1', async () => {
        assert.equal(readFileSync('/proc/self/mountinfo', 'utf8').split('\n').length, before);
      });
    });

    test('a copy has the changes of its original, also the deletions, and its own future', async () => {
      await create('o1');
      await inside('o1', async (files) => {
        await write(files, '/etc/hostname', 3);
        await files.remove('/bin/su');
        await files.remove('/home/user/file');
        await files.remove('/home/user');
        await files.mkdir('/home/user', { uid: 7, gid: 7, mode: 0o700 });
      });
      const source = { kind: 'copy', copyOf: volume('o1') } as const;
      await daemon.pools.get('default').create(volume('o2'), source, { sizeBytes: null, signal });
      await inside('o1', (files) => write(files, '/etc/hostname', 9));
      await inside('o2', async (files) => {
        assert.equal((await files.stat('/etc/hostname')).size, 3);
        await assert.rejects(files.stat('/bin/su'), (err) => isFault(err, 'not_found'));
        // The directory of the image must not shine through the one made anew.
        assert.deepEqual(await files.list('/home/user'), []);
        assert.equal((await files.stat('/home/user')).uid, 7);
      });
    });

    test('an instance made from nothing has an empty root', async () => {
      await daemon.pools
        .get('default')
        .create(volume('none'), { kind: 'empty' }, { sizeBytes: null, signal });
      await inside('none', async (files) => {
        assert.deepEqual(await files.list('/'), []);
        assert.equal((await files.stat('/')).uid, 0);
      });
    });

    test('a size is enforced, can be told, grown, and not shrunk below its use', async () => {
      const pool = daemon.pools.get('default');
      await create('s1', 64 * MIB);
      await inside('s1', async (files) => {
        await assert.rejects(write(files, '/big', 100 * MIB), FULL);
        await files.remove('/big');
        await write(files, '/half', 40 * MIB);
      });
      if (driver === 'btrfs')
        execFileSync('btrfs', ['filesystem', 'sync', join(daemon.paths.pools, 'default')]);
      await until('the use is told', async () => {
        const used = (await daemon.pools.volumeUse('default', volume('s1')))?.used ?? 0;
        return used >= 40 * MIB && used <= 64 * MIB;
      });
      await assert.rejects(pool.resize(volume('s1'), 20 * MIB), (err) => isFault(err, 'bad_request'));
      await pool.resize(volume('s1'), 160 * MIB);
      await inside('s1', (files) => write(files, '/more', 80 * MIB));
      await inside('s1', async (files) => {
        assert.equal((await files.stat('/half')).size, 40 * MIB);
        await files.remove('/half');
        await files.remove('/more');
      });
      if (driver === 'btrfs')
        execFileSync('btrfs', ['filesystem', 'sync', join(daemon.paths.pools, 'default')]);
      await pool.resize(volume('s1'), 64 * MIB);
      await inside('s1', (files) => assert.rejects(write(files, '/big', 100 * MIB), FULL));
    });

    test('a volume without a size gets one later and keeps its contents', async () => {
      await create('late');
      await inside('late', (files) => write(files, '/mine', 4 * MIB));
      await daemon.pools.get('default').resize(volume('late'), 64 * MIB);
      await inside('late', async (files) => {
        assert.equal((await files.stat('/mine')).size, 4 * MIB);
        assert.equal((await files.stat('/bin/su')).mode & 0o7777, 0o4755);
        await assert.rejects(write(files, '/big', 100 * MIB), FULL);
      });
    });

    test('a copy of a volume with a size is enforced too', async () => {
      await create('sized', 64 * MIB);
      const source = { kind: 'copy', copyOf: volume('sized') } as const;
      await daemon.pools.get('default').create(volume('sized2'), source, { sizeBytes: 96 * MIB, signal });
      await inside('sized2', async (files) => {
        await write(files, '/fits', 70 * MIB);
        await assert.rejects(write(files, '/not', 60 * MIB), FULL);
      });
    });

    test('contents that do not fit into the size fail the creation and leave nothing', async () => {
      await assert.rejects(create('tiny', 1 * MIB), (err) => isFault(err, 'bad_request'));
      assert.equal(await daemon.pools.get('default').exists(volume('tiny')), false);
      assert.deepEqual(readdirSync(join(daemon.paths.pools, 'default', '.new')), []);
    });

    test('a volume is renamed and removed, and both may be asked for again', async () => {
      const pool = daemon.pools.get('default');
      await create('r1', 64 * MIB);
      await pool.rename(volume('r1'), volume('r2'));
      await pool.rename(volume('r1'), volume('r2'));
      assert.equal(await pool.exists(volume('r1')), false);
      await inside('r2', async (files) => assert.equal((await files.stat('/bin')).type, 'directory'));
      await pool.remove(volume('r2'));
      await pool.remove(volume('r2'));
      assert.equal(existsSync(pool.volumePath(volume('r2'))), false);
      assert.deepEqual(readdirSync(join(daemon.paths.pools, 'default', '.trash')), []);
    });

    test('what a crash left half made or half removed is gone after the next start', async () => {
      const root = join(daemon.paths.pools, 'default');
      mkdirSync(join(root, '.new', 'c9.abc', 'data'), { recursive: true });
      mkdirSync(join(root, '.trash', 'c8.abc', 'data'), { recursive: true });
      await daemon.open();
      await until('the leftovers are gone', () =>
        Promise.resolve(
          readdirSync(join(root, '.new')).length + readdirSync(join(root, '.trash')).length === 0,
        ),
      );
      await inside('c1', async (files) => assert.equal((await files.stat('/bin')).type, 'directory'));
    });

    test('the unpacked image stays while an instance needs it and goes with the last', async () => {
      const pool = daemon.pools.get('default');
      await pool.forgetImage(image.fingerprint);
      await inside('c1', async (files) => assert.equal((await files.stat('/bin/su')).size, 2));
      for (const each of await pool.list()) await pool.remove(each);
      assert.deepEqual(await daemon.pools.unpackedImages('default'), []);
    });

    test('a pool in use is not deleted, an empty one leaves nothing', async () => {
      await create('last');
      await assert.rejects(daemon.pools.remove('default'), /The storage pool is currently in use/);
      await daemon.pools.get('default').remove(volume('last'));
      await daemon.pools.remove('default');
      assert.equal(existsSync(join(daemon.paths.pools, 'default')), false);
      assert.equal(existsSync(join(daemon.state, 'disks', 'default.img')), false);
      assert.deepEqual(await daemon.database.tables.pools.all(), []);
      assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(daemon.state));
    });
  });
}

describe('making pools', () => {
  const daemon = new StorageDaemon();
  before(() => daemon.open());
  after(() => daemon.close());

  test('a source directory that is not empty is refused and left alone', async () => {
    const source = mkdtempSync(join(tmpdir(), 'slipway-source-'));
    mkdirSync(join(source, 'images'));
    writeFileSync(join(source, 'images', 'holiday.jpg'), 'precious');
    const request = { name: 'p1', driver: 'dir', description: '', config: { source } };
    await assert.rejects(daemon.pools.create(request), (err) => isFault(err, 'bad_request'));
    assert.equal(readFileSync(join(source, 'images', 'holiday.jpg'), 'utf8'), 'precious');
    assert.deepEqual(await daemon.database.tables.pools.all(), []);
    rmSync(source, { recursive: true });
  });

  test('a pool on a directory of its own keeps its volumes there', async () => {
    const source = mkdtempSync(join(tmpdir(), 'slipway-source-'));
    await daemon.pools.create({ name: 'ext', driver: 'overlay', description: 'd', config: { source } });
    await daemon.pools.get('ext').create(volume('c1'), { kind: 'empty' }, { sizeBytes: null, signal });
    assert.equal(daemon.pools.get('ext').volumePath(volume('c1')), join(source, 'containers', 'c1'));
    assert.ok(statSync(join(source, 'containers', 'c1')).isDirectory());
    await daemon.pools.get('ext').remove(volume('c1'));
    await daemon.pools.remove('ext');
    assert.deepEqual(readdirSync(source), []);
    rmSync(source, { recursive: true });
  });

  test('a pool whose place is gone is told as unavailable, the others work, and it comes back', async () => {
    const source = mkdtempSync(join(tmpdir(), 'slipway-source-'));
    await daemon.pools.create({ name: 'lost', driver: 'dir', description: '', config: { source } });
    await daemon.pools.create({ name: 'fine', driver: 'dir', description: '', config: {} });
    rmSync(source, { recursive: true });
    await daemon.open();
    assert.equal(daemon.pools.record('lost').status, 'Unavailable');
    assert.throws(
      () => daemon.pools.get('lost'),
      (err) => isFault(err, 'unavailable'),
    );
    assert.equal(daemon.pools.get('fine').name, 'fine');
    assert.ok(daemon.warnings.some(({ type }) => type === 'Storage pool unavailable'));
    mkdirSync(source);
    await daemon.pools.retry();
    assert.equal(daemon.pools.record('lost').status, 'Created');
    await daemon.pools.remove('lost');
    await daemon.pools.remove('fine');
    rmSync(source, { recursive: true });
  });

  test('wrong requests are refused with a word about what is wrong', async () => {
    const cases: [string, string, Record<string, string>, RegExp][] = [
      ['', 'dir', {}, /No name provided/],
      ['a/b', 'dir', {}, /pool name/],
      ['..', 'dir', {}, /pool name/],
      ['p', '', {}, /No driver provided/],
      ['p', 'zfs', {}, /not known; use overlay, dir, btrfs/],
      ['p', 'dir', { 'zfs.pool_name': 'x' }, /Invalid option/],
      ['p', 'dir', { size: '5GB' }, /Invalid option/],
      ['p', 'dir', { source: 'relative' }, /storage pool key source/],
      ['p', 'overlay', { source: '/tmp/with:colon' }, /storage pool key source/],
      ['p', 'btrfs', { size: 'huge' }, /storage pool key size/],
      ['p', 'btrfs', { source: '/proc/self' }, /is not empty|not on a btrfs/],
    ];
    for (const [name, driver, config, text] of cases) {
      await assert.rejects(
        daemon.pools.create({ name, driver, description: '', config }),
        (err) => isFault(err, 'bad_request') && text.test(err.message),
        `${name} ${driver} ${JSON.stringify(config)}`,
      );
    }
    assert.deepEqual(daemon.pools.names(), []);
  });

  test('configuration changes that cannot be are refused, others are kept', async () => {
    await daemon.pools.create({ name: 'p', driver: 'dir', description: '', config: {} });
    await assert.rejects(
      daemon.pools.update('p', { config: { source: '/elsewhere' } }, false),
      /cannot be changed/,
    );
    await daemon.pools.update(
      'p',
      { config: { 'user.note': 'hello', 'volume.size': '64MiB' }, description: 'mine' },
      false,
    );
    await daemon.pools.update('p', { config: { 'user.note': '' } }, false);
    const { config, description } = daemon.pools.record('p');
    assert.deepEqual([config['user.note'], config['volume.size'], description], [undefined, '64MiB', 'mine']);
    await daemon.pools.get('p').create(volume('c1'), { kind: 'empty' }, { sizeBytes: null, signal });
    const use = await daemon.pools.volumeUse('p', volume('c1'));
    assert.ok(use !== null && use.total <= 64 * MIB, 'volume.size of the pool is the size of new volumes');
  });
});
