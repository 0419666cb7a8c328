import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planNics } from '../../../../api/instances/nics.ts';
import type { StringMap } from '../../../../api/db/rows.ts';
import { instanceRow } from '../../../support/rows.ts';

const NIC = { type: 'nic', nictype: 'p2p' };

function guestNames(devices: Record<string, StringMap>, config: StringMap): Record<string, string> {
  const expanded = { row: instanceRow({ config }), config, devices };
  const names = { hostName: () => 'veth0', hwaddr: () => '02:00:00:00:00:01' };
  return Object.fromEntries(planNics(expanded, () => null, names).map((nic) => [nic.device, nic.link.name]));
}

test('a new nic does not get the name that another one has kept', () => {
  const kept = { 'volatile.b.name': 'eth0' };
  assert.deepEqual(guestNames({ a: NIC, b: NIC }, kept), { a: 'eth1', b: 'eth0' });
  assert.deepEqual(guestNames({ a: NIC, b: NIC, c: { ...NIC, name: 'eth1' } }, kept), {
    a: 'eth2',
    b: 'eth0',
    c: 'eth1',
  });
});

test('a name that was kept for a nic that has another one now, or is gone, is free', () => {
  assert.deepEqual(guestNames({ a: NIC, b: { ...NIC, name: 'lan' } }, { 'volatile.b.name': 'eth0' }), {
    a: 'eth0',
    b: 'lan',
  });
  assert.deepEqual(guestNames({ a: NIC }, { 'volatile.b.name': 'eth0' }), { a: 'eth0' });
});
