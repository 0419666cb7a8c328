import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitsOfType } from '../../../../api/instances/instance-types.ts';
import { checkInstanceName, generateMac, generateName } from '../../../../api/instances/names.ts';
import { isFault } from '../../../../process/fault.ts';

test('instance names are host names', () => {
  for (const name of ['a', 'web-1', 'A1', 'x'.repeat(63)]) checkInstanceName(name);
  for (const name of ['', '1a', '-a', 'a-', 'a_b', 'a.b', 'a/b', 'a b', 'ä', '..', 'x'.repeat(64), 'a\n']) {
    assert.throws(
      () => {
        checkInstanceName(name);
      },
      (err) => isFault(err, 'bad_request'),
      JSON.stringify(name),
    );
  }
});

test('made-up names are valid, of two words, and never taken ones', () => {
  for (let i = 0; i < 200; i += 1) {
    const name = generateName(() => false);
    assert.match(name, /^[a-z]+-[a-z]+$/);
    checkInstanceName(name);
  }
  const name = generateName((candidate) => /^[a-z]+-[a-z]+$/.test(candidate));
  assert.match(name, /^[a-z]+-[a-z]+-\d+$/);
});

test('made-up MAC addresses are of the range for guests, and never taken ones', () => {
  const seen = new Set<string>();
  for (let i = 0; i < 100; i += 1) {
    const mac = generateMac((candidate) => seen.has(candidate));
    assert.match(mac, /^00:16:3e(:[0-9a-f]{2}){3}$/);
    assert.ok(!seen.has(mac));
    seen.add(mac);
  }
});

test('instance types are limits', () => {
  const cases: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['t2.micro', { 'limits.cpu': '1', 'limits.memory': '1024MB' }],
    ['aws:t2.medium', { 'limits.cpu': '2', 'limits.memory': '4096MB' }],
    ['c2-m4', { 'limits.cpu': '2', 'limits.memory': '4096MB' }],
    ['c1', { 'limits.cpu': '1' }],
    ['m0.5', { 'limits.memory': '512MB' }],
    ['c0.5-m1', { 'limits.cpu': '1', 'limits.cpu.allowance': '50%', 'limits.memory': '1024MB' }],
    ['gce:f1-micro', { 'limits.cpu': '1', 'limits.cpu.allowance': '20%', 'limits.memory': '614MB' }],
  ];
  for (const [type, limits] of cases) assert.deepEqual(limitsOfType(type), limits, type);
  for (const type of [
    '',
    '-',
    'c0-m0',
    't9.huge',
    'gce:t2.micro',
    'moon:t2.micro',
    'constructor',
    '__proto__:x',
  ]) {
    assert.throws(
      () => limitsOfType(type),
      (err) => isFault(err, 'bad_request'),
      type,
    );
  }
});
