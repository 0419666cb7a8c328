import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { backedQcow2, makeDisk, makeFileSystem, qcow2 } from '../support/disk-images.ts';
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

const ROOT = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709';
const EFI = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';

describe('importing disks', () => {
  const { daemon, scratch, unpacked, forget, assertNothingLeft } = imageBench();
  const at = (name: string): string => join(scratch, name);

  before(() => {
    const root = at('root');
    makeRoot(root);
    writeFileSync(join(root, 'etc/fstab'), 'LABEL=x / ext4 defaults 0 1\ntmpfs /tmp tmpfs defaults 0 0\n');
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'kept', join(root, 'bin/su')]);
    execFileSync('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', join(root, 'home')]);
    execFileSync('setcap', ['cap_net_raw+ep', join(root, 'bin/tool')]);
    execFileSync('mknod', [join(root, 'disk'), 'b', '8', '0']);
    execFileSync('mknod', [join(root, 'dev/sda'), 'b', '8', '0']);
    writeFileSync(join(root, 'holes'), 'start');
    truncateSync(join(root, 'holes'), 50_000_000);
    for (const kind of ['ext4', 'xfs', 'btrfs', 'erofs'] as const) makeFileSystem(kind, at(kind), root);
    makeDisk('gpt', at('gpt'), [
      { type: EFI, sizeMib: 4 },
      { type: ROOT, sizeMib: 16, content: at('ext4') },
    ]);
    makeDisk('dos', at('mbr'), [{ type: '83', sizeMib: 16, content: at('ext4') }]);
    qcow2(at('gpt'), at('gpt.qcow2'), '-c');
    qcow2(at('btrfs'), at('btrfs.qcow2'), '-c', '-o', 'compression_type=zstd');
  });
  const attributes = (path: string): string =>
    execFileSync('getfattr', ['-d', '-m', '-', '--absolute-names', path], { encoding: 'utf8' });

  for (const name of ['ext4', 'xfs', 'btrfs', 'erofs', 'gpt', 'mbr', 'gpt.qcow2', 'btrfs.qcow2']) {
    test(`${name} becomes an image that is described by its os-release`, async () => {
      const fingerprint = await daemon.import(readFileSync(at(name)));
      assert.equal(fingerprint, sha256(at(name)));
      const row = daemon.images.rows.byPrefix('default', fingerprint);
      assert.equal(row.properties['os'], 'testos');
      const tree = await unpacked(fingerprint);
      const root = join(tree, 'rootfs');
      assert.match(readFileSync(join(tree, 'metadata.yaml'), 'utf8'), /os: testos/);
      assert.equal(lstatSync(join(root, 'bin/su')).mode & 0o7777, 0o4755);
      assert.equal(statSync(join(root, 'home/user/file')).uid, 1000);
      assert.equal(statSync(join(root, 'holes')).size, 50_000_000);
      assert.ok(
        !existsSync(join(root, 'disk')) && !existsSync(join(root, 'dev/sda')),
        'device nodes are left out',
      );
      assert.match(readFileSync(join(root, 'etc/fstab'), 'utf8'), /^# LABEL=x .*\ntmpfs/m);
      if (name !== 'xfs') {
        assert.equal(statSync(join(root, 'bin/tool')).ino, statSync(join(root, 'bin/alias')).ino);
        assert.match(attributes(join(root, 'bin/su')), /user\.note="kept"/);
        assert.match(attributes(join(root, 'bin/tool')), /security\.capability/);
        assert.doesNotMatch(attributes(join(root, 'home')), /trusted/);
      }
      await forget(fingerprint);
      assertNothingLeft();
    });
  }

  test('a split image may have a disk for its root', async () => {
    makeDescription(at('about'));
    const body = multipart('bOuNd', [
      { name: 'metadata', filename: 'm', content: readFileSync(tar(at('about.tar'), at('about'))) },
      { name: 'rootfs', filename: 'r', content: readFileSync(at('gpt.qcow2')) },
    ]);
    const fingerprint = await daemon.import(body, 'multipart/form-data; boundary=bOuNd');
    const tree = await unpacked(fingerprint);
    assert.match(readFileSync(join(tree, 'metadata.yaml'), 'utf8'), /an image of the tests/);
    assert.ok(existsSync(join(tree, 'rootfs/etc/hostname')));
    await forget(fingerprint);
    assertNothingLeft();
  });

  test('what cannot be used is refused with a word about what it is, and leaves nothing', async () => {
    const backed = at('backed.qcow2');
    backedQcow2('/etc/shadow', backed);
    execFileSync('qemu-img', ['convert', '-O', 'vmdk', at('gpt'), at('disk.vmdk')]);
    execFileSync('qemu-img', ['convert', '-O', 'vdi', at('gpt'), at('disk.vdi')]);
    execFileSync('qemu-img', ['convert', '-O', 'vhdx', at('gpt'), at('disk.vhdx')]);
    execFileSync('mkfs.erofs', ['-zlz4', at('packed'), at('root')], { stdio: 'ignore' });
    makeDisk('gpt', at('empty'), [{ type: EFI, sizeMib: 4 }]);
    const whole = readFileSync(at('ext4'));
    const broken = Buffer.from(whole);
    broken.fill(0xff, 1024 + 0x60, 1024 + 0x64);
    const cases: readonly (readonly [string, Buffer, RegExp])[] = [
      ['a backing file', readFileSync(backed), /backing file/],
      ['a VMDK', readFileSync(at('disk.vmdk')), /the file is VMDK/],
      ['a VDI', readFileSync(at('disk.vdi')), /the file is VDI/],
      ['a VHDX', readFileSync(at('disk.vhdx')), /the file is VHDX/],
      ['a compressed erofs', readFileSync(at('packed')), /erofs is compressed/],
      ['a disk of nothing', readFileSync(at('empty')), /none of its partitions/],
      ['half a file system', whole.subarray(0, whole.length / 2), /cut short/],
      ['unknown features', broken, /features that are not known/],
      ['half a qcow2', readFileSync(at('gpt.qcow2')).subarray(0, 300_000), /damaged|cut short|neither/],
    ];
    for (const [name, body, words] of cases) {
      await assert.rejects(daemon.import(body), words, name);
      assertNothingLeft();
    }
  });

  test('images.max_unpacked_size holds for every form', async () => {
    makeUnified(at('unified'));
    const noise = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * i * 7 + (i >>> 3)) & 0xff));
    writeFileSync(join(at('unified'), 'rootfs/noise'), noise);
    execFileSync('cp', ['-a', join(at('unified'), 'rootfs'), at('noisy')]);
    const forms = [
      tar(at('big.tar'), at('unified')),
      tar(at('big.tar.zst'), at('unified'), ['--zstd']),
      squashfs(at('big.squashfs'), at('unified')),
      makeFileSystem('ext4', at('big.ext4'), at('noisy')),
      qcow2(at('big.ext4'), at('big.qcow2'), '-c'),
    ];
    daemon.maxUnpackedBytes = 50_000;
    try {
      for (const file of forms) {
        await assert.rejects(daemon.import(readFileSync(file)), /unpacks to more than/, file);
        assertNothingLeft();
      }
      daemon.maxUnpackedBytes = 200_000;
      for (const file of forms) await forget(await daemon.import(readFileSync(file)));
    } finally {
      daemon.maxUnpackedBytes = 64 * 2 ** 30;
    }
  });
});
