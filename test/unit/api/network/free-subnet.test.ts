import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../../process/fault.ts';
import { overlaps, parseSubnet } from '../../../../api/network/addresses.ts';
import type { Subnet } from '../../../../api/network/addresses.ts';
import { freeSubnet, routedSubnets } from '../../../../api/network/free-subnet.ts';

function subnet(text: string): Subnet {
  const parsed = parseSubnet(text);
  assert.ok(parsed, text);
  return parsed;
}

test('a chosen subnet is none that is used', () => {
  const used = Array.from({ length: 250 }, (_, i) => subnet(`10.${String(i)}.0.0/16`));
  for (let i = 0; i < 20; i += 1) {
    const chosen = subnet(freeSubnet(4, used));
    assert.equal(chosen.prefix, 24);
    assert.ok(!used.some((one) => overlaps(one, chosen)));
  }
  assert.match(freeSubnet(6, []), /^fd42:[0-9a-f:]+::1\/64$/);
});

test('when everything is used the answer says what to set', () => {
  assert.throws(
    () => freeSubnet(4, [subnet('10.0.0.0/8')]),
    (err) => isFault(err, 'conflict') && err.message.includes('ipv4.address'),
  );
});

test('routes are read without the default route, loopback and multicast', () => {
  const json = JSON.stringify([
    { dst: 'default', gateway: '192.0.2.1', dev: 'eth0' },
    { dst: '192.0.2.0/24', dev: 'eth0' },
    { type: 'local', dst: '127.0.0.0/8', dev: 'lo' },
    { type: 'local', dst: '192.0.2.2', dev: 'eth0' },
    { type: 'multicast', dst: 'ff00::/8', dev: 'eth0' },
    { type: 'unreachable', dst: '10.9.0.0/16' },
    7,
    null,
  ]);
  assert.deepEqual(
    routedSubnets(json, 4).map((one) => one.prefix),
    [24, 32, 16],
  );
  assert.deepEqual(routedSubnets('', 4), []);
  assert.deepEqual(routedSubnets('{}', 4), []);
});
