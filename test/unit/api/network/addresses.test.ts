import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  contains,
  eui64,
  firstOf,
  formatAddress,
  lastOf,
  networkOf,
  overlaps,
  parseAddress,
  parseRange,
  parseSubnet,
} from '../../../../api/network/addresses.ts';
import type { Subnet } from '../../../../api/network/addresses.ts';

function subnet(text: string): Subnet {
  const parsed = parseSubnet(text);
  assert.ok(parsed, text);
  return parsed;
}

test('an address survives parsing and printing in its shortest form', () => {
  const cases = [
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['fd42:0:0:1::1', 'fd42:0:0:1::1'],
    ['FD42:0000:0000:0000:0000:0000:0000:0001', 'fd42::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
    ['fe80::', 'fe80::'],
  ];
  for (const [text = '', expected] of cases) {
    const parsed = parseAddress(text);
    assert.ok(parsed, text);
    assert.equal(formatAddress(parsed.family, parsed.value), expected);
  }
});

test('texts that are no address or subnet give null', () => {
  for (const text of ['', '10.0.0', '10.0.0.256', '010.0.0.1', 'fe80::1%eth0', ':::', 'x', '10.0.0.1/24']) {
    assert.equal(parseAddress(text), null, text);
  }
  for (const text of [
    '10.0.0.1',
    '10.0.0.1/33',
    '10.0.0.1/',
    '::1/129',
    '10.0.0.1/2/3',
    '/24',
    '10.0.0.1/-1',
  ]) {
    assert.equal(parseSubnet(text), null, text);
  }
});

test('a subnet knows its ends and what lies in it', () => {
  const net = subnet('10.1.2.3/24');
  assert.equal(networkOf(net), '10.1.2.0/24');
  assert.equal(formatAddress(4, firstOf(net)), '10.1.2.0');
  assert.equal(formatAddress(4, lastOf(net)), '10.1.2.255');
  assert.ok(contains(net, { family: 4, value: firstOf(net) }));
  assert.ok(!contains(net, { family: 6, value: firstOf(net) }));
  assert.ok(overlaps(net, subnet('10.1.0.0/16')));
  assert.ok(overlaps(subnet('10.1.0.0/16'), net));
  assert.ok(!overlaps(net, subnet('10.1.3.0/24')));
  assert.ok(!overlaps(subnet('::/0'), net));
});

test('a range must run forwards in one family', () => {
  assert.ok(parseRange('10.0.0.1-10.0.0.9'));
  assert.ok(parseRange('10.0.0.1 - 10.0.0.1'));
  for (const text of ['10.0.0.9-10.0.0.1', '10.0.0.1', '10.0.0.1-::1', '10.0.0.1-10.0.0.2-10.0.0.3', '-']) {
    assert.equal(parseRange(text), null, text);
  }
});

test('a guest’s own IPv6 address follows from its MAC in a /64 only', () => {
  const address = eui64(subnet('fd42:1:2:3::1/64'), '00:16:3e:0a:0b:0c');
  assert.ok(address !== null);
  assert.equal(formatAddress(6, address), 'fd42:1:2:3:216:3eff:fe0a:b0c');
  assert.equal(eui64(subnet('fd42::1/80'), '00:16:3e:0a:0b:0c'), null);
  assert.equal(eui64(subnet('fd42::1/64'), 'nonsense'), null);
});
