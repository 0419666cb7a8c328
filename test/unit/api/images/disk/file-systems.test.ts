import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { FileSystem, Inode } from '../../../../../api/images/disk/file-system.ts';
import { findRoot } from '../../../../../api/images/disk/find-root.ts';
import { FileSource, assertInside } from '../../../../../api/images/disk/source.ts';
import type { Source } from '../../../../../api/images/disk/source.ts';
import { lookUp, walkTree } from '../../../../../api/images/disk/walk.ts';
import { isFault } from '../../../../../process/fault.ts';
import { cut, makeDisk, makeFileSystem, patched } from '../../../../support/disk-images.ts';
import type { FileSystemName } from '../../../../support/disk-images.ts';
import { makeRoot } from '../../../../support/image-archives.ts';
import { Random } from '../../../../support/random.ts';

const ALL: readonly FileSystemName[] = ['ext2', 'ext4', 'xfs', 'btrfs', 'erofs'];
const NO_LIMITS = { bytes: Infinity, entries: Infinity };
const folder = mkdtempSync(join(tmpdir(), 'slipway-disks-'));
const at = (name: string): string => join(folder, name);
const NOISE = Buffer.from(Array.from({ length: 700_000 }, (_, i) => (i * i * 7 + (i >>> 5)) & 0xff));

function withRoot<T>(file: string, look: (system: FileSystem, osRelease: string | null) => T): T {
  const fd = openSync(file, 'r');
  try {
    const { system, osRelease } = findRoot(new FileSource(fd, statSync(file).size), 'x64');
    return look(system, osRelease);
  } finally {
    closeSync(fd);
  }
}

function read(system: FileSystem, inode: Inode): Buffer {
  const out = Buffer.alloc(inode.size);
  for (const run of system.runs(inode)) run.read(0, run.length).copy(out, run.at);
  return out;
}

function inMemory(disk: Buffer): Source {
  const source: Source = {
    size: disk.length,
    read: (from, length) => {
      assertInside(source, from, length);
      return Buffer.from(disk.subarray(from, from + length));
    },
  };
  return source;
}

describe('file systems of disks', () => {
  before(() => {
    const root = at('root');
    makeRoot(root);
    mkdirSync(join(root, 'many'));
    for (let i = 0; i < 400; i += 1)
      writeFileSync(join(root, 'many', `a-file-with-a-longer-name-${String(i)}`), '');
    writeFileSync(join(root, 'noise'), NOISE);
    symlinkSync('x/'.repeat(150), join(root, 'far'));
    for (const kind of ALL) makeFileSystem(kind, at(kind), root);
    const empty = at('nothing');
    mkdirSync(empty);
    writeFileSync(join(empty, 'data'), 'no system');
    makeFileSystem('ext4', at('data.ext4'), empty);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  for (const kind of ALL) {
    test(`${kind}: contents, links, modes, owners and times are those that were put in`, () => {
      withRoot(at(kind), (system, osRelease) => {
        assert.match(String(osRelease), /ID=testos/);
        const found = (path: string): Inode => {
          const inode = lookUp(system, path);
          assert.ok(inode !== null, path);
          return inode;
        };
        assert.ok(read(system, found('noise')).equals(NOISE));
        assert.equal(system.target(found('etc/os-release')), '../usr/lib/os-release');
        assert.equal(system.target(found('far')), 'x/'.repeat(150));
        assert.equal(found('bin/su').mode, 0o4755);
        assert.equal(found('home/user/file').uid, 1000);
        assert.equal([...system.entries(found('many'))].length, 400);
        if (kind === 'xfs') return;
        assert.equal(found('bin/tool').id, found('bin/alias').id);
        assert.equal(found('noise').mtimeS, Math.floor(statSync(join(at('root'), 'noise')).mtimeMs / 1000));
      });
    });

    test(`${kind}: one that is cut short is refused`, () => {
      const short = cut(at(kind), at('short'), Math.floor(statSync(at(kind)).size * 0.6));
      assert.throws(
        () => withRoot(short, (system) => walkTree(system, NO_LIMITS, null)),
        (err) => isFault(err, 'bad_request') || err instanceof RangeError,
      );
    });

    test(`${kind}: limits of bytes and of files are kept`, () => {
      withRoot(at(kind), (system) => {
        const { bytes, entries } = walkTree(system, NO_LIMITS, null);
        assert.ok(bytes >= NOISE.length && entries > 400);
        assert.throws(
          () => walkTree(system, { bytes: NOISE.length - 1, entries }, null),
          /unpacks to more than/,
        );
        assert.throws(() => walkTree(system, { bytes, entries: entries - 1 }, null), /unpacks to more than/);
      });
    });

    test(`${kind}: whatever bytes are changed, the worst is a Fault`, () => {
      const seed = 20_260_101;
      const random = new Random(seed);
      const whole = readFileSync(at(kind));
      // Where something stands; the rest of a disk is zeros.
      const used: number[] = [];
      for (let block = 0; block < whole.length; block += 512) {
        if (!whole.subarray(block, block + 512).equals(Buffer.alloc(512))) used.push(block);
      }
      for (let round = 0; round < 150; round += 1) {
        const place = random.pick(used) + random.below(500);
        const before = Buffer.from(whole.subarray(place, place + 8));
        random.bytes(1 + random.below(8)).copy(whole, place);
        try {
          const { system } = findRoot(inMemory(whole), 'x64');
          walkTree(system, { bytes: 2 ** 30, entries: 100_000 }, null);
        } catch (err) {
          const isExpected = isFault(err, 'bad_request') || err instanceof RangeError;
          assert.ok(isExpected, `seed ${String(seed)}, round ${String(round)}: ${String(err)}`);
        }
        before.copy(whole, place);
      }
    });
  }

  test('of several partitions the root is the one of the right type, or the one with a system', () => {
    const LINUX = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
    const ROOT = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709';
    const EFI = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';
    const data = { type: LINUX, sizeMib: 17, content: at('data.ext4') };
    const system = { type: LINUX, sizeMib: 16, content: at('ext4') };
    for (const [name, disk] of [
      ['by its contents', makeDisk('gpt', at('one'), [{ type: EFI, sizeMib: 4 }, data, system])],
      [
        'by its type',
        makeDisk('gpt', at('two'), [
          { ...system, content: at('ext2') },
          { ...system, type: ROOT },
        ]),
      ],
      [
        'in an MBR',
        makeDisk('dos', at('three'), [
          { type: 'c', sizeMib: 4 },
          { ...data, type: '83' },
          { ...system, type: '83' },
        ]),
      ],
    ] as const) {
      withRoot(disk, (found, osRelease) => {
        assert.match(String(osRelease), /ID=testos/, name);
        if (name === 'by its type')
          assert.notEqual(read(found, lookUp(found, 'noise') ?? found.root).length, 0);
      });
    }
  });

  test('logical partitions are found, and a chain that goes in circles ends', () => {
    const disk = at('logical');
    makeDisk('dos', disk, [{ type: '83', sizeMib: 2 }]);
    execFileSync('truncate', ['-s', '32M', disk]);
    const lines = [
      'label: dos',
      'start=2048, size=4096, type=83',
      'start=8192, type=5',
      'start=10240, size=32768, type=83',
    ];
    execFileSync('sfdisk', ['--quiet', disk], { input: `${lines.join('\n')}\n` });
    execFileSync('dd', [
      `if=${at('ext4')}`,
      `of=${disk}`,
      'bs=512',
      'seek=10240',
      'conv=notrunc',
      'status=none',
    ]);
    withRoot(disk, (_, osRelease) => {
      assert.match(String(osRelease), /ID=testos/);
    });
    // The second entry of the chain's first link points at the link itself.
    const entry = Buffer.from([0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
    const circle = patched(disk, at('circle'), 8192 * 512 + 446 + 16, entry);
    withRoot(circle, (_, osRelease) => {
      assert.match(String(osRelease), /ID=testos/);
    });
  });

  test('a disk without a system says what is on it', () => {
    const disk = makeDisk('gpt', at('no-system'), [
      { type: '0FC63DAF-8483-4772-8E79-3D69D8477DE4', sizeMib: 17, content: at('data.ext4') },
    ]);
    assert.throws(() => withRoot(disk, () => null), /none of its partitions.*1: ext4, no root/);
    assert.throws(() => withRoot(at('data.ext4'), () => null), /ext4 file system is not the root/);
    assert.throws(
      () => withRoot(cut(at('ext4'), at('zeros'), 1000), () => null),
      /neither a partition table/,
    );
  });

  test('directories in a circle and impossible names are damage', () => {
    const disk = readFileSync(at('ext2'));
    // `many`, behind its length and the type of a directory, becomes what no directory may hold.
    const place = disk.indexOf(Buffer.from('\x04\x02many', 'latin1')) + 2;
    assert.ok(place > 2);
    const named = patched(at('ext2'), at('named'), place, Buffer.from('../x'));
    assert.throws(() => withRoot(named, (system) => walkTree(system, NO_LIMITS, null)), /impossible name/);
    // The entry's number of an inode becomes that of the root.
    const circle = patched(at('ext2'), at('circle2'), place - 8, Buffer.from([2, 0, 0, 0]));
    assert.throws(() => withRoot(circle, (system) => walkTree(system, NO_LIMITS, null)), /in two places/);
  });

  test('what is still in the journal counts', () => {
    const file = at('journal.ext4');
    execFileSync('cp', [at('ext4'), file]);
    // debugfs writes a transaction with a new root directory block and leaves it in the journal.
    const stat = execFileSync('debugfs', ['-R', 'blocks /etc', file], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const block = Number(stat.trim().split(/\s+/)[0]);
    const bytes = Number(
      /Block size: +(\d+)/.exec(
        execFileSync('dumpe2fs', ['-h', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
      )?.[1],
    );
    const newer = Buffer.from(readFileSync(file).subarray(block * bytes, (block + 1) * bytes));
    newer.write('hostnamf', newer.indexOf('hostname'), 'latin1');
    writeFileSync(at('block'), newer);
    const commands = `jo\njw -b ${String(block)} ${at('block')}\njc\n`;
    writeFileSync(at('commands'), commands);
    execFileSync('debugfs', ['-w', '-f', at('commands'), file], { stdio: 'ignore' });
    withRoot(file, (system) => {
      assert.notEqual(lookUp(system, 'etc/hostnamf'), null);
      assert.equal(lookUp(system, 'etc/hostname'), null);
    });
  });
});
