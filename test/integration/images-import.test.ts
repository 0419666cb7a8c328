import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isFault } from '../../process/fault.ts';
import {
  makeDescription,
  makeRoot,
  makeUnified,
  multipart,
  sha256,
  squashfs,
  tar,
} from '../support/image-archives.ts';
import { StorageDaemon, volume } from '../support/storage-daemon.ts';

const signal = new AbortController().signal;
const HIDDEN = /^\.upload/;

describe('importing images', () => {
  const daemon = new StorageDaemon();
  const scratch = join(daemon.state, 'scratch');

  before(async () => {
    await daemon.open();
    await daemon.pools.create({ name: 'default', driver: 'overlay', description: '', config: {} });
    mkdirSync(scratch);
  });
  after(() => daemon.close());

  const fresh = (name: string): string => {
    const path = join(scratch, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  /** Unpacks an image and gives the path of its tree. */
  const unpacked = async (fingerprint: string): Promise<string> => {
    const image = await daemon.images.find({ project: 'default', fingerprint });
    await daemon.pools.get('default').prepareImage(image, { sizeBytes: null, signal });
    return join(daemon.paths.pools, 'default', 'images', fingerprint);
  };
  const forget = async (fingerprint: string): Promise<void> => {
    const row = daemon.images.rows.byPrefix('default', fingerprint);
    await daemon.images.remove(row, { username: 'root', protocol: 'unix', address: '@' }).finished;
  };
  const assertNothingLeft = (): void => {
    assert.deepEqual(readdirSync(daemon.paths.images), []);
    assert.deepEqual(daemon.images.rows.all(), []);
    assert.deepEqual(readdirSync(join(daemon.paths.pools, 'default', '.new')), []);
  };

  const COMPRESSIONS = [[], ['--gzip'], ['--bzip2'], ['--xz'], ['--lzma'], ['--zstd']];
  for (const option of COMPRESSIONS) {
    test(`a unified tar is an image: ${option[0] ?? 'not compressed'}`, async () => {
      const source = fresh(`unified${option[0] ?? ''}`);
      makeUnified(source);
      const file = tar(join(scratch, 'unified.tar'), source, option);
      const fingerprint = await daemon.import(readFileSync(file));
      assert.equal(fingerprint, sha256(file));
      const row = daemon.images.rows.byPrefix('default', fingerprint);
      assert.deepEqual(row.properties, { os: 'test', release: '12', description: 'an image of the tests' });
      assert.equal(row.createdAt, '2023-11-14T22:13:20.000Z');
      assert.equal(row.form, 'unified');
      assertGoodTree(await unpacked(fingerprint));
      await forget(fingerprint);
      assert.equal(existsSync(join(daemon.paths.pools, 'default', 'images', fingerprint)), false);
      assertNothingLeft();
    });
  }

  for (const kind of ['squashfs', 'tar'] as const) {
    test(`a split image with a ${kind} root has the fingerprint of both parts together`, async () => {
      const description = fresh(`meta-${kind}`);
      makeDescription(description);
      const root = fresh(`root-${kind}`);
      makeRoot(root);
      const meta = tar(join(scratch, 'meta.tar.xz'), description, ['--xz']);
      const rootfs =
        kind === 'squashfs' ? squashfs(join(scratch, 'r.squashfs'), root) : tar(join(scratch, 'r.tar'), root);
      const body = multipart('bOuNd', [
        { name: 'metadata', filename: 'meta.tar.xz', content: readFileSync(meta) },
        { name: 'rootfs', filename: 'r', content: readFileSync(rootfs) },
      ]);
      const fingerprint = await daemon.import(body, 'multipart/form-data; boundary=bOuNd');
      assert.equal(fingerprint, sha256(meta, rootfs));
      assert.equal(daemon.images.rows.byPrefix('default', fingerprint).form, 'split');
      assertGoodTree(await unpacked(fingerprint));
      await forget(fingerprint);
      assertNothingLeft();
    });
  }

  test('a unified squashfs is an image', async () => {
    const source = fresh('unified-squashfs');
    makeUnified(source);
    const fingerprint = await daemon.import(readFileSync(squashfs(join(scratch, 'u.squashfs'), source)));
    assertGoodTree(await unpacked(fingerprint));
    await forget(fingerprint);
  });

  for (const kind of ['squashfs', 'tar'] as const) {
    test(`a bare root file system is given a description: ${kind}`, async () => {
      const root = fresh(`bare-${kind}`);
      makeRoot(root);
      const file =
        kind === 'squashfs'
          ? squashfs(join(scratch, 'b.squashfs'), root)
          : tar(join(scratch, 'b.tar'), root, ['--gzip']);
      const fingerprint = await daemon.import(readFileSync(file));
      assert.equal(fingerprint, sha256(file));
      const row = daemon.images.rows.byPrefix('default', fingerprint);
      assert.deepEqual(row.properties, {
        os: 'testos',
        release: '1',
        version: '1',
        description: 'Test OS 1',
      });
      const tree = await unpacked(fingerprint);
      assert.match(readFileSync(join(tree, 'metadata.yaml'), 'utf8'), /os: testos/);
      assert.equal(lstatSync(join(tree, 'rootfs/bin/su')).mode & 0o7777, 0o4755);
      await forget(fingerprint);
    });
  }

  test('the same image twice is refused, and the first one stays whole', async () => {
    const source = fresh('twice');
    makeUnified(source);
    const body = readFileSync(tar(join(scratch, 't.tar'), source));
    const fingerprint = await daemon.import(body);
    await assert.rejects(daemon.import(body), /Image with same fingerprint already exists/);
    assertGoodTree(await unpacked(fingerprint));
    await forget(fingerprint);
    assertNothingLeft();
  });

  test('a fingerprint that was promised is checked', async () => {
    const source = fresh('promised');
    makeUnified(source);
    const body = readFileSync(tar(join(scratch, 'p.tar'), source));
    await assert.rejects(
      daemon.import(body, undefined, { fingerprint: 'a'.repeat(64) }),
      /fingerprints don't match/,
    );
    assertNothingLeft();
  });

  test('bodies that are no image fail with a word about what they are, and leave nothing', async () => {
    const source = fresh('broken');
    makeUnified(source);
    writeFileSync(
      join(source, 'rootfs', 'noise'),
      Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251)),
    );
    const plain = readFileSync(tar(join(scratch, 'x.tar'), source));
    const zstd = readFileSync(tar(join(scratch, 'x.tar.zst'), source, ['--zstd']));
    const gzip = readFileSync(tar(join(scratch, 'x.tar.gz'), source, ['--gzip']));
    const sqsh = readFileSync(squashfs(join(scratch, 'x.squashfs'), source));
    const onlyMeta = fresh('only-meta');
    makeDescription(onlyMeta);
    const flipped = Buffer.from(gzip);
    flipped.fill(0x55, Math.floor(gzip.length / 2), Math.floor(gzip.length / 2) + 64);
    const big = fresh('big-meta');
    makeRoot(join(big, 'rootfs'));
    writeFileSync(join(big, 'metadata.yaml'), 'x'.repeat(3_000_000));
    const badYaml = fresh('bad-yaml');
    makeRoot(join(badYaml, 'rootfs'));
    writeFileSync(join(badYaml, 'metadata.yaml'), 'architecture: [');
    const alien = fresh('alien');
    makeRoot(join(alien, 'rootfs'));
    writeFileSync(join(alien, 'metadata.yaml'), 'architecture: pdp11\n');
    const cases: [string, Buffer, RegExp][] = [
      ['empty', Buffer.alloc(0), /neither a tar archive nor a squashfs/],
      ['text', Buffer.from('hello'), /neither a tar archive nor a squashfs/],
      ['zeros', Buffer.alloc(100_000), /neither a tar archive nor a squashfs/],
      ['cut tar', plain.subarray(0, plain.length - 20_480), /cut short/],
      ['cut in a header', plain.subarray(0, 700), /cut short/],
      ['cut zstd', zstd.subarray(0, zstd.length / 2), /damaged or cut short/],
      ['cut gzip', gzip.subarray(0, gzip.length / 2), /damaged or cut short/],
      ['flipped gzip', flipped, /damaged/],
      ['cut squashfs', sqsh.subarray(0, sqsh.length / 2), /cut short/],
      ['gzip of text', execFileSync('gzip', { input: 'hello '.repeat(1000) }), /no tar at all/],
      ['metadata alone', readFileSync(tar(join(scratch, 'm.tar'), onlyMeta)), /no rootfs/],
      ['qcow2', Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(600)]), /qcow2/],
      ['huge metadata', readFileSync(tar(join(scratch, 'h.tar'), big)), /larger than 1 MiB/],
      ['bad yaml', readFileSync(tar(join(scratch, 'y.tar'), badYaml)), /not YAML/],
      ['alien', readFileSync(tar(join(scratch, 'a.tar'), alien)), /architecture "pdp11" is not known/],
    ];
    for (const [name, body, text] of cases) {
      await assert.rejects(daemon.import(body), text, name);
      assertNothingLeft();
    }
    const halves: [string, Buffer, RegExp][] = [
      ['only one part', multipart('b', [{ name: 'metadata', filename: 'm', content: plain }]), /two parts/],
      ['wrong order', multipart('b', [{ name: 'rootfs', filename: 'm', content: plain }]), /not expected/],
      [
        'a disk',
        multipart('b', [
          { name: 'metadata', filename: 'm', content: plain },
          { name: 'rootfs.img', filename: 'r', content: plain },
        ]),
        /virtual machine/,
      ],
      [
        'cut',
        multipart('b', [{ name: 'metadata', filename: 'm', content: plain }]).subarray(0, 5000),
        /cut short/,
      ],
    ];
    for (const [name, body, text] of halves) {
      await assert.rejects(daemon.import(body, 'multipart/form-data; boundary=b'), text, name);
      assertNothingLeft();
    }
  });

  test('nothing of a hostile archive gets out of its tree, and no device or link of it is believed', async () => {
    const outside = fresh('outside');
    writeFileSync(join(outside, 'secret'), 'secret');
    const evil = fresh('evil');
    makeUnified(evil);
    execFileSync('mknod', [join(evil, 'rootfs/disk'), 'b', '7', '0']);
    execFileSync('mknod', [join(evil, 'rootfs/dev/null'), 'c', '1', '3']);
    execFileSync('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', join(evil, 'rootfs/home')]);
    execFileSync('setcap', ['cap_net_raw+ep', join(evil, 'rootfs/bin/tool')]);
    symlinkSync(outside, join(evil, 'rootfs/out'));
    symlinkSync('/etc/shadow', join(evil, 'templates/shadow.tpl'));
    symlinkSync(outside, join(evil, 'junk'));
    const file = join(scratch, 'evil.tar');
    tar(file, evil, ['--xattrs-include=*']);
    // Members that name a place through the link, above the top, and from the root.
    const more = fresh('more');
    writeFileSync(join(more, 'w'), 'written');
    for (const name of ['rootfs/out/w', `../../../../../..${outside}/w2`, `${outside}/w3`]) {
      execFileSync('tar', ['-rPf', file, '-C', more, `--transform=s,^w$,${name},`, 'w']);
    }
    const fingerprint = await daemon.import(readFileSync(file));
    await unpacked(fingerprint).catch(() => undefined);
    assert.deepEqual(readdirSync(outside), ['secret']);
    rmSync(join(scratch, 'evil2'), { recursive: true, force: true });
    await forget(fingerprint);
    const clean = await daemon.import(readFileSync(tar(file, evil, ['--xattrs-include=*'])));
    const tree = await unpacked(clean);
    assert.equal(existsSync(join(tree, 'rootfs/disk')), false);
    assert.deepEqual(readdirSync(join(tree, 'rootfs/dev')), []);
    assert.deepEqual(readdirSync(join(tree, 'templates')), ['hostname.tpl']);
    assert.deepEqual(readdirSync(tree).sort(), ['metadata.yaml', 'rootfs', 'templates']);
    const marks = execFileSync('getfattr', ['-d', '-m-', join(tree, 'rootfs/home')], { encoding: 'utf8' });
    assert.doesNotMatch(marks, /trusted/);
    assert.match(
      execFileSync('getcap', [join(tree, 'rootfs/bin/tool')], { encoding: 'utf8' }),
      /cap_net_raw/,
    );
    await forget(clean);
    assertNothingLeft();
  });

  test('a rootfs, a description or templates that are links are refused or dropped', async () => {
    const outside = fresh('outside2');
    mkdirSync(join(outside, 'etc'));
    const linked = fresh('linked');
    makeDescription(linked);
    symlinkSync(outside, join(linked, 'rootfs'));
    const withEntry = tar(join(scratch, 'l.tar'), linked);
    await assert.rejects(daemon.import(readFileSync(withEntry)), /no rootfs/);
    const described = fresh('described');
    makeUnified(described);
    rmSync(join(described, 'templates'), { recursive: true });
    symlinkSync('/etc', join(described, 'templates'));
    linkSync(join(described, 'metadata.yaml'), join(described, 'rootfs/same'));
    const fingerprint = await daemon.import(
      readFileSync(tar(join(scratch, 'd.tar'), described, [], ['metadata.yaml', 'rootfs', 'templates'])),
    );
    const tree = await unpacked(fingerprint);
    assert.ok(lstatSync(join(tree, 'templates')).isDirectory());
    assert.deepEqual(readdirSync(join(tree, 'templates')), []);
    assert.equal(lstatSync(join(tree, 'metadata.yaml')).nlink, 1);
    await forget(fingerprint);
    const squashed = await daemon.import(readFileSync(squashfs(join(scratch, 'l.squashfs'), linked)));
    await assert.rejects(unpacked(squashed), /no root file system/);
    await forget(squashed);
    assertNothingLeft();
  });

  test('an image whose file has vanished is a clear error, and others go on', async () => {
    const source = fresh('vanishing');
    makeUnified(source);
    const fingerprint = await daemon.import(readFileSync(tar(join(scratch, 'v.tar'), source)));
    await unpacked(fingerprint);
    rmSync(join(daemon.paths.images, fingerprint));
    await assert.rejects(
      daemon.images.find({ project: 'default', fingerprint }),
      /is missing; delete the image/,
    );
    await forget(fingerprint);
    assertNothingLeft();
  });

  test('start-up removes half uploads, files and unpacked trees that no image knows', async () => {
    const source = fresh('restart');
    makeUnified(source);
    const fingerprint = await daemon.import(readFileSync(tar(join(scratch, 'r.tar'), source)));
    await unpacked(fingerprint);
    writeFileSync(join(daemon.paths.images, '.upload-abc'), 'half');
    writeFileSync(join(daemon.paths.images, 'c'.repeat(64)), 'orphan');
    mkdirSync(join(daemon.paths.pools, 'default', 'images', 'd'.repeat(64)));
    await daemon.open();
    assert.deepEqual(readdirSync(daemon.paths.images), [fingerprint]);
    assert.deepEqual(await daemon.pools.unpackedImages('default'), [fingerprint]);
    assert.equal(daemon.images.rows.byPrefix('default', fingerprint.slice(0, 12)).fingerprint, fingerprint);
    await forget(fingerprint);
  });

  test('an unpacked image that was not on disk when the power failed is unpacked again', async () => {
    const source = fresh('torn');
    makeUnified(source);
    const fingerprint = await daemon.import(readFileSync(tar(join(scratch, 'q.tar'), source)));
    const image = await daemon.images.find({ project: 'default', fingerprint });
    const pool = daemon.pools.get('default');
    await pool.create(volume('torn'), { kind: 'image', image }, { sizeBytes: null, signal });
    const tree = join(daemon.paths.pools, 'default', 'images', fingerprint);
    // The mark of this boot goes when the disk has everything; a busy disk takes its time.
    const deadline = Date.now() + 120_000;
    while (existsSync(`${tree}.unsynced`)) {
      assert.ok(Date.now() < deadline, 'the tree was never synced');
      await new Promise((resolve) => setImmediate(resolve));
    }
    writeFileSync(join(tree, 'rootfs/etc/hostname'), '');
    writeFileSync(`${tree}.unsynced`, 'the id of an earlier boot');
    await daemon.open();
    await unpacked(fingerprint);
    assert.equal(readFileSync(join(tree, 'rootfs/etc/hostname'), 'utf8'), 'image\n');
    assert.ok((await daemon.pools.get('default').rootSteps(volume('torn'), [])).length > 0);
    await daemon.pools.get('default').remove(volume('torn'));
    await forget(fingerprint);
    assertNothingLeft();
  });

  test('a bomb is refused by what its headers say, before it is read', async () => {
    const header = Buffer.alloc(512);
    header.write('rootfs/zeros', 0);
    header.write('0000644\u00000000000\u00000000000\u0000', 100);
    header.writeBigUInt64BE(2n ** 40n, 128);
    header[124] = 0x80;
    header.write('        0', 148);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    await assert.rejects(daemon.import(Buffer.concat([header, Buffer.alloc(5120)])), /unpacks to more than/);
    assertNothingLeft();
  });

  test('an image that fills the pool while it is unpacked stops in time and leaves nothing', async () => {
    const small = fresh('small');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m,mode=0711', 'small', small]);
    try {
      await daemon.pools.create({
        name: 'small',
        driver: 'overlay',
        description: '',
        config: { source: small },
      });
      const source = fresh('large');
      makeUnified(source);
      for (let i = 0; i < 20; i += 1)
        writeFileSync(join(source, `rootfs/f${String(i)}`), Buffer.alloc(8 * 2 ** 20, i));
      const fingerprint = await daemon.import(readFileSync(tar(join(scratch, 'large.tar'), source)));
      const image = await daemon.images.find({ project: 'default', fingerprint });
      const preparing = daemon.pools.get('small').prepareImage(image, { sizeBytes: null, signal });
      await assert.rejects(preparing, (err) => isFault(err, 'storage_full'));
      assert.deepEqual(readdirSync(join(small, '.new')), []);
      assert.deepEqual(await daemon.pools.unpackedImages('small'), []);
      await forget(fingerprint);
      await daemon.pools.remove('small');
    } finally {
      execFileSync('umount', [small]);
    }
  });

  test('a database that refuses the row leaves no file', async () => {
    const source = fresh('refused');
    makeUnified(source);
    const body = readFileSync(tar(join(scratch, 'f.tar'), source));
    const { Fault } = await import('../../process/fault.ts');
    daemon.database.failWritesWith(new Fault('internal', 'disk of the database is full'));
    await assert.rejects(daemon.import(body), /internal|disk of the database/);
    daemon.database.failWritesWith(null);
    assertNothingLeft();
    assert.ok(readdirSync(daemon.paths.images).every((name) => !HIDDEN.test(name)));
  });
});

function assertGoodTree(tree: string): void {
  assert.match(readFileSync(join(tree, 'metadata.yaml'), 'utf8'), /creation_date: 1700000000/);
  assert.equal(readFileSync(join(tree, 'templates/hostname.tpl'), 'utf8'), '{{ container.name }}\n');
  const root = join(tree, 'rootfs');
  assert.equal(lstatSync(join(root, 'bin/su')).mode & 0o7777, 0o4755);
  assert.equal(lstatSync(join(root, 'home/user/file')).uid, 1000);
  assert.equal(lstatSync(join(root, 'bin/tool')).ino, lstatSync(join(root, 'bin/alias')).ino);
}
