import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../../process/fault.ts';
import { chooseIpv4, validateAddresses, validateFilters } from '../../../../api/network/nic-addresses.ts';
import type { ManagedNetwork } from '../../../../api/network/types.ts';

const NETWORK: ManagedNetwork = {
  name: 'br0',
  type: 'bridge',
  config: { 'ipv4.address': '10.0.0.1/24', 'ipv6.address': 'fd42::1/64' },
};
const TAKEN = [
  { project: 'default', instance: 'c1', device: 'eth0', hwaddr: '', ipv4: '10.0.0.9', ipv6: null },
];

function check(config: Record<string, string>, network = NETWORK): void {
  validateAddresses(network, config, () => TAKEN, null);
}

test('an address of the network that nobody has is good', () => {
  check({});
  check({ 'ipv4.address': '10.0.0.10', 'ipv6.address': 'none' });
  validateAddresses(NETWORK, { 'ipv4.address': '10.0.0.9' }, () => TAKEN, {
    project: 'default',
    instance: 'c1',
    device: 'eth0',
  });
});

test('addresses the network cannot give are refused', () => {
  const bad: [Record<string, string>, RegExp][] = [
    [{ 'ipv4.address': '10.0.1.1' }, /Device IP address "10\.0\.1\.1" not within network "br0" subnet/],
    [{ 'ipv4.address': '10.0.0.1' }, /belongs to network/],
    [{ 'ipv4.address': '10.0.0.0' }, /belongs to network/],
    [{ 'ipv4.address': '10.0.0.255' }, /belongs to network/],
    [{ 'ipv4.address': '10.0.0.9' }, /already used$/],
    [{ 'ipv4.address': 'fd42::9' }, /not an IPv4 address/],
    [{ 'ipv6.address': 'fd42::9' }, /ipv6\.dhcp\.stateful/],
  ];
  for (const [config, expected] of bad) {
    assert.throws(
      () => {
        check(config);
      },
      (err) => isFault(err, 'bad_request') && expected.test(err.message),
      JSON.stringify(config),
    );
  }
  check({ 'ipv6.address': 'fd42::9', 'security.ipv6_filtering': 'true' });
  check(
    { 'ipv6.address': 'fd42::9' },
    { ...NETWORK, config: { ...NETWORK.config, 'ipv6.dhcp.stateful': 'true' } },
  );
});

test('who has an address is told within a project, and not to another one', () => {
  const take = (project: string) => () => {
    const self = { project, instance: 'c2', device: 'eth0' };
    validateAddresses(NETWORK, { 'ipv4.address': '10.0.0.9' }, () => TAKEN, self);
  };
  assert.throws(take('default'), /"10\.0\.0\.9" is already used by device "eth0" of instance "c1"$/);
  assert.throws(take('other'), /"10\.0\.0\.9" is already used$/);
});

test('a filter on a bridge that is not ours needs an address', () => {
  validateFilters({ 'security.mac_filtering': 'true' });
  validateFilters({ 'security.ipv4_filtering': 'true', 'ipv4.address': '10.0.0.3' });
  assert.throws(
    () => {
      validateFilters({ 'security.ipv4_filtering': 'true' });
    },
    (err) => isFault(err, 'bad_request'),
  );
});

test('a chosen address is free, follows from the MAC and keeps to the ranges', () => {
  const first = chooseIpv4(NETWORK, '00:16:3e:00:00:05', new Set());
  assert.equal(first, chooseIpv4(NETWORK, '00:16:3e:00:00:05', new Set()));
  assert.notEqual(chooseIpv4(NETWORK, '00:16:3e:00:00:05', new Set([first ?? ''])), first);
  const small = { ...NETWORK, config: { ...NETWORK.config, 'ipv4.dhcp.ranges': '10.0.0.1-10.0.0.3' } };
  assert.equal(chooseIpv4(small, '00:16:3e:ff:ff:ff', new Set(['10.0.0.2'])), '10.0.0.3');
  assert.equal(chooseIpv4(small, '00:16:3e:ff:ff:ff', new Set(['10.0.0.2', '10.0.0.3'])), null);
});
