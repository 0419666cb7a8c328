/** Recorded builds, deletes and changes of interfaces are done here, and conductor is asked what the recorded service asked it. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER } from '../../driver/compute/host.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { BuildBench, recordedBuild } from '../support/build-bench.ts';
import { callOf, type RecordedCall } from '../support/life-bench.ts';

let bench: BuildBench;
beforeEach(async () => {
  bench = await BuildBench.make();
});
afterEach(() => bench.stop());

/**
 * What the recorded service asks beside the work: the tracker's questions,
 * lists for hardware and shares that containers have none of, and fields it
 * has loaded to notify somebody.
 */
const ONLY_THERE = [
  'BlockDeviceMappingList.get_by_instance_uuid',
  'Service.get_by_compute_host',
  'Instance.get_by_uuid',
  'InstancePCIRequests.get_by_instance_uuid',
  'InstanceNUMATopology.get_by_instance_uuid',
  'ResourceList.get_by_instance_uuid',
  'ShareMappingList.get_by_instance_uuid',
];

/** In Python's objects reading a field may change it; these two, and resources of hardware, need no save. */
const BY_READING = ['info_cache', 'old_flavor', 'new_flavor', 'resources', 'ec2_ids', 'tags'];
const BY_NAME_ONLY = ['launched_at', 'terminated_at', 'network_info', 'address', 'uuid'];

function textOf(call: RecordedCall): string {
  const { exc_tb: _trace, ...kwargs } = call.kwargs;
  const expected = kwargs['expected_task_state'];
  // One state alone and a list of one mean the same.
  if (expected !== undefined && !Array.isArray(expected)) kwargs['expected_task_state'] = [expected];
  const changes = Object.entries(call.changes ?? {})
    .filter(([field]) => !BY_READING.includes(field))
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([field, value]) =>
      BY_NAME_ONLY.includes(field) ? field : `${field}=${JSON.stringify(sorted(value))}`,
    );
  const named = call.object === 'VirtualInterface' ? [] : call.args;
  return [`${call.object}.${call.method}`, JSON.stringify([named, kwargs]), ...changes].join(' ');
}

function sorted(value: unknown): unknown {
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a.localeCompare(b)));
}

function texts(calls: readonly RecordedCall[]): string[] {
  return calls.filter((call) => !ONLY_THERE.includes(`${call.object}.${call.method}`)).map(textOf);
}

function sent(): RecordedCall[] {
  return bench.life.nova.asked.filter((one) => one.method.startsWith('object_')).map(callOf);
}

/** Those whose order users and conductor see; ports are made beside them. */
function ordered(all: readonly string[]): string[] {
  return all.filter((text) => /^(?:Instance|InstanceActionEvent|ConsoleAuthToken)\./.test(text));
}

const BUILDS = [
  'boot',
  'boot-no-network',
  'boot-many-1',
  'boot-many-2',
  'boot-2025-no-network',
  'boot-2025-ovn',
  'boot-zed-on-2025',
  'boot-2026',
];

for (const operation of BUILDS) {
  test(`${operation}: a build saves what a real compute service saved`, async () => {
    const asked = bench.record(operation);
    await bench.ask(asked);
    const mine = texts(sent()).map((text) => withIds(operation, text));
    const theirs = texts(recordedBuild(operation).calls).map((text) => withIds(operation, text));
    assert.deepEqual(ordered(mine), ordered(theirs));
    assert.deepEqual(mine.toSorted(), theirs.toSorted());
    const row = bench.life.row(asked.uuid);
    assert.deepEqual(
      [row['vm_state'], row['task_state'], row['host'], row['power_state']],
      ['active', null, 'node-a', POWER.running],
    );
    assert.deepEqual(bench.ended, [true]);
    assert.deepEqual(bench.life.placement.dropped, []);
  });
}

/** compute_id is the number of the node; a service older than its control plane knew no such field. */
function withIds(operation: string, text: string): string {
  return text.replace(/ compute_id=\d+/, operation === 'boot-zed-on-2025' ? '' : ' compute_id=1');
}

test('boot: ports come after the state that says so, and their cache before the last save', async () => {
  const asked = bench.record('boot');
  await bench.ask(asked);
  const lines = texts(sent());
  const at = (part: RegExp): number => lines.findIndex((line) => part.test(line));
  const order = [
    /"networking"/,
    /^VirtualInterface.create/,
    /^InstanceInfoCache.save/,
    /vm_state="active"/,
  ].map(at);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
  assert.ok(order.every((index) => index >= 0));
});

test('boot: the guest gets its image, its port and its password', async () => {
  const asked = bench.record('boot');
  bench.neutron.next.push({ id: '0fd0776f-418c', mac_address: 'fa:16:3e:8c:52:49', ip: '10.0.0.76' });
  await bench.ask(asked);
  const [request] = bench.life.guests.spawned;
  assert.ok(request);
  assert.equal(request.fingerprint, 'f1');
  assert.equal(request.adminPassword, asked.args['admin_password']);
  assert.equal(request.drive, null);
  assert.deepEqual(
    request.vifs.map((vif) => [vif.id, vif.address, vif.type, vif.active]),
    [['0fd0776f-418c', 'fa:16:3e:8c:52:49', 'ovs', false]],
  );
});

for (const operation of ['delete', 'force-delete', 'delete-2025-ovn']) {
  test(`${operation}: a delete asks conductor what a real compute service asked it`, async () => {
    const asked = bench.record(operation);
    bench.life.guests.add(asked.uuid);
    await bench.ask(asked);
    const mine = texts(sent());
    // Nova fills the cache once more before it empties it.
    const theirs = texts(recordedBuild(operation).calls).filter(isWanted);
    assert.deepEqual(ordered(mine), ordered(theirs));
    assert.deepEqual([...new Set(mine)].sort(), [...new Set(theirs)].sort());
    assert.deepEqual(bench.leftovers(asked.uuid), { guest: false, ports: [], claim: false });
    assert.deepEqual(bench.life.placement.dropped, [asked.uuid]);
  });
}

function isWanted(text: string): boolean {
  return !text.startsWith('InstanceInfoCache.refresh');
}

test('interface-attach: the answer is the VIF, and the instance is saved with its cache', async () => {
  const asked = bench.record('interface-attach');
  bench.life.guests.add(asked.uuid);
  bench.neutron.addNetwork(String(asked.args['network_id']), { tenant_id: 'p1' });
  const facts = { id: 'cc506380-2429', mac_address: 'fa:16:3e:c6:6c:ff', ip: '10.77.0.6' };
  bench.neutron.next.push(facts);
  const vif = JSON.parse(JSON.stringify(await bench.ask(asked))) as Json; // a VIF
  assert.equal(vif['id'], facts.id);
  assert.deepEqual(texts(sent()).toSorted(), texts(recordedBuild('interface-attach').calls).toSorted());
  assert.deepEqual(bench.life.guests.done, [`attachInterface ${facts.id}`]);
  const cached = cacheOf('InstanceInfoCache.save');
  assert.equal(cached.length, 2);
  assert.equal(cached.at(-1)?.['id'], facts.id);
});

test('interface-detach: the port goes, its record and its place in the cache too', async () => {
  const asked = bench.record('interface-detach');
  const port = String(asked.args['port_id']);
  bench.life.guests.add(asked.uuid);
  bench.neutron.addPort(port, 'net-1', { device_id: asked.uuid });
  const record = { 'nova_object.name': 'VirtualInterface', 'nova_object.version': '1.3' };
  bench.life.nova.answers.set('VirtualInterface.get_by_uuid', (args) => ({
    ...record,
    'nova_object.data': { uuid: args[0], id: 8 },
  }));
  await bench.ask(asked);
  assert.deepEqual(texts(sent()).toSorted(), texts(recordedBuild('interface-detach').calls).toSorted());
  assert.deepEqual(bench.life.guests.done, [`detachInterface ${port}`]);
  assert.equal(bench.neutron.ports.has(port), false);
  assert.ok(cacheOf('InstanceInfoCache.save').every((vif) => vif['id'] !== port));
});

function cacheOf(line: string): Json[] {
  const { objinst } = bench.life.nova.last(line);
  const data = isRecord(objinst) ? objinst['nova_object.data'] : null;
  assert.ok(isRecord(data));
  return JSON.parse(String(data['network_info'])) as Json[]; // VIFs
}
