/** How a host joins, beside what a real nova-compute asked when it did. */
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { API_EXTENSIONS } from '../../api/api-extensions.ts';
import { NEEDED_EXTENSIONS } from '../../driver/compute/registration.ts';
import { isFault } from '../../process/fault.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { ServiceUnderTest, TRAITS } from '../support/compute-service.ts';
import { recorded } from '../support/recorded-messages.ts';

let sut: ServiceUnderTest;

beforeEach(async () => {
  sut = await ServiceUnderTest.make();
});

afterEach(async () => {
  await sut.destroy();
});

/** "Service.create" and so on of a recording, until the first sign of life. */
function recordedLines(name: string): string[] {
  const lines = recorded(name)
    .filter(({ key, message }) => key === 'conductor' && typeof message['method'] === 'string')
    .map(({ message }) => {
      const args = isRecord(message['args']) ? message['args'] : {};
      const object = isRecord(args['objinst']) ? args['objinst']['nova_object.name'] : args['objname'];
      return typeof object === 'string'
        ? `${object}.${String(args['objmethod'])}`
        : String(message['method']);
    });
  const end = lines.lastIndexOf('ComputeNode.save');
  return lines.slice(0, end + 1);
}

/** What this service does without, and why. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  // Only asked by services that know the API's database.
  'CellMappingList.get_all',
  // No devices are passed through.
  'PciDeviceList.get_by_compute_node',
]);
/** What it asks beyond: it reports the version of the control plane it finds. */
const OWN: ReadonlySet<string> = new Set(['Service.get_minimum_version']);

test('a new host asks what nova-compute of 2025.1 asks, in its order', async () => {
  await sut.start();
  const mine = sut.nova.lines.filter((line) => !OWN.has(line));
  const theirs = recordedLines('boot-of-2025.jsonl').filter((line) => !LEFT_OUT.has(line));
  // The service record is read for its disabled flag, before or after the node is saved.
  const last = (lines: string[]): string[] => [...lines.slice(0, -2), ...lines.slice(-2).sort()];
  assert.deepEqual(last(dedupe(mine)), last(theirs));
});

/** Recovery may look at its instances in its own way; the first of each line counts. */
function dedupe(lines: readonly string[]): string[] {
  return [...new Set(lines)];
}

test('the service record is made with its version, and nothing is served before the node is known', async () => {
  await sut.start();
  const { objinst } = sut.nova.last('Service.create');
  assert.ok(isRecord(objinst));
  assert.deepEqual(objinst['nova_object.data'], {
    host: 'node-a',
    binary: 'nova-compute',
    topic: 'compute',
    report_count: 0,
    version: 68,
  });
  assert.ok(Array.isArray(objinst['nova_object.changes']));
  assert.ok(objinst['nova_object.changes'].includes('version'));
  assert.deepEqual(sut.topics, ['open compute', 'open compute-alt']);
  assert.equal(sut.nova.nodes.length, 1);
});

test('the node is made with the fields nova-compute makes it with, and completed by a save', async () => {
  await sut.start();
  const theirs = recorded('boot-of-2025.jsonl')
    .map(({ message }) => message['args'])
    .filter(isRecord)
    .filter((args) => isRecord(args['objinst']) && args['objinst']['nova_object.name'] === 'ComputeNode');
  const changes = (args: Json | undefined): unknown[] => {
    const object = args?.['objinst'];
    assert.ok(isRecord(object) && Array.isArray(object['nova_object.changes']));
    return [...object['nova_object.changes']].sort();
  };
  const made = theirs.find((args) => args['objmethod'] === 'create');
  const saved = theirs.find((args) => args['objmethod'] === 'save');
  assert.deepEqual(changes(sut.nova.last('ComputeNode.create')), changes(made));
  // nova-compute writes two more, with the value they have already.
  const same = ['local_gb_used', 'vcpus_used'];
  const expected = changes(saved).filter((field) => !same.includes(String(field)));
  assert.deepEqual(changes(sut.nova.last('ComputeNode.save')), expected);
});

test('Placement hears of provider, inventories and traits, each with its microversion', async () => {
  await sut.start();
  const [node] = sut.nova.nodes;
  const writes = sut.cloud.asked.filter((one) => one.method !== 'GET' && one.path.startsWith('/placement'));
  const told = writes.map((one) => [
    one.method,
    one.path.replace(String(node?.['uuid']), 'UUID'),
    one.headers['openstack-api-version'],
  ]);
  assert.deepEqual(told, [
    ['POST', '/placement/resource_providers', 'placement 1.20'],
    ['PUT', '/placement/resource_providers/UUID/inventories', 'placement 1.26'],
    ['PUT', '/placement/resource_providers/UUID/traits', 'placement 1.6'],
  ]);
  assert.deepEqual(writes[0]?.body, { uuid: node?.['uuid'], name: 'node-a' });
  const capacity = await sut.guests.capacity({ requestId: '' });
  const class_ = (total: number, reserved: number, ratio: number) => ({
    total,
    reserved,
    min_unit: 1,
    max_unit: total,
    step_size: 1,
    allocation_ratio: ratio,
  });
  assert.deepEqual(writes[1]?.body, {
    resource_provider_generation: 0,
    inventories: {
      VCPU: class_(capacity.cpus, 0, 4),
      MEMORY_MB: class_(capacity.memoryMb, 512, 1),
      DISK_GB: class_(capacity.diskGb, 0, 1),
    },
  });
  assert.ok(sut.placement.only.traits.includes('OWNER_NOVA'));
  assert.ok(!sut.placement.only.traits.includes('COMPUTE_STATUS_DISABLED'));
  assert.ok(sut.placement.only.traits.every((trait) => TRAITS.includes(trait)));
});

test('a second start changes nothing and keeps what operators set at Placement', async () => {
  await sut.start();
  await sut.stop();
  const provider = sut.placement.only;
  provider.traits.push('CUSTOM_RACK_7');
  provider.inventories = { ...provider.inventories, CUSTOM_GPU: { ...inventory(), total: 2 } };
  const vcpu = provider.inventories['VCPU'];
  assert.ok(isRecord(vcpu));
  vcpu['allocation_ratio'] = 16;
  const { generation } = provider;
  const before = sut.nova.lines.length;
  await sut.start();
  const again = sut.nova.lines.slice(before);
  assert.ok(!again.some((line) => line.endsWith('.create')), again.join(', '));
  assert.equal(provider.generation, generation);
  assert.ok(provider.traits.includes('CUSTOM_RACK_7'));
  assert.equal(sut.nova.nodes.length, 1);
});

function inventory(): Json {
  return { total: 1, reserved: 0, min_unit: 1, max_unit: 1, step_size: 1, allocation_ratio: 1 };
}

test('disabling puts the trait on the provider and enabling takes it off', async () => {
  await sut.start();
  assert.equal(await sut.ask('set_host_enabled', { enabled: false }), 'disabled');
  assert.ok(sut.placement.only.traits.includes('COMPUTE_STATUS_DISABLED'));
  assert.equal(await sut.ask('set_host_enabled', { enabled: true }), 'enabled');
  assert.ok(!sut.placement.only.traits.includes('COMPUTE_STATUS_DISABLED'));
});

test('a service that was disabled while it was away starts with the trait', async () => {
  await sut.start();
  await sut.stop();
  Object.assign(sut.nova.services[0] ?? {}, { disabled: true });
  await sut.start();
  assert.ok(sut.placement.only.traits.includes('COMPUTE_STATUS_DISABLED'));
});

test('the uptime is a line as uptime(1) prints it', async () => {
  await sut.start();
  assert.match(
    String(await sut.ask('get_host_uptime')),
    /^ \d\d:\d\d:\d\d up .+,  \d+ users,  load average: [\d.]+, [\d.]+, [\d.]+\n$/,
  );
});

test('what containers cannot do is answered with NotImplementedError', async () => {
  await sut.start();
  for (const method of ['host_power_action', 'host_maintenance_mode', 'quiesce_instance']) {
    await assert.rejects(sut.ask(method), { className: 'NotImplementedError' });
  }
  await assert.rejects(sut.ask('check_can_live_migrate_destination'), {
    className: 'MigrationPreCheckError',
  });
});

async function refused(start: Promise<void>, text: RegExp): Promise<void> {
  await assert.rejects(start, (err) => isFault(err) && text.test(err.message));
  assert.deepEqual(sut.topics.filter((line) => line.startsWith('open')).length % 2, 0);
}

test('a host that was renamed does not start', async () => {
  await sut.start('node-a');
  await sut.stop();
  await refused(sut.start('node-b'), /belongs to host node-a/);
});

test('a host that lost its identity does not start', async () => {
  await sut.start();
  await sut.stop();
  await rm(join(sut.folder, 'state', 'compute_id'));
  await refused(sut.start(), /identity, .*compute_id, is lost/);
});

test('a host that got another identity does not start', async () => {
  await sut.start();
  await sut.stop();
  await writeFile(join(sut.folder, 'state', 'compute_id'), '11111111-1111-4111-8111-111111111111\n');
  await refused(sut.start(), /Nova knows it as/);
});

test('a host with instances that the cloud never heard of does not start', async () => {
  sut.guests.add('135877f5-8316-4b41-9393-8113e5898d9f');
  await refused(sut.start(), /has 1 instances of Nova/);
});

test('a host of Zed takes over the uuid of its node', async () => {
  await sut.destroy();
  sut = await ServiceUnderTest.make(64);
  const uuid = '22222222-2222-4222-8222-222222222222';
  sut.nova.services.push({ id: 1, uuid: 's', host: 'node-a', binary: 'nova-compute', version: 64 });
  sut.nova.nodes.push({ id: 4, uuid, host: 'node-a', hypervisor_hostname: 'node-a', deleted: false });
  await sut.start();
  assert.equal((await readFile(join(sut.folder, 'state', 'compute_id'), 'utf8')).trim(), uuid);
  assert.equal(sut.nova.nodes.length, 1);
  assert.equal(sut.nova.services[0]?.['version'], 64);
});

test('a node that was deleted with its service comes back under its old uuid', async () => {
  await sut.start();
  await sut.stop();
  const [node] = sut.nova.nodes;
  Object.assign(node ?? {}, { deleted: true, deleted_at: '2026-01-01T00:00:00Z' });
  sut.nova.services.length = 0;
  sut.placement.providers.length = 0;
  await sut.start();
  assert.equal(node?.['deleted'], false);
  assert.equal(node['mapped'], 0);
  assert.equal(sut.nova.nodes.length, 1);
  assert.equal(sut.placement.only.uuid, node['uuid']);
});

test('a provider of the same name is told about with what to delete, and the host serves what it has', async () => {
  sut.placement.add({ uuid: '33333333-3333-4333-8333-333333333333', name: 'node-a' });
  await sut.start();
  assert.match(sut.log.errors.join('\n'), /openstack resource provider delete 33333333-3333/);
  assert.deepEqual(sut.topics, ['open compute', 'open compute-alt']);
});

test('allocations of deleted instances go; those of unknown ones stay', async () => {
  await sut.start();
  await sut.stop();
  const deleted = '44444444-4444-4444-8444-444444444444';
  const unknown = '55555555-5555-4555-8555-555555555555';
  sut.nova.instances.push({ uuid: deleted, host: 'node-x', deleted: true });
  sut.placement.only.allocations = {
    [deleted]: { resources: { VCPU: 1 } },
    [unknown]: { resources: { VCPU: 1 } },
  };
  await sut.start();
  assert.deepEqual(sut.placement.dropped, [deleted]);
});

test('while work ends, only events are taken by the first topic, and all by the second', async () => {
  await sut.start();
  await sut.stop();
  assert.deepEqual(sut.topics.slice(2), ['drain compute', 'close compute', 'close compute-alt']);
});

test('a daemon that does not trust this user ends the start before Nova hears of it', async () => {
  sut.isTrusted = false;
  await assert.rejects(sut.start(), /not trusted/);
  assert.deepEqual(sut.nova.lines, []);
});

test('a daemon that is older than the service ends the start with what is missing', async () => {
  sut.extensions = sut.extensions.filter((name) => name !== 'slipway_nic_ovs');
  await assert.rejects(
    sut.start(),
    (err) => isFault(err, 'conflict') && /lacks slipway_nic_ovs/.test(err.message),
  );
  assert.deepEqual(sut.nova.lines, []);
});

test('the extensions that are needed are those the daemon of this version has', () => {
  assert.deepEqual(
    NEEDED_EXTENSIONS.filter((name) => !API_EXTENSIONS.includes(name)),
    [],
  );
});
