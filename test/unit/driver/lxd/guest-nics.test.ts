/** Interfaces of one guest that come and go at the same time. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import type { LxdInstance } from '../../../../driver/lxd/client.ts';
import { GuestNics } from '../../../../driver/lxd/guest-nics.ts';
import { guestBody } from '../../../../driver/lxd/guest-spec.ts';
import { novaInstance, novaVif } from '../../../support/nova-objects.ts';

const FIRST = novaVif();
const SECOND = novaVif({ id: 'p2', devname: 'tapp2', address: 'fa:16:3e:00:00:02' });
const THIRD = novaVif({ id: 'p3', devname: 'tapp3', address: 'fa:16:3e:00:00:03' });
const CALLER = { requestId: 'req-1' };
const UUID = novaInstance().uuid;

type Devices = Record<string, Readonly<Record<string, string>>>;

/** A daemon that takes its time for every change, as a hot plug does. */
function daemonWith(devices: Devices) {
  let now = devices;
  const body = guestBody(novaInstance(), [], {
    name: 'instance-1',
    fingerprint: 'f',
    pool: 'p',
    start: true,
  });
  const found = (): LxdInstance => ({
    architecture: 'x86_64',
    config: { ...body.config },
    devices: Object.fromEntries(Object.entries(now).map(([name, one]) => [name, { ...one }])),
    ephemeral: false,
    profiles: [],
    stateful: false,
    description: '',
    created_at: '',
    expanded_config: {},
    expanded_devices: {},
    name: body.name,
    status: 'Running',
    status_code: 103,
    last_used_at: '',
    location: 'none',
    type: 'container',
    project: 'default',
  });
  // A definition is sent as what it is: an object with devices.
  const devicesOf = (sent: unknown): Devices => (sent as { readonly devices: Devices }).devices;
  const client = {
    patch: async (_caller: unknown, _name: string, sent: unknown) => {
      await turn();
      now = { ...now, ...devicesOf(sent) };
    },
    put: async (_caller: unknown, _name: string, sent: unknown) => {
      await turn();
      now = devicesOf(sent);
    },
  };
  const finder = { find: () => Promise.resolve(found()) };
  return { nics: new GuestNics(client, finder), names: () => namesOf(now) };
}

function namesOf(devices: Devices): readonly string[] {
  return Object.entries(devices).map(([device, one]) => `${device} ${one['name'] ?? ''}`);
}

test('two ports that come at the same time get names of their own inside', async () => {
  const daemon = daemonWith({});
  await Promise.all([FIRST, SECOND, THIRD].map((vif) => daemon.nics.attach(CALLER, UUID, vif)));
  assert.deepEqual(daemon.names(), [`${FIRST.devname} eth0`, 'tapp2 eth1', 'tapp3 eth2']);
});

test('a port that comes while another goes stays', async () => {
  const daemon = daemonWith({});
  await daemon.nics.attach(CALLER, UUID, FIRST);
  await daemon.nics.attach(CALLER, UUID, SECOND);
  await Promise.all([daemon.nics.detach(CALLER, UUID, SECOND), daemon.nics.attach(CALLER, UUID, THIRD)]);
  assert.deepEqual(daemon.names(), [`${FIRST.devname} eth0`, 'tapp3 eth1']);
});
