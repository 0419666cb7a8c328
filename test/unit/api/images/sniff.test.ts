import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extensionOf, sniff } from '../../../../api/images/sniff.ts';

test('files are told by their first bytes', () => {
  const cases: [number[] | string, string][] = [
    [[0x1f, 0x8b, 8], '.tar.gz'],
    ['BZh9', '.tar.bz2'],
    [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], '.tar.xz'],
    [[0x5d, 0, 0, 0x80], '.tar.lzma'],
    [[0x28, 0xb5, 0x2f, 0xfd], '.tar.zst'],
    ['hsqs', '.squashfs'],
    [[0x51, 0x46, 0x49, 0xfb], '.qcow2'],
    ['PK', ''],
    ['', ''],
  ];
  for (const [start, extension] of cases) {
    const head = typeof start === 'string' ? Buffer.from(start, 'latin1') : Buffer.from(start);
    assert.equal(extensionOf(sniff(Buffer.concat([head, Buffer.alloc(600)]))), extension, String(start));
    assert.equal(extensionOf(sniff(head)), extension, `${String(start)} alone`);
  }
});
