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
import { describe, test } from 'node:test';
import { isFault } from '../../process/fault.ts';
import { makeDescription, makeUnified, squashfs, tar } from '../support/image-archives.ts';
import { imageBench } from '../support/image-bench.ts';

const signal = new AbortController().signal;

describe('images that mean harm', () => {
  const { daemon, scratch, fresh, unpacked, forget, assertNothingLeft } = imageBench();

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
});
