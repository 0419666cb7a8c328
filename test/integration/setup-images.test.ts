/** What the images made by `slipway up` hold. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { buildDebianImage } from '../../api/setup/debian-image.ts';
import { isFault } from '../../process/fault.ts';
import { systemImage, tinyImage } from '../support/system-images.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'images-'));
});
after(() => {
  rmSync(folder, { recursive: true });
});

function list(file: string): string[] {
  return execFileSync('tar', ['-tf', file], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }).split('\n');
}

function content(file: string, path: string): string {
  return execFileSync('tar', ['-xOf', file, path], { encoding: 'utf8' });
}

interface Metadata {
  readonly architecture: string;
  readonly creation_date: number;
  readonly properties: Readonly<Record<string, string>>;
  readonly templates: Readonly<
    Record<string, { readonly template: string; readonly when: readonly string[] }>
  >;
}

function checkAbout(file: string): Metadata {
  const metadata = parse(content(file, 'metadata.yaml')) as Metadata;
  assert.ok(metadata.creation_date > 1_000_000_000);
  assert.ok(metadata.architecture.length > 0);
  for (const path of ['/etc/hostname', '/etc/hosts']) {
    const template = metadata.templates[path];
    assert.ok(template !== undefined && template.when.includes('create'), path);
    assert.match(content(file, `templates/${template.template}`), /\{\{ container\.name \}\}/);
  }
  return metadata;
}

test('the busybox image is the same for the same busybox, and whole', async () => {
  const file = await tinyImage(folder);
  const first = readFileSync(file);
  assert.deepEqual(readFileSync(await tinyImage(folder)), first);
  const names = list(file);
  for (const path of [
    'bin/busybox',
    'bin/sh',
    'sbin/init',
    'sbin/udhcpc',
    'etc/inittab',
    'etc/udhcpc.script',
    'proc/',
  ]) {
    assert.ok(names.includes(`rootfs/${path}`), path);
  }
  assert.equal(checkAbout(file).properties['os'], 'BusyBox');
});

for (const suite of ['bookworm', 'trixie']) {
  test(`the image of ${suite} boots systemd, asks for an address, and keeps nothing of this host`, async () => {
    const file = await systemImage(suite);
    const names = new Set(list(file));
    for (const path of [
      'sbin/init',
      'usr/lib/systemd/systemd',
      'etc/systemd/network/50-eth.network',
      'etc/systemd/system/multi-user.target.wants/systemd-networkd.service',
      'usr/share/doc/systemd/copyright',
    ]) {
      assert.ok(names.has(`rootfs/${path}`) || names.has(`rootfs/usr/${path}`), path);
    }
    assert.equal(
      [...names].some((name) => /^rootfs\/dev\/.|^rootfs\/var\/lib\/apt\/lists\/.*_Packages/.test(name)),
      false,
    );
    assert.equal(
      [...names].some((name) => name.startsWith('rootfs/usr/share/man/man')),
      false,
    );
    assert.equal(content(file, 'rootfs/etc/machine-id'), '');
    assert.equal(checkAbout(file).properties['release'], suite);
  });
}

test('a release that the mirror does not have is refused before anything is made', async () => {
  const dir = join(folder, 'none');
  await assert.rejects(
    buildDebianImage(dir, { suite: 'no-such-release' }),
    (err: unknown) => isFault(err, 'unavailable') && err.message.includes('--image'),
  );
  assert.throws(() => readdirSync(dir), /ENOENT/);
});

test('an image that is given up in the middle leaves nothing behind', async () => {
  const stop = new AbortController();
  const dir = join(folder, 'stopped');
  await assert.rejects(
    buildDebianImage(dir, {
      signal: stop.signal,
      onDetail: (text) => {
        if (text.includes('downloading')) stop.abort(new Error('interrupted'));
      },
    }),
    /interrupted/,
  );
  assert.deepEqual(readdirSync(dir), []);
});
