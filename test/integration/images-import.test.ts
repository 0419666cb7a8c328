import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import {
  makeDescription,
  makeRoot,
  makeUnified,
  multipart,
  sha256,
  squashfs,
  tar,
} from '../support/image-archives.ts';
import { imageBench } from '../support/image-bench.ts';
import { NO_WISHES, REQUESTOR, volume } from '../support/storage-daemon.ts';

const signal = new AbortController().signal;
const HIDDEN = /^\.upload/;

describe('importing images', () => {
  const { daemon, scratch, fresh, unpacked, forget, assertNothingLeft } = imageBench();

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

  test('projects that have the same image share its files until the last one deletes it', async () => {
    const source = fresh('shared');
    makeUnified(source);
    const body = readFileSync(tar(join(scratch, 's.tar'), source));
    const fingerprint = await daemon.import(body);
    const received = await daemon.images.receive(Readable.from([body]), undefined);
    const operation = daemon.images.import('p1', received, NO_WISHES, REQUESTOR);
    await operation.finished;
    assert.equal(operation.render()['err'], '');
    await unpacked(fingerprint);
    await forget(fingerprint);
    const found = await daemon.images.find({ project: 'p1', fingerprint });
    assert.ok(existsSync(found.path));
    assertGoodTree(join(daemon.paths.pools, 'default', 'images', fingerprint));
    await daemon.images.remove(found.row, REQUESTOR).finished;
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
      await new Promise((resolve) => setTimeout(resolve, 10));
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
