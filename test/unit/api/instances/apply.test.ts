import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceChanges } from '../../../../api/instances/apply.ts';

const NIC = { type: 'nic', network: 'br0', 'security.port_isolation': 'true' };

test('what LXD changes without plugging anew is an update, the rest is a new device', () => {
  const cases: readonly (readonly [string, string, 'updated' | 'added'])[] = [
    ['limits.ingress', '1Mbit', 'updated'],
    ['ipv4.routes', '192.0.2.0/24', 'updated'],
    ['ipv4.routes.external', '192.0.2.0/24', 'updated'],
    ['ipv6.routes.external', '2001:db8::/64', 'updated'],
    ['security.mac_filtering', 'true', 'updated'],
    // The port of the bridge has it from its making on.
    ['security.port_isolation', 'false', 'added'],
    ['mtu', '1400', 'added'],
  ];
  for (const [key, value, kind] of cases) {
    const changes = deviceChanges({ eth0: NIC }, { eth0: { ...NIC, [key]: value } });
    const counts = { updated: changes.updated.length, added: changes.added.length };
    assert.deepEqual(counts, { updated: 0, added: 0, [kind]: 1 }, key);
    assert.equal(changes.removed.length, changes.added.length, key);
  }
});
