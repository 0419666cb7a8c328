import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkExpiry,
  checkSchedule,
  checkSubnets,
  parseBitRate,
  parseBool,
  parseBytes,
  parseCpuAllowance,
  parseCpuLimit,
  parseCpuSet,
  parseInteger,
  parseIoLimit,
  parseKernelLimit,
  parseMac,
  parseMemoryLimit,
  parseMode,
  parsePriority,
} from '../../../../api/instances/values.ts';
import { isFault } from '../../../../process/fault.ts';

function refuses(parse: (text: string) => unknown, texts: readonly string[]): void {
  for (const text of texts) {
    assert.throws(
      () => parse(text),
      (err) => isFault(err, 'bad_request'),
      JSON.stringify(text),
    );
  }
}

test('booleans are read in any case, and nothing is the fallback', () => {
  for (const text of ['true', 'True', 'YES', 'on', '1']) assert.equal(parseBool(text), true, text);
  for (const text of ['false', 'False', 'no', 'OFF', '0', '']) assert.equal(parseBool(text), false, text);
  assert.equal(parseBool(undefined, true), true);
  assert.equal(parseBool('', true), true);
  refuses(parseBool, ['maybe', '2', 'constructor', ' true']);
});

test('sizes have decimal and binary units', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['1024', 1024],
    ['10B', 10],
    ['1kB', 1000],
    ['64MB', 64e6],
    ['1GB', 1e9],
    ['512MiB', 2 ** 29],
    ['2 GiB', 2 ** 31],
    ['1TiB', 2 ** 40],
  ];
  for (const [text, bytes] of cases) assert.equal(parseBytes(text), bytes, text);
  refuses(parseBytes, ['', '12X', '-1', '1.5GiB', 'MiB', '1e9', '0x10', '99EiB', '12 constructor', '1  MB']);
});

test('a memory limit is a size or a share, and never nothing', () => {
  assert.deepEqual(parseMemoryLimit('1MiB'), { bytes: 2 ** 20 });
  assert.deepEqual(parseMemoryLimit('50%'), { percent: 50 });
  refuses(parseMemoryLimit, ['0', '0%', '101%', '%', '5.5%', '']);
});

test('rates and I/O limits', () => {
  assert.equal(parseBitRate('100Mbit'), 1e8);
  assert.equal(parseBitRate('1Gibit'), 2 ** 30);
  refuses(parseBitRate, ['100MB', 'fast', '']);
  assert.deepEqual(parseIoLimit('30MB'), { bytesPerS: 30e6 });
  assert.deepEqual(parseIoLimit('100iops'), { iops: 100 });
  refuses(parseIoLimit, ['100 apples', 'iops', '']);
});

test('a plain number is a count of processors, a list pins', () => {
  assert.deepEqual(parseCpuLimit('2'), { count: 2 });
  assert.deepEqual(parseCpuLimit('1-1'), { cpus: [1] });
  assert.deepEqual(parseCpuLimit('0-3,5,2'), { cpus: [0, 1, 2, 3, 5] });
  assert.deepEqual(parseCpuSet('7'), [7]);
  refuses(parseCpuLimit, ['0', '-1', '3-1', '1,', 'a', '0-99999', '', '1;2']);
});

test('an allowance is a weight or a quota', () => {
  assert.deepEqual(parseCpuAllowance('50%'), { kind: 'weight', percent: 50 });
  assert.deepEqual(parseCpuAllowance('25ms/100ms'), { kind: 'quota', quotaUs: 25_000, periodUs: 100_000 });
  refuses(parseCpuAllowance, ['0%', '101%', '50', '0ms/100ms', '25ms/2000ms', '25/100', '25ms', '']);
});

test('kernel limits have a soft and a hard part', () => {
  assert.deepEqual(parseKernelLimit('1024'), { soft: 1024, hard: 1024 });
  assert.deepEqual(parseKernelLimit('1:2'), { soft: 1, hard: 2 });
  assert.deepEqual(parseKernelLimit('unlimited'), { soft: 'unlimited', hard: 'unlimited' });
  assert.deepEqual(parseKernelLimit('5:unlimited'), { soft: 5, hard: 'unlimited' });
  refuses(parseKernelLimit, ['2:1', 'unlimited:5', '1:2:3', 'x', ':', '-1', '']);
});

test('whole numbers, priorities and modes have bounds', () => {
  assert.equal(parseInteger('-5', -10, 0), -5);
  refuses((text) => parseInteger(text, 0, 10), ['11', '-1', '1.0', ' 1', '', '99999999999999999999']);
  assert.equal(parsePriority('10'), 10);
  refuses(parsePriority, ['11', '-1']);
  assert.equal(parseMode('0660'), 0o660);
  refuses(parseMode, ['0888', '66', 'rw', '']);
});

test('MAC addresses are lower case and belong to one host', () => {
  assert.equal(parseMac('00:16:3E:AA:bb:01'), '00:16:3e:aa:bb:01');
  refuses(parseMac, ['00:16:3e:aa:bb', '01:00:5e:00:00:01', '00:00:00:00:00:00', '00-16-3e-aa-bb-01', 'x']);
});

test('subnets, expiries and schedules are checked', () => {
  checkSubnets('192.0.2.0/24, 198.51.100.0/25', 4);
  checkSubnets('2001:db8::/64', 6);
  refuses(
    (text) => checkSubnets(text, 4),
    ['192.0.2.0', '192.0.2.0/33', '192.0.2.5/24', '2001:db8::/64', ''],
  );
  for (const good of ['1w', '1d 12H', '30M']) checkExpiry(good);
  refuses(checkExpiry, ['1', 'w', '1x', '1w  2d', '']);
  for (const good of ['@daily', '@hourly, @startup', '0 6 * * *', '*/5 1-3 * JAN MON', '0,30 * * * *'])
    checkSchedule(good);
  refuses(checkSchedule, ['daily', '* * * *', '@daily, now', '0 0 0 0 0 0', '']);
});
