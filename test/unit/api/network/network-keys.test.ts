import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../../process/fault.ts';
import { validateNetworkConfig, validateNetworkName } from '../../../../api/network/network-keys.ts';

const GOOD: readonly Record<string, string>[] = [
  {},
  { 'ipv4.address': 'auto', 'ipv6.address': 'none' },
  {
    'ipv4.address': '10.1.1.1/24',
    'ipv4.nat': 'true',
    'ipv4.dhcp.ranges': '10.1.1.5-10.1.1.9,10.1.1.20-10.1.1.30',
  },
  { 'ipv4.address': '10.1.1.1/32', 'ipv4.dhcp': 'false' },
  { 'ipv6.address': 'fd42::1/64', 'ipv6.dhcp.stateful': 'true', 'ipv6.dhcp.expiry': 'infinite' },
  { 'ipv6.address': 'fd42::1/96', 'ipv6.dhcp.stateful': 'true' },
  { 'bridge.mtu': '9000', 'bridge.hwaddr': '00:16:3e:01:02:03', 'bridge.external_interfaces': 'eth1, eth2' },
  { 'dns.domain': 'guests.example.org', 'dns.search': 'a.example,b.example', 'dns.mode': 'dynamic' },
  { 'user.anything': 'x', 'raw.dnsmasq': 'log-queries\n', 'ipv4.routes': '10.2.0.0/16' },
  { 'ipv4.address': '' },
];

const BAD: readonly [Record<string, string>, RegExp][] = [
  [{ 'ipv4.addres': '10.0.0.1/24' }, /unknown/],
  [{ 'ipv4.address': '10.0.0.1' }, /ipv4\.address/],
  [{ 'ipv4.address': 'fd42::1/64' }, /IPv4/],
  [{ 'ipv4.address': '10.0.0.1/0' }, /no network part/],
  [{ 'ipv4.routes': '10.2.0.1/16' }, /not an IPv4 subnet/],
  ...['10.0.0.0/24', '10.0.0.255/24', '0.0.0.5/24', '127.0.0.1/8', '224.0.0.1/24', '255.0.0.1/24'].map(
    (address): [Record<string, string>, RegExp] => [{ 'ipv4.address': address }, /a host can have/],
  ),
  ...['fd42::/64', '::1/64', 'ff02::1/64'].map((address): [Record<string, string>, RegExp] => [
    { 'ipv6.address': address },
    /a host can have/,
  ]),
  [{ 'ipv4.address': '10.0.0.1/31' }, /hand out/],
  [{ 'ipv6.address': 'fd42::1/80' }, /stateful/],
  [{ 'ipv4.nat': 'maybe' }, /boolean/],
  [{ 'bridge.mtu': '12' }, /number/],
  [{ 'bridge.hwaddr': '01:00:00:00:00:01' }, /MAC/],
  [{ 'ipv4.address': '10.0.0.1/24', 'ipv4.dhcp.ranges': '10.0.1.1-10.0.1.5' }, /outside/],
  [{ 'ipv4.address': '10.0.0.1/24', 'ipv4.dhcp.gateway': '10.9.0.1' }, /outside/],
  [{ 'ipv4.dhcp.expiry': '1h,tag:x' }, /lease time/],
  [{ 'dns.domain': 'a b' }, /domain/],
  [{ 'dns.search': 'ok.example,-bad' }, /-bad/],
  [{ 'dns.mode': 'x' }, /none of/],
  [{ 'bridge.external_interfaces': 'a b' }, /interface name/],
  [{ __proto__: 'x', constructor: 'y' }, /unknown/],
];

test('good bridge configurations pass', () => {
  for (const config of GOOD) validateNetworkConfig('bridge', config);
});

test('each bad key or value is refused by name with 400', () => {
  for (const [config, expected] of BAD) {
    assert.throws(
      () => {
        validateNetworkConfig('bridge', config);
      },
      (err) => isFault(err, 'bad_request') && expected.test(err.message),
      JSON.stringify(config),
    );
  }
});

test('what LXD has and this server has not is refused with 501', () => {
  for (const key of [
    'security.acls',
    'tunnel.t1.protocol',
    'fan.type',
    'bgp.peers.a.asn',
    'dns.zone.forward',
  ]) {
    assert.throws(
      () => {
        validateNetworkConfig('bridge', { [key]: 'x' });
      },
      (err) => isFault(err, 'not_implemented') && err.message.includes(key),
      key,
    );
  }
  for (const config of [{ 'bridge.driver': 'openvswitch' }, { 'bridge.mode': 'fan' }]) {
    assert.throws(
      () => {
        validateNetworkConfig('bridge', config);
      },
      (err) => isFault(err, 'not_implemented'),
    );
  }
});

test('other types need a parent or are refused', () => {
  validateNetworkConfig('physical', { parent: 'eth1' });
  validateNetworkConfig('macvlan', { parent: 'eth1', mtu: '1400' });
  const refused: readonly [string, string][] = [
    ['physical', 'bad_request'],
    ['ovn', 'not_implemented'],
    ['sriov', 'not_implemented'],
    ['toString', 'bad_request'],
  ];
  for (const [type, code] of refused) {
    assert.throws(
      () => {
        validateNetworkConfig(type, {});
      },
      (err) => isFault(err) && err.code === code,
      type,
    );
  }
});

test('a network name is an interface name', () => {
  for (const name of ['br0', 'lxdbr0', 'a', 'my-net_1.x', '0net', 'fifteen-letters'])
    validateNetworkName(name);
  for (const name of [
    '',
    '.',
    '..',
    'a/b',
    'a b',
    'sixteen-letters1',
    '-a',
    'ä',
    'a\n',
    'a:b',
    '../x',
    'all',
  ]) {
    assert.throws(
      () => {
        validateNetworkName(name);
      },
      (err) => isFault(err, 'bad_request'),
      name,
    );
  }
});
