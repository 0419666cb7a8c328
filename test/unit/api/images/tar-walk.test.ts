import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { TarWalk } from '../../../../api/images/tar-walk.ts';
import type { TarEntry } from '../../../../api/images/tar-walk.ts';
import { Fault } from '../../../../process/fault.ts';

let directory = '';
const LONG = 'n'.repeat(150);

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'slipway-walk-'));
  const tree = join(directory, 'tree');
  mkdirSync(join(tree, LONG, LONG), { recursive: true });
  writeFileSync(join(tree, LONG, LONG, 'deep'), 'deep contents');
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, 'ünïcode'), 'u');
  writeFileSync(join(tree, 'wanted'), 'wanted contents');
  writeFileSync(join(tree, 'block'), Buffer.alloc(1024, 1));
  writeFileSync(join(tree, 'sparse'), '');
  truncateSync(join(tree, 'sparse'), 50_000_000);
  symlinkSync(LONG.repeat(2), join(tree, 'link'));
});
after(() => {
  rmSync(directory, { recursive: true, force: true });
});

function archive(...options: string[]): Buffer {
  const file = join(directory, 'a.tar');
  execFileSync('tar', [...options, '-cf', file, '-C', join(directory, 'tree'), '.']);
  return readFileSync(file);
}

function walk(bytes: Buffer, chunkSize: number): { entries: TarEntry[]; contents: Map<string, string> } {
  const entries: TarEntry[] = [];
  const contents = new Map<string, string>();
  const walker = new TarWalk({
    onEntry: (entry) => {
      entries.push(entry);
      return entry.name === 'wanted' || entry.name.endsWith('deep');
    },
    onContent: (entry, content) => contents.set(entry.name, content.toString()),
  });
  for (let at = 0; at < bytes.length; at += chunkSize) walker.push(bytes.subarray(at, at + chunkSize));
  walker.end();
  return { entries, contents };
}

for (const format of ['gnu', 'pax', 'posix']) {
  for (const sparse of [[], ['--sparse']]) {
    test(`all names and sizes of an archive are seen: ${format} ${sparse.join('')}`, () => {
      const bytes = archive(`--format=${format}`, ...sparse);
      for (const chunkSize of [bytes.length, 512, 100, 65_536]) {
        const { entries, contents } = walk(bytes, chunkSize);
        const names = entries.map(({ name }) => name).sort();
        const wanted = ['', LONG, `${LONG}/${LONG}`, `${LONG}/${LONG}/deep`];
        for (const name of [...wanted, 'empty', 'ünïcode', 'wanted', 'block', 'sparse', 'link']) {
          assert.ok(names.includes(name), `${name} in chunks of ${String(chunkSize)}: ${names.join()}`);
        }
        assert.equal(names.length, 10);
        assert.equal(contents.get('wanted'), 'wanted contents');
        assert.equal(contents.get(`${LONG}/${LONG}/deep`), 'deep contents');
      }
    });
  }
}

test('an archive that ends anywhere before its end is cut short', () => {
  const bytes = archive('--format=gnu');
  // The padding after the two blocks of zeros may be missing.
  const end = bytes.length - 20_480;
  for (let at = 0; at < end; at += 511) {
    assert.throws(
      () => walk(bytes.subarray(0, at), 4096),
      (err) => err instanceof Fault && err.code === 'bad_request',
      String(at),
    );
  }
});

test('no damage makes anything but a Fault', () => {
  const good = archive('--format=pax', '--sparse');
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed % below;
  };
  for (let round = 0; round < 2000; round += 1) {
    const bytes = Buffer.from(good.subarray(0, 16_384));
    for (let i = 0; i < 4; i += 1) bytes[random(bytes.length)] = random(256);
    // A header whose checksum is right again gets further.
    fixChecksums(bytes);
    try {
      walk(bytes, 1000);
    } catch (err) {
      assert.ok(err instanceof Fault, String(err));
    }
  }
});

function fixChecksums(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
}
