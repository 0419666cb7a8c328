import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestChanges } from '../../../../api/guest/guest-changes.ts';
import { configUrls, guestDevices, metaData } from '../../../../api/guest/guest-view.ts';
import type { DeviceMap, StringMap } from '../../../../api/db/rows.ts';
import type { Expanded } from '../../../../api/instances/types.ts';
import { rowOf } from '../../../support/tiny-instances.ts';

function expanded(config: StringMap, devices: DeviceMap = {}): Expanded {
  return { row: rowOf('c1', config), config, devices };
}

test('only keys of the guest are told, with their old and new values', () => {
  const before = expanded({ 'user.a': '1', 'user.gone': 'x', 'limits.cpu': '1' });
  const after = expanded({ 'user.a': '2', 'cloud-init.user-data': 'new', 'limits.cpu': '2' });
  assert.deepEqual(guestChanges(before, after), [
    { type: 'config', metadata: { key: 'cloud-init.user-data', old_value: '', value: 'new' } },
    { type: 'config', metadata: { key: 'user.a', old_value: '1', value: '2' } },
    { type: 'config', metadata: { key: 'user.gone', old_value: 'x', value: '' } },
  ]);
});

test('devices are added, removed or updated', () => {
  const before = expanded(
    {},
    { same: { type: 'none' }, old: { type: 'none' }, eth0: { type: 'nic', mtu: '1' } },
  );
  const after = expanded(
    {},
    { same: { type: 'none' }, eth0: { type: 'nic', mtu: '2' }, disk: { type: 'disk' } },
  );
  assert.deepEqual(
    guestChanges(before, after).map((event) => event.metadata),
    [
      { action: 'added', name: 'disk', config: { type: 'disk' } },
      { action: 'updated', name: 'eth0', config: { type: 'nic', mtu: '2' } },
      { action: 'removed', name: 'old', config: { type: 'none' } },
    ],
  );
});

test('a nic shows the address it was given', () => {
  const config = { 'volatile.eth0.hwaddr': '00:16:3e:00:00:01', 'volatile.eth1.hwaddr': '00:16:3e:00:00:02' };
  const devices = {
    eth0: { type: 'nic' },
    eth1: { type: 'nic', hwaddr: '00:16:3e:ff:ff:ff' },
    root: { type: 'disk' },
  };
  assert.deepEqual(guestDevices(expanded(config, devices)), {
    eth0: { type: 'nic', hwaddr: '00:16:3e:00:00:01' },
    eth1: { type: 'nic', hwaddr: '00:16:3e:ff:ff:ff' },
    root: { type: 'disk' },
  });
});

test('meta-data begins with what cloud-init needs and goes on with what the user wrote', () => {
  const config = { 'volatile.cloud-init.instance-id': 'abc', 'user.meta-data': 'x: y\n' };
  assert.equal(metaData(expanded(config)), '#cloud-config\ninstance-id: abc\nlocal-hostname: c1\nx: y\n');
  assert.deepEqual(configUrls(expanded(config)), ['/1.0/config/user.meta-data']);
});
