import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { LxdInstance } from '../../../../driver/lxd/client.ts';
import {
  guestBody,
  isRescuer,
  renewed,
  rescueBody,
  withNic,
  withNics,
  withSeeds,
  withoutNic,
} from '../../../../driver/lxd/guest-spec.ts';
import type { InstanceBody } from '../../../../driver/lxd/instance-spec.ts';
import { isFault } from '../../../../process/fault.ts';
import { novaInstance, novaVif } from '../../../support/nova-objects.ts';

const OPTIONS = { name: 'instance-0000000f', fingerprint: 'f1', pool: 'default', start: true };
const FIRST = novaVif();
const SECOND = novaVif({ id: 'p2', devname: 'tapp2', address: 'fa:16:3e:00:00:02' });
const THIRD = novaVif({ id: 'p3', devname: 'tapp3', address: 'fa:16:3e:00:00:03' });

/** An instance as the daemon tells of one that was made with this body. */
function made(body: InstanceBody, config: Readonly<Record<string, string>> = {}): LxdInstance {
  return {
    architecture: 'x86_64',
    config: { ...body.config, ...config },
    devices: Object.fromEntries(Object.entries(body.devices).map(([name, one]) => [name, { ...one }])),
    ephemeral: false,
    profiles: [],
    stateful: false,
    description: body.description,
    created_at: '',
    expanded_config: {},
    expanded_devices: {},
    name: body.name,
    status: 'Stopped',
    status_code: 102,
    last_used_at: '',
    location: 'none',
    type: 'container',
    project: 'default',
  };
}

const namesOf = (devices: Readonly<Record<string, Readonly<Record<string, string>>>> | undefined) =>
  Object.entries(devices ?? {}).flatMap(([device, one]) =>
    one['type'] === 'nic' ? [`${device} ${one['name'] ?? ''}`] : [],
  );

test('a guest is started by nobody but Nova, and has no guest API of LXD', () => {
  const { config } = guestBody(novaInstance(), [], OPTIONS);
  assert.equal(config['boot.autostart'], 'false');
  assert.equal(config['security.devlxd'], 'false');
  assert.equal(config['environment.product_name'], 'OpenStack Nova');
  assert.equal(config['slipway.hostname'], 'cap1');
});

test('a host name that the kernel would not take is left away', () => {
  for (const hostname of ['', '-x', 'a'.repeat(70), 'two words']) {
    const { config } = guestBody(novaInstance({ hostname }), [], OPTIONS);
    assert.equal(config['slipway.hostname'], undefined, hostname);
  }
});

test('ephemeral disk and swap of the flavor are there', () => {
  const { devices, config } = guestBody(novaInstance({}, { ephemeral_gb: 3, swap: 256 }), [], OPTIONS);
  assert.deepEqual(devices['ephemeral0'], { type: 'disk', source: 'empty:', size: '3GiB', path: '/mnt' });
  assert.equal(config['limits.memory.swap'], '256MiB');
});

test('interfaces keep their names when others come and go', () => {
  const found = made(guestBody(novaInstance(), [FIRST, SECOND], OPTIONS));
  assert.equal(withNics(found, [SECOND, FIRST]), null);
  assert.deepEqual(namesOf(withNics(found, [SECOND, THIRD])?.devices), ['tapp2 eth1', 'tapp3 eth0']);
  assert.deepEqual(namesOf(withNics(found, [])?.devices), []);
  assert.equal(withNic(found, FIRST), null);
  assert.equal(withNic(found, THIRD)?.['tapp3']?.['name'], 'eth2');
  assert.deepEqual(namesOf(withoutNic(found, 'tapp2')?.devices), [`${FIRST.devname} eth0`]);
  assert.equal(withoutNic(found, 'root'), null);
  assert.equal(withoutNic(found, 'tapp3'), null);
});

test('a nic that comes later has the limits of the flavor', () => {
  const specs = { extra_specs: { 'quota:vif_inbound_average': '100' } };
  const found = made(guestBody(novaInstance({}, specs), [FIRST], OPTIONS));
  assert.equal(found.devices[FIRST.devname]?.['limits.ingress'], '800kbit');
  assert.equal(withNic(found, SECOND)?.['tapp2']?.['limits.ingress'], '800kbit');
});

test('a definition made anew keeps what Nova does not know', () => {
  const instance = novaInstance({}, { memory_mb: 128, root_gb: 5 });
  const old = guestBody(novaInstance({}, { memory_mb: 64 }), [FIRST], OPTIONS);
  const found = made(withSeeds(old, instance), {
    'volatile.uuid': 'u',
    'image.os': 'BusyBox',
    'limits.cpu.priority': '3',
    'user.nova.suspended': 'true',
  });
  found.devices['volume'] = { type: 'unix-block', path: '/dev/vdb', source: '/dev/sdc' };
  const fresh = renewed(found, instance, [SECOND], 'default');
  const { config, devices } = fresh;
  assert.equal(config['limits.memory'], '128MiB');
  assert.equal(config['volatile.uuid'], 'u');
  assert.equal(config['image.os'], 'BusyBox');
  assert.equal(config['user.user-data'], '#cloud-config\n');
  assert.equal(config['limits.cpu.priority'], undefined);
  assert.equal(config['user.nova.suspended'], undefined);
  assert.deepEqual(namesOf(devices), ['tapp2 eth0']);
  // A root disk is resized by a resize, which asks Placement first.
  assert.equal(devices['root']?.['size'], '1GiB');
  assert.equal(devices['volume']?.['path'], '/dev/vdb');
});

test('who rescues has the old root in place of the ephemeral disk, also when made anew', () => {
  const instance = novaInstance({}, { ephemeral_gb: 1 });
  const body = rescueBody(instance, [FIRST], { ...OPTIONS, kept: 'instance-0000000f-rescued' });
  const rescued = { type: 'disk', source: 'root:instance-0000000f-rescued', path: '/mnt/rescued' };
  assert.deepEqual(Object.keys(body.devices).sort(), ['rescued', 'root', FIRST.devname].sort());
  assert.deepEqual(body.devices['rescued'], rescued);
  assert.ok(isRescuer(made(body)));
  assert.ok(!isRescuer(made(guestBody(instance, [], OPTIONS))));
  assert.deepEqual(renewed(made(body), instance, [], 'default').devices['rescued'], rescued);
});

test('seeds are YAML that holds any key and name', () => {
  const body = guestBody(novaInstance(), [], OPTIONS);
  const keys = withSeeds(body, novaInstance({ key_data: 'ssh-rsa AAAA "quoted" \\ key\n' })).config;
  assert.match(keys['user.meta-data'] ?? '', /^ {2}- "ssh-rsa AAAA \\"quoted\\" \\\\ key"$/m);
  const none = withSeeds(body, novaInstance({ key_data: null, user_data: null })).config;
  assert.doesNotMatch(none['user.meta-data'] ?? '', /public-keys/);
  assert.equal(none['user.user-data'], undefined);
});

test('user data that are no text come through as what they are', () => {
  const body = guestBody(novaInstance(), [], OPTIONS);
  const seedOf = (data: Buffer): string => {
    const { config } = withSeeds(body, novaInstance({ user_data: data.toString('base64') }));
    return config['user.user-data'] ?? '';
  };
  const packed = gzipSync('#cloud-config\n');
  for (const [data, type] of [
    [packed, 'gzip'],
    [Buffer.from([0xff, 0xfe, 0x00]), 'octet-stream'],
  ] as const) {
    const [head = '', sent = ''] = seedOf(data).split('\n\n');
    assert.deepEqual(head.split('\n'), [
      'MIME-Version: 1.0',
      `Content-Type: application/${type}`,
      'Content-Transfer-Encoding: base64',
    ]);
    assert.deepEqual(Buffer.from(sent, 'base64'), data);
  }
  assert.equal(seedOf(Buffer.from('#cloud-config ä\n')), '#cloud-config ä\n');
});

test('a port that is bound to nothing is refused', () => {
  const found = made(guestBody(novaInstance(), [], OPTIONS));
  assert.throws(
    () => withNics(found, [novaVif({ type: 'unbound' })]),
    (err) => isFault(err, 'conflict'),
  );
});
