import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../../process/fault.ts';
import { bridgeRules, removalOf } from '../../../../api/network/bridge-rules.ts';
import { dnsmasqArgs } from '../../../../api/network/dnsmasq-args.ts';
import { nicRemoval, nicRules, rateOf, wantsFilter } from '../../../../api/network/nic-rules.ts';
import type { NicFilter } from '../../../../api/network/nic-rules.ts';

const NET = { 'ipv4.address': '10.1.2.1/24', 'ipv6.address': 'fd42::1/64' };
const FILES = { pid: '/d/pid', leases: '/d/leases', hosts: '/d/hosts', raw: '/d/raw', log: '/d/log' };

function script(config: Record<string, string>): string {
  return bridgeRules('br0', config)
    .map((section) => section.script)
    .join('');
}

function args(config: Record<string, string>): string[] {
  return dnsmasqArgs('br0', config, FILES, 'dnsmasq') ?? [];
}

test('NAT leaves traffic inside the subnet alone and takes the address asked for', () => {
  assert.ok(!script(NET).includes('masquerade'));
  const text = script({ ...NET, 'ipv4.nat': 'true', 'ipv6.nat': 'true', 'ipv6.nat.address': 'fd00::9' });
  assert.ok(text.includes('ip saddr 10.1.2.0/24 ip daddr != 10.1.2.0/24 masquerade'));
  assert.ok(text.includes('ip6 saddr fd42::/64 ip6 daddr != fd42::/64 snat ip6 to fd00::9'));
});

test('without routing packets from and to the bridge are refused, inside it they pass', () => {
  const text = script({ ...NET, 'ipv4.routing': 'false', 'ipv6.firewall': 'false' });
  const rules = text.split('\n').filter((line) => line.startsWith('add rule inet slipway fwd.br0'));
  assert.deepEqual(
    rules.map((rule) => rule.replace('add rule inet slipway fwd.br0 ', '')),
    [
      'iifname "br0" oifname "br0" accept',
      'meta nfproto ipv4 oifname "br0" reject',
      'meta nfproto ipv4 iifname "br0" reject',
    ],
  );
});

test('a bridge without firewall or addresses has no chains, and older ones are removed', () => {
  for (const config of [{}, { ...NET, 'ipv4.firewall': 'false', 'ipv6.firewall': 'false' }]) {
    const text = script(config);
    assert.ok(!text.includes('hook'), text);
    assert.equal(text, removalOf('br0'));
  }
});

test('dnsmasq hands out the whole subnet but the gateway, for an hour', () => {
  assert.ok(args(NET).includes('--dhcp-range=10.1.2.2,10.1.2.254,1h'));
  assert.ok(
    args({ ...NET, 'ipv4.address': '10.1.2.254/24' }).includes('--dhcp-range=10.1.2.1,10.1.2.253,1h'),
  );
  assert.ok(args(NET).includes('--dhcp-range=::,constructor:br0,ra-stateless,ra-names'));
});

test('dnsmasq follows the keys of the network', () => {
  const given = args({
    ...NET,
    'ipv4.dhcp.ranges': '10.1.2.10-10.1.2.20, 10.1.2.30-10.1.2.40',
    'ipv4.dhcp.expiry': '5m',
    'ipv4.dhcp.gateway': '10.1.2.9',
    'bridge.mtu': '1400',
    'dns.search': 'a.example, b.example',
    'dns.domain': 'guests',
    'ipv6.dhcp.stateful': 'true',
  });
  for (const one of [
    '--dhcp-range=10.1.2.10,10.1.2.20,5m',
    '--dhcp-range=10.1.2.30,10.1.2.40,5m',
    '--dhcp-option-force=3,10.1.2.9',
    '--dhcp-option-force=26,1400',
    '--dhcp-option-force=119,a.example,b.example',
    '--dhcp-range=fd42::2,fd42::ffff:ffff:ffff:ffff,64,1h',
    '/guests/',
    '_gateway.guests,br0',
  ]) {
    assert.ok(given.includes(one), one);
  }
  assert.ok(args({ ...NET, 'dns.mode': 'none' }).includes('--port=0'));
  assert.ok(!args({ ...NET, 'ipv4.dhcp': 'false' }).some((one) => one.startsWith('--dhcp-range=10.')));
  assert.ok(args({ ...NET, 'ipv6.dhcp': 'false' }).includes('--dhcp-range=::,constructor:br0,ra-only'));
  assert.equal(dnsmasqArgs('br0', { 'ipv4.address': 'none' }, FILES, 'dnsmasq'), null);
});

const FILTER: NicFilter = { hostName: 'veth1', hwaddr: '00:16:3e:01:02:03', mac: true, egressBits: 0 };

test('each filter adds its rules and no others', () => {
  assert.ok(nicRules(FILTER).includes('ether saddr != 00:16:3e:01:02:03 drop'));
  assert.ok(!nicRules(FILTER).includes('ip saddr'));
  const text = nicRules({ ...FILTER, ipv4: '10.1.2.5', ipv6: 'fd42::5' });
  assert.ok(text.includes('ip saddr != 10.1.2.5 drop'));
  assert.ok(text.includes('0xfd420000000000000000000000000005'));
  assert.ok(text.includes('ether type != { arp, ip, ip6 } drop'));
  assert.ok(nicRules({ ...FILTER, ipv4: null }).includes('ether type ip drop'));
  assert.ok(nicRules({ ...FILTER, egressBits: 8_000_000 }).includes('limit rate over 1000000 bytes/second'));
});

test('names and MACs that are none never get into a script', () => {
  for (const filter of [
    { ...FILTER, hostName: 'a" ; flush ruleset ; "' },
    { ...FILTER, hostName: '' },
    { ...FILTER, hwaddr: 'x drop; flush' },
  ]) {
    assert.throws(
      () => nicRules(filter),
      (err) => isFault(err, 'bad_request'),
    );
  }
  assert.throws(
    () => nicRemoval('a b'),
    (err) => isFault(err, 'bad_request'),
  );
});

test('limits.max stands for both directions', () => {
  assert.equal(rateOf({ 'limits.max': '10Mbit', 'limits.egress': '1Mbit' }, 'limits.egress'), 10_000_000);
  assert.equal(rateOf({ 'limits.ingress': '1Mbit' }, 'limits.egress'), 0);
  assert.ok(wantsFilter({ 'limits.max': '10Mbit' }));
  assert.ok(wantsFilter({ 'security.ipv6_filtering': 'true' }));
  assert.ok(!wantsFilter({ 'limits.ingress': '10Mbit', 'security.mac_filtering': 'false' }));
});
