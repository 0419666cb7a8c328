/** Rebuilds and evacuations: the steps, and what each failure leaves of the guest, the migration and the allocation. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER } from '../../driver/compute/host.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { Fault } from '../../process/fault.ts';
import { novaVif } from '../support/nova-objects.ts';
import { primitive } from '../support/fake-nova.ts';
import { IMAGE, LifeBench, NEW_IMAGE, UUID } from '../support/life-bench.ts';

let bench: LifeBench;
beforeEach(async () => {
  bench = await LifeBench.make();
});
afterEach(() => bench.stop());

const ARGS: Json = {
  new_pass: 'secret',
  injected_files: [],
  image_ref: NEW_IMAGE,
  orig_image_ref: IMAGE,
  orig_sys_metadata: { image_min_disk: '1' },
  bdms: null,
  recreate: false,
  on_shared_storage: false,
  preserve_ephemeral: false,
  migration: null,
  scheduled_node: 'node-a',
  limits: {},
  request_spec: null,
  accel_uuids: [],
  reimage_boot_volume: false,
};

/** As the API leaves it: the new image is in the database already. */
const REBUILDING = {
  task_state: 'rebuilding',
  image_ref: NEW_IMAGE,
  system_metadata: { image_min_disk: '2' },
};

function rebuild(row: Json, given: Json = {}): Promise<unknown> {
  return bench.ask('rebuild_instance', { ...ARGS, instance: bench.object(row), ...given });
}

test('a rebuild keeps the ports, and gives the guest its password and its files', async () => {
  const vif = novaVif({ active: true });
  const cache = primitive('InstanceInfoCache', { instance_uuid: UUID, network_info: JSON.stringify([vif]) });
  const row = bench.add({ ...REBUILDING, info_cache: cache });
  bench.guests.add(UUID, { vifs: [vif] });
  await rebuild(row, { injected_files: [['/etc/motd', Buffer.from('hello').toString('base64')]] });
  const [request] = bench.guests.spawned;
  assert.equal(request?.fingerprint, 'f2');
  assert.deepEqual(request.vifs, [vif]);
  assert.equal(request.adminPassword, 'secret');
  assert.equal(String(request.drive?.get('openstack/content/0000')), 'hello');
  assert.equal(bench.row()['vm_state'], 'active');
});

test('a rebuild waits for ports that are not wired', async () => {
  const vif = novaVif({ active: false });
  const cache = primitive('InstanceInfoCache', { instance_uuid: UUID, network_info: JSON.stringify([vif]) });
  const row = bench.add({ ...REBUILDING, info_cache: cache });
  bench.guests.add(UUID);
  bench.guests.before = (method) => {
    if (method !== 'spawn') return;
    const event = { name: 'network-vif-plugged', tag: vif.id, status: 'completed' };
    assert.ok(bench.host.events.deliver(UUID, event));
  };
  await rebuild(row);
  assert.equal(bench.row()['vm_state'], 'active');
});

test('what was stopped is stopped again after its rebuild', async () => {
  const row = bench.add({ ...REBUILDING, vm_state: 'stopped', power_state: 4 });
  bench.guests.add(UUID, { power: POWER.shutdown });
  await rebuild(row);
  assert.deepEqual(bench.guests.done, ['powerOff 60', 'destroy', 'spawn', 'powerOff 0']);
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['power_state'], POWER.shutdown);
  assert.equal(bench.row()['task_state'], null);
});

test('an instance whose guest has vanished is rebuilt', async () => {
  const row = bench.add({ ...REBUILDING, vm_state: 'error' });
  await rebuild(row);
  assert.deepEqual(bench.guests.done, ['destroy', 'spawn']);
  assert.equal(bench.row()['vm_state'], 'active');
});

test('ephemeral disks cannot be kept: that is refused before anything is done', async () => {
  const row = bench.add(REBUILDING);
  bench.guests.add(UUID);
  const args = { ...ARGS, instance: bench.object(row), preserve_ephemeral: true };
  const failure = await bench.refused('rebuild_instance', args);
  assert.equal(failure.className, 'PreserveEphemeralNotSupported');
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.row()['vm_state'], 'active');
  assert.equal(bench.row()['image_ref'], IMAGE);
  assert.deepEqual(bench.row()['system_metadata'], { image_min_disk: '1' });
  assert.equal(bench.row()['task_state'], null);
});

test('an instance with a volume is not rebuilt: its root stays', async () => {
  const row = bench.add(REBUILDING);
  bench.guests.add(UUID);
  const volume = primitive('BlockDeviceMapping', { destination_type: 'volume' });
  const bdms = primitive('BlockDeviceMappingList', { objects: [volume] });
  const failure = await bench.refused('rebuild_instance', { ...ARGS, instance: bench.object(row), bdms });
  assert.equal(failure.className, 'NotImplementedError');
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.row()['image_ref'], IMAGE);
  assert.deepEqual(bench.row()['system_metadata'], { image_min_disk: '1' });
  assert.equal(bench.row()['task_state'], null);
});

test('an image that Glance does not have leaves the guest as it is', async () => {
  bench.cloud.on('GET', /^\/image\/v2\/images\//, { status: 404 });
  const row = bench.add(REBUILDING);
  bench.guests.add(UUID);
  await assert.rejects(rebuild(row));
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.row()['vm_state'], 'active');
  assert.equal(bench.row()['image_ref'], IMAGE);
  assert.deepEqual(bench.row()['system_metadata'], { image_min_disk: '1' });
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.faults.length, 1);
});

test('an image that cannot be fetched leaves the old guest, and Nova knows the image it has', async () => {
  bench.cloud
    .on('GET', /^\/image\/v2\/images\//, (asked) => ({
      body: { id: asked.path.split('/').at(-1), status: 'active', checksum: 'c2', size: 1 },
    }))
    .on('GET', /^\/image\/v2\/images\/[^/]+\/file$/, { status: 404 });
  const row = bench.add(REBUILDING);
  bench.guests.add(UUID);
  await assert.rejects(rebuild(row));
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['image_ref'], IMAGE);
  assert.deepEqual(bench.row()['system_metadata'], { image_min_disk: '1' });
});

test('a rebuild whose guest cannot be made is an error that says why, and can be tried again', async () => {
  const row = bench.add(REBUILDING);
  bench.guests.add(UUID);
  bench.guests.fail('spawn', new Fault('storage_full', 'no space left'));
  await assert.rejects(rebuild(row), /no space left/);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(bench.faults, ['no space left']);
  row['task_state'] = 'rebuilding';
  await rebuild(row);
  assert.equal(bench.row()['vm_state'], 'active');
});

test('a delete that comes while an instance is rebuilt ends the rebuild without a fault', async () => {
  const row = bench.add(REBUILDING);
  bench.guests.add(UUID);
  bench.guests.before = (method) => {
    if (method === 'destroy') row['task_state'] = 'deleting';
  };
  await rebuild(row);
  assert.deepEqual(bench.guests.done, ['powerOff 60', 'destroy']);
  assert.equal(bench.row()['task_state'], 'deleting');
  assert.deepEqual(bench.faults, []);
});

const AWAY = { task_state: 'rebuilding', host: 'node-b', node: 'node-b' };

/** The migration is the wire's, made anew for each test. */
function evacuate(row: Json, given: Json = {}): Promise<unknown> {
  const migration = primitive('Migration', {
    id: 13,
    instance_uuid: UUID,
    source_compute: 'node-b',
    status: 'accepted',
    migration_type: 'evacuation',
  });
  const none = { image_ref: null, orig_image_ref: null, orig_sys_metadata: null, injected_files: null };
  return rebuild(row, { ...none, recreate: true, on_shared_storage: null, migration, ...given });
}

test('an evacuation that Nova wants stopped ends stopped', async () => {
  const row = bench.add(AWAY);
  await evacuate(row, { target_state: 'stopped' });
  assert.deepEqual(bench.guests.done, ['spawn', 'powerOff 0']);
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['host'], 'node-a');
  assert.deepEqual(statuses(), ['pre-migrating', 'done']);
});

test('a migration that knows nodes by their number is told that of this one', async () => {
  const row = bench.add(AWAY);
  const fields = { id: 13, instance_uuid: UUID, source_compute: 'node-b', status: 'accepted' };
  await evacuate(row, { migration: primitive('Migration', fields) });
  const asked = () => bench.calls().filter((call) => call.object === 'Migration');
  assert.equal(asked()[0]?.changes?.['dest_compute_id'], undefined);
  bench.nova.forget();
  await bench.guests.destroy({ requestId: '' }, UUID);
  Object.assign(row, AWAY);
  // What primitive() makes of a migration.
  const newer = { ...(primitive('Migration', fields) as Json), 'nova_object.version': '1.8' };
  await evacuate(row, { migration: newer });
  assert.equal(asked()[0]?.changes?.['dest_compute_id'], bench.host.tracker.node.id);
});

test('an evacuation that fails leaves no guest, no allocation and a migration that failed', async () => {
  const row = bench.add(AWAY);
  const kept = allocations();
  bench.guests.fail('spawn', new Fault('storage_full', 'no space left'));
  await assert.rejects(evacuate(row), /no space left/);
  assert.deepEqual(bench.guests.done, ['spawn', 'destroy']);
  assert.deepEqual(kept, [['node-b-uuid']]);
  assert.deepEqual(statuses(), ['pre-migrating', 'failed']);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['host'], 'node-b');
});

test('an evacuation whose image Glance does not have fails, so that its host keeps the guest', async () => {
  bench.cloud.on('GET', /^\/image\/v2\/images\//, { status: 404 });
  const row = bench.add(AWAY);
  const kept = allocations();
  await assert.rejects(evacuate(row));
  assert.deepEqual(bench.guests.done, []);
  assert.deepEqual(kept, [['node-b-uuid']]);
  assert.deepEqual(statuses(), ['pre-migrating', 'failed']);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.row()['host'], 'node-b');
  assert.equal(bench.faults.length, 1);
});

test('an evacuation of an instance with a volume is refused, and its migration failed', async () => {
  const row = bench.add(AWAY);
  allocations();
  const volume = primitive('BlockDeviceMapping', { destination_type: 'volume' });
  const bdms = primitive('BlockDeviceMappingList', { objects: [volume] });
  await assert.rejects(evacuate(row, { bdms }), /cannot be rebuilt here/);
  assert.deepEqual(bench.guests.done, []);
  assert.deepEqual(statuses(), ['pre-migrating', 'failed']);
  assert.equal(bench.row()['vm_state'], 'active');
});

test('an evacuation of what is here already is refused, and what is here stays', async () => {
  const row = bench.add(AWAY);
  allocations();
  bench.guests.add(UUID);
  await assert.rejects(evacuate(row), /already exists/);
  assert.deepEqual(bench.guests.done, []);
  assert.deepEqual(statuses(), ['pre-migrating', 'failed']);
});

test('disks of containers are on no shared storage', async () => {
  const row = bench.add(AWAY);
  allocations();
  await assert.rejects(evacuate(row, { on_shared_storage: true }), /not on shared storage/);
  assert.deepEqual(bench.guests.done, []);
});

test('an evacuation that would break a server group leaves the instance as it was', async () => {
  const row = bench.add({ ...AWAY, vm_state: 'stopped' });
  allocations();
  bench.nova.answers.set('InstanceGroup.get_by_hint', () =>
    primitive('InstanceGroup', { uuid: 'g1', policy: 'affinity', members: [UUID, 'other'] }),
  );
  bench.nova.answers.set('InstanceGroup.get_hosts', () => [{ obj_what_changed: [] }, ['node-c']]);
  const hints = primitive('RequestSpec', { scheduler_hints: { group: ['g1'] } });
  await assert.rejects(evacuate(row, { request_spec: hints }));
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(statuses(), ['pre-migrating', 'failed']);
});

function statuses(): unknown[] {
  return bench
    .calls()
    .filter((call) => call.object === 'Migration')
    .map((call) => call.changes?.['status']);
}

/** The instance holds something of this host and of its own; gives what is left at each write. */
function allocations(): string[][] {
  const written: string[][] = [];
  const resources = { VCPU: 1 };
  const held = { [bench.host.tracker.node.uuid]: { resources }, 'node-b-uuid': { resources } };
  const body = { allocations: held, project_id: 'p1', user_id: 'u1', consumer_generation: 1 };
  bench.cloud
    .on('GET', new RegExp(`/allocations/${UUID}$`), { body })
    .on('PUT', new RegExp(`/allocations/${UUID}$`), (asked) => {
      const sent = isRecord(asked.body) ? asked.body['allocations'] : null;
      written.push(isRecord(sent) ? Object.keys(sent) : []);
      return { status: 204 };
    });
  return written;
}
