import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileHeaders, writeFileHeaders } from '../../../../api/wire/files.ts';

test('absent headers mean a file that is overwritten, with nothing asked for', () => {
  assert.deepEqual(readFileHeaders({}), {
    uid: undefined,
    gid: undefined,
    mode: undefined,
    kind: 'file',
    append: false,
  });
});

test('modes are read as Go reads numbers', () => {
  for (const [text, mode] of [
    ['0644', 0o644],
    ['0o755', 0o755],
    ['420', 420],
    ['0x1a4', 0o644],
    ['0', 0],
    ['00', 0],
    ['04755', 0o4755],
  ] as const) {
    assert.equal(readFileHeaders({ 'x-lxd-mode': text }).mode, mode, text);
  }
  for (const text of ['0888', 'rw', '-1', '07777777', '1e3', ' 0644', '99999']) {
    assert.throws(() => readFileHeaders({ 'x-lxd-mode': text }), { code: 'bad_request' }, text);
  }
});

test('ids are 32 bits without the one that means no change', () => {
  assert.equal(readFileHeaders({ 'x-lxd-uid': '4294967294' }).uid, 4_294_967_294);
  for (const text of ['4294967295', '-1', 'root', '1.5', '99999999999']) {
    assert.throws(() => readFileHeaders({ 'x-lxd-gid': text }), { code: 'bad_request' }, text);
  }
});

test('answers have four digits of mode and the time as Go prints it', () => {
  const stat = {
    uid: 1,
    gid: 2,
    mode: 0o100_44,
    kind: 'file',
    mtimeMs: Date.UTC(2026, 0, 2, 3, 4, 5),
  } as const;
  assert.deepEqual(writeFileHeaders(stat), {
    'X-LXD-uid': '1',
    'X-LXD-gid': '2',
    'X-LXD-mode': '0044',
    'X-LXD-type': 'file',
    'X-LXD-modified': '2026-01-02 03:04:05 +0000 UTC',
  });
});
