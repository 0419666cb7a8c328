import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../../../process/fault.ts';
import type { NetInterface } from '../../../../native/types.ts';
import { interfaceState, interfaceType, parseVlan } from '../../../../api/network/host-interfaces.ts';

const LO: NetInterface = {
  index: 1,
  name: 'lo',
  hwaddr: '00:00:00:00:00:00',
  mtu: 65536,
  up: true,
  type: 'loopback',
  peerIndex: 0,
  addresses: [{ family: 'inet', address: '127.0.0.1', prefix: 8, scope: 'local' }],
  counters: {
    bytesReceived: 1,
    bytesSent: 2,
    packetsReceived: 3,
    packetsSent: 4,
    errorsReceived: 0,
    errorsSent: 0,
    droppedInbound: 0,
    droppedOutbound: 0,
  },
};
const parts = {
  native: { interfaces: () => Promise.resolve([[LO]]), waitGone: () => Promise.resolve(true) },
};

test('a vlan interface tells its number and the link below it', () => {
  const text =
    'eth0.5  VID: 5\t REORDER_HDR: 1  dev->priv_flags: 1001\n  total frames received 0\nDevice: eth0\n';
  assert.deepEqual(parseVlan(text), { lower_device: 'eth0', vid: 5 });
  assert.equal(parseVlan(null), null);
  assert.equal(parseVlan('nonsense'), null);
});

test('an interface that is no bridge, bond or vlan says so with null', async () => {
  assert.deepEqual(await interfaceState(parts, 'lo'), {
    addresses: [{ family: 'inet', address: '127.0.0.1', netmask: '8', scope: 'local' }],
    counters: { bytes_received: 1, bytes_sent: 2, packets_received: 3, packets_sent: 4 },
    hwaddr: '',
    mtu: 65536,
    state: 'up',
    type: 'loopback',
    bond: null,
    bridge: null,
    vlan: null,
    ovn: null,
  });
  assert.equal(await interfaceType(LO), 'loopback');
  await assert.rejects(interfaceState(parts, '../lo'), (err) => isFault(err, 'not_found'));
});
