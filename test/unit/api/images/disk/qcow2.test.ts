import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openQcow2 } from '../../../../../api/images/disk/qcow2.ts';
import { FileSource } from '../../../../../api/images/disk/source.ts';
import { backedQcow2, cut, patched, qcow2 } from '../../../../support/disk-images.ts';

const CLUSTER = 65_536;
const folder = mkdtempSync(join(tmpdir(), 'slipway-qcow2-'));
const at = (name: string): string => join(folder, name);
let content: Buffer;
let plain = '';

/** Text, noise, zeros and a last cluster that is not full. */
function makeContent(): Buffer {
  const noise = Buffer.from(Array.from({ length: 3 * CLUSTER }, (_, i) => (i * i * 31 + (i >>> 7)) & 0xff));
  return Buffer.concat([
    Buffer.from('all work and no play '.repeat(20_000)),
    Buffer.alloc(5 * CLUSTER),
    noise,
    Buffer.alloc(CLUSTER, 7),
    Buffer.alloc(512, 9),
  ]);
}

/** Everything a qcow2 says is on its disk. */
function readAll(file: string, check = true): Buffer {
  const fd = openSync(file, 'r');
  try {
    const disk = openQcow2(new FileSource(fd, statSync(file).size));
    if (check) disk.check();
    return disk.read(0, disk.size);
  } finally {
    closeSync(fd);
  }
}

function number(bytes: 4 | 8, value: number | bigint): Buffer {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 4) buffer.writeUInt32BE(Number(value));
  else buffer.writeBigUInt64BE(BigInt(value));
  return buffer;
}

describe('reading qcow2', () => {
  before(() => {
    content = makeContent();
    writeFileSync(at('raw'), content);
    plain = qcow2(at('raw'), at('plain.qcow2'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  const KINDS: readonly (readonly [string, readonly string[]])[] = [
    ['version 3', []],
    ['version 2', ['-o', 'compat=0.10']],
    ['clusters of 512 bytes', ['-o', 'cluster_size=512']],
    ['clusters of 2 MiB', ['-o', 'cluster_size=2M']],
    ['compressed with zlib', ['-c']],
    ['compressed with zstd', ['-c', '-o', 'compression_type=zstd']],
    ['preallocated', ['-o', 'preallocation=full']],
  ];
  for (const [name, options] of KINDS) {
    test(`what was put in comes out: ${name}`, () => {
      const disk = readAll(qcow2(at('raw'), at('kind.qcow2'), ...options));
      const whole = Buffer.alloc(disk.length);
      content.copy(whole);
      assert.ok(disk.equals(whole));
    });
  }

  test('one that names another file is refused', () => {
    const backed = at('backed.qcow2');
    backedQcow2('/etc/passwd', backed);
    assert.throws(() => readAll(backed), /has a backing file/);
    const external = at('external.qcow2');
    const options = `data_file=${at('data.raw')},data_file_raw=on`;
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, external, '1M']);
    assert.throws(() => readAll(external), /keeps its data in another file/);
  });

  test('an encrypted one, and one with features that are not known, is refused', () => {
    const encrypted = at('luks.qcow2');
    const secret = ['--object', 'secret,id=s,data=geheim'];
    const options = ['-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10'];
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...secret, ...options, encrypted, '1M']);
    assert.throws(() => readAll(encrypted), /is encrypted/);
    const extended = qcow2(at('raw'), at('extended.qcow2'), '-o', 'extended_l2=on,cluster_size=128k');
    assert.throws(() => readAll(extended), /extended L2/);
    for (const [bit, words] of [
      [1n << 1n, /marked as corrupt/],
      [1n << 40n, /not known/],
    ] as const) {
      assert.throws(() => readAll(patched(plain, at('bits.qcow2'), 72, number(8, bit))), words);
    }
    assert.throws(() => readAll(patched(plain, at('v9.qcow2'), 4, number(4, 9))), /version 9/);
  });

  test('tables that lead outside are damage, whatever they say', () => {
    const file = readFileSync(plain);
    const l1At = Number(file.readBigUInt64BE(40));
    const l2At = Number(file.readBigUInt64BE(l1At) & 0x00fffffffffffe00n);
    const cases: readonly (readonly [string, number, Buffer])[] = [
      ['a cluster size of 4 GiB', 20, number(4, 32)],
      ['a disk of eight exabytes', 24, number(8, 2n ** 63n)],
      ['a disk larger than its tables', 24, number(8, 2n ** 50n)],
      ['a first table of 32 GiB', 36, number(4, 2 ** 32 - 1)],
      ['a first table beyond the end', 40, number(8, 2n ** 40n)],
      ['a second table beyond the end', l1At, number(8, 2n ** 40n)],
      ['a second table askew', l1At, number(8, BigInt(l2At) + 512n)],
      ['a cluster beyond the end', l2At, number(8, 2n ** 44n)],
      ['a cluster askew', l2At, number(8, 0x1200)],
      ['a compressed cluster beyond the end', l2At, number(8, (1n << 62n) | 0x3fffffffffn)],
    ];
    for (const [name, where, bytes] of cases) {
      const broken = patched(plain, at('broken.qcow2'), where, bytes);
      assert.throws(() => readAll(broken), { code: 'bad_request' }, name);
    }
  });

  test('all entries may name one cluster; it is read again and again, and nothing grows', () => {
    const file = readFileSync(plain);
    const l1At = Number(file.readBigUInt64BE(40));
    const l2At = Number(file.readBigUInt64BE(l1At) & 0x00fffffffffffe00n);
    const entry = file.subarray(l2At, l2At + 8);
    const all = Buffer.concat(Array.from({ length: 18 }, () => entry));
    const disk = readAll(patched(plain, at('same.qcow2'), l2At, all));
    const last = Math.floor(disk.length / CLUSTER) - 1;
    assert.ok(last > 10);
    assert.ok(disk.subarray(0, CLUSTER).equals(disk.subarray(last * CLUSTER, (last + 1) * CLUSTER)));
  });

  for (const option of ['zlib', 'zstd']) {
    test(`${option} that is damaged or unpacks to more than a cluster is damage`, () => {
      const packed = qcow2(at('raw'), at('c.qcow2'), '-c', '-o', `compression_type=${option}`);
      const file = readFileSync(packed);
      const l1At = Number(file.readBigUInt64BE(40));
      const l2At = Number(file.readBigUInt64BE(l1At) & 0x00fffffffffffe00n);
      const cluster = Number(file.readBigUInt64BE(l2At) & 0x3fffffffffffffn & (2n ** 54n - 1n)) % 2 ** 46;
      const noise = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 97 + 13) & 0xff));
      assert.throws(() => readAll(patched(packed, at('d.qcow2'), cluster, noise)), { code: 'bad_request' });
      // A cluster that unpacks to 64 KiB where 32 KiB are expected.
      assert.throws(() => readAll(patched(packed, at('e.qcow2'), 20, number(4, 15))), {
        code: 'bad_request',
      });
    });
  }

  test('one that is cut short is told from its tables', () => {
    const size = statSync(plain).size;
    for (const length of [0, 50, 71, 200, CLUSTER, size - 4 * CLUSTER]) {
      assert.throws(
        () => readAll(cut(plain, at('cut.qcow2'), length)),
        { code: 'bad_request' },
        String(length),
      );
    }
  });
});
