/** Claims, the ComputeNode and Placement in the life of a host. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { heartbeat } from '../../driver/compute/heartbeat.ts';
import { NodeReport } from '../../driver/compute/node-report.ts';
import type { ProviderExtras } from '../../driver/compute/provider-config.ts';
import { HostTracker } from '../../driver/compute/tracker.ts';
import { Conductor } from '../../driver/nova/conductor.ts';
import { adminContext } from '../../driver/nova/context.ts';
import { NovaObject, type FieldValue } from '../../driver/nova/versioned-object.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { Fault } from '../../process/fault.ts';
import { cloudServices, type CloudServices } from '../support/cloud-services.ts';
import { KeptLog, TRAITS } from '../support/compute-service.ts';
import { FakeCloud } from '../support/fake-cloud.ts';
import { FakeGuests } from '../support/fake-guests.ts';
import { FakeNova, primitive } from '../support/fake-nova.ts';
import { FakePlacement } from '../support/fake-placement.ts';
import { computeOptions } from '../support/messaging.ts';

const NODE = '3e99e339-d388-4502-a2c2-d297bc98e370';
const ONE = '135877f5-8316-4b41-9393-8113e5898d9f';
const context = adminContext();

let cloud: FakeCloud;
let services: CloudServices;
let placement: FakePlacement;
let nova: FakeNova;
let log: KeptLog;
let guests: FakeGuests;
let folder: string;
let clock: number;
let extras: ProviderExtras;

beforeEach(async () => {
  cloud = await FakeCloud.start();
  services = cloudServices(cloud);
  placement = new FakePlacement(cloud, TRAITS);
  nova = new FakeNova();
  log = new KeptLog();
  guests = new FakeGuests();
  folder = await mkdtemp(join(tmpdir(), 'slipway-tracker-'));
  clock = 0;
  extras = { inventories: {}, traits: [] };
});

afterEach(async () => {
  services.session.close();
  await cloud.stop();
  await rm(folder, { recursive: true });
});

function makeTracker(conf = ''): HostTracker {
  const options = computeOptions(`[DEFAULT]\n${conf}`);
  return new HostTracker({
    conductor: new Conductor(nova),
    guests,
    placement: services.placement,
    report: new NodeReport({ placement: services.placement, options, log, extras, now: () => clock }),
    options,
    names: { host: 'node-a', node: 'node-a', address: '192.0.2.7' },
    identity: { uuid: NODE, file: join(folder, 'compute_id') },
    serviceId: () => 7,
    log,
    signal: AbortSignal.timeout(60_000),
  });
}

function row(uuid: string, given: Json = {}): Json {
  return {
    uuid,
    vm_state: 'building',
    task_state: null,
    os_type: null,
    project_id: 'p1',
    memory_mb: 64,
    vcpus: 1,
    root_gb: 1,
    ephemeral_gb: 0,
    host: null,
    node: null,
    deleted: false,
    ...given,
  };
}

function instanceOf(data: Json, version = '2.8'): NovaObject {
  const wire = primitive('Instance', data);
  assert.ok(isRecord(wire));
  return NovaObject.of({ ...wire, 'nova_object.version': version });
}

function node(): Json {
  const [only] = nova.nodes;
  assert.ok(only !== undefined);
  return only;
}

function written(cloudOf: FakeCloud): string[] {
  return cloudOf.lines().filter((line) => !line.startsWith('GET'));
}

test('a claim writes host, node and node id, and the node shows what is used', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  const instance = instanceOf(row(ONE));
  nova.instances.push(row(ONE));
  await tracker.claim(context, instance);
  const { objinst } = nova.last('Instance.save');
  assert.ok(isRecord(objinst) && Array.isArray(objinst['nova_object.changes']));
  assert.deepEqual([...objinst['nova_object.changes']].sort(), [
    'compute_id',
    'host',
    'launched_on',
    'node',
    'numa_topology',
  ]);
  await tracker.settled();
  const { vcpus_used, memory_mb_used, local_gb_used, running_vms, stats } = node();
  assert.deepEqual([vcpus_used, memory_mb_used, local_gb_used, running_vms], [1, 576, 1, 1]);
  assert.deepEqual(stats, {
    failed_builds: '0',
    num_instances: '1',
    num_vm_building: '1',
    num_task_None: '1',
    num_os_type_None: '1',
    num_proj_p1: '1',
    io_workload: '1',
  });
});

test('an instance of Zed has no node id to write', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  const instance = instanceOf(row(ONE), '2.7');
  await tracker.claim(context, instance);
  await tracker.abort(context, instance);
  assert.ok(!instance.has('compute_id'));
  await tracker.settled();
});

test('claims of many builds are written to the node together', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  const saves = () => nova.lines.filter((line) => line === 'ComputeNode.save').length;
  const before = saves();
  await Promise.all(
    Array.from({ length: 10 }, (_, at) => tracker.claim(context, instanceOf(row(`${ONE}${String(at)}`)))),
  );
  await tracker.settled();
  assert.equal(saves() - before, 1);
  assert.equal(node()['running_vms'], 10);
});

test('an aborted claim leaves nothing counted and no host', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  const instance = instanceOf(row(ONE));
  await tracker.claim(context, instance);
  await tracker.abort(context, instance);
  tracker.buildEnded(false);
  await tracker.settled();
  assert.equal(instance.textOrNull('host'), null);
  assert.equal(instance.textOrNull('node'), null);
  assert.deepEqual(node()['stats'], { failed_builds: '1' });
  assert.equal(node()['memory_mb_used'], 512);
});

test('nothing is claimed before the host has reported itself', async () => {
  await assert.rejects(makeTracker().claim(context, instanceOf(row(ONE))), {
    className: 'ComputeResourcesUnavailable',
  });
  assert.deepEqual(nova.lines, []);
});

test('a claim made while the database is read is not forgotten', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  // The list was read before the claim was saved.
  nova.answers.set('InstanceList.get_by_host_and_node', () => primitive('InstanceList', { objects: [] }));
  const claimed = new Promise<void>((resolve, reject) => {
    nova.answers.set('MigrationList.get_in_progress_and_error', () => {
      tracker.claim(context, instanceOf(row(ONE))).then(resolve, reject);
      return primitive('MigrationList', { objects: [] });
    });
  });
  await Promise.all([tracker.update(context), claimed]);
  await tracker.settled();
  assert.equal(node()['running_vms'], 1);
});

test('states are counted as they change, and a dropped instance is not', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  const instance = instanceOf(row(ONE));
  await tracker.claim(context, instance);
  instance.set('vm_state', 'active').set('task_state', 'powering-off');
  await tracker.note(context, instance);
  await tracker.settled();
  assert.equal(node()['current_workload'], 1);
  await tracker.drop(context, ONE);
  await tracker.settled();
  assert.equal(node()['running_vms'], 0);
});

test('a host where nothing happens asks what an idle nova-compute asks, and writes nothing', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  nova.forget();
  cloud.asked.length = 0;
  clock += 60_000;
  await tracker.update(context);
  assert.deepEqual(nova.lines, [
    'ComputeNodeList.get_all_by_host',
    'InstanceList.get_by_host_and_node',
    'MigrationList.get_in_progress_and_error',
    'Service.get_by_compute_host',
  ]);
  assert.deepEqual(cloud.lines(), [`GET /placement/resource_providers/${NODE}/allocations`]);
});

test('Placement is read again after five minutes, and what was taken away is put back', async () => {
  const tracker = makeTracker();
  await tracker.update(context, true);
  placement.only.traits = ['CUSTOM_RACK'];
  clock += 299_000;
  cloud.asked.length = 0;
  await tracker.update(context);
  assert.deepEqual(written(cloud), []);
  clock += 2000;
  await tracker.update(context);
  assert.ok(placement.only.traits.includes('COMPUTE_NODE'));
  assert.ok(placement.only.traits.includes('CUSTOM_RACK'));
});

test('a provider that another writer changed meanwhile is read again', async () => {
  const tracker = makeTracker();
  let races = 2;
  cloud.on('PUT', /\/inventories$/, (asked) => {
    const body = isRecord(asked.body) ? asked.body : {};
    if (races > 0) {
      races -= 1;
      return {
        status: 409,
        body: {
          errors: [{ code: 'placement.concurrent_update', detail: 'resource provider generation conflict' }],
        },
      };
    }
    placement.only.inventories = isRecord(body['inventories']) ? body['inventories'] : {};
    return { body };
  });
  await tracker.update(context, true);
  assert.equal(races, 0);
  assert.ok(placement.only.inventories['VCPU'] !== undefined);
  assert.deepEqual(log.errors, []);
});

test('a Placement that is away is told about, and the next report makes up for it', async () => {
  const tracker = makeTracker();
  cloud.on('POST', /resource_providers$/, { status: 503 });
  await tracker.update(context, true);
  assert.match(log.errors.join(), /may get no instances/);
  assert.equal(nova.nodes.length, 1);
  cloud.on('POST', /resource_providers$/, () => {
    placement.add({ uuid: NODE, name: 'node-a' });
    return { body: { uuid: NODE, name: 'node-a', generation: 0 } };
  });
  await tracker.update(context);
  assert.ok(placement.only.traits.includes('OWNER_NOVA'));
});

test('disk that a sharing provider has is not reported a second time', async () => {
  const tracker = makeTracker();
  const shared = placement.add({
    uuid: '77777777-7777-4777-8777-777777777777',
    name: 'shared',
    inventories: { DISK_GB: { total: 1000 } },
  });
  placement.providers.unshift({
    uuid: NODE,
    name: 'node-a',
    generation: 0,
    inventories: {},
    traits: [],
    aggregates: ['agg1'],
    allocations: {},
  });
  cloud.on('GET', /member_of=in:agg1&required=MISC_SHARES_VIA_AGGREGATE$/, {
    body: { resource_providers: [{ uuid: shared.uuid, name: shared.name, generation: 0 }] },
  });
  await tracker.update(context, true);
  assert.deepEqual(Object.keys(placement.only.inventories).sort(), ['MEMORY_MB', 'VCPU']);
});

test('what operators add by files goes to the provider, and custom traits are made', async () => {
  const gpu = { total: 2, reserved: 0, min_unit: 1, max_unit: 2, step_size: 1, allocation_ratio: 1 };
  extras = { inventories: { CUSTOM_GPU: gpu }, traits: ['CUSTOM_GOLD'] };
  cloud.on('PUT', /\/traits\/CUSTOM_GOLD$/, { status: 201 });
  await makeTracker().update(context, true);
  assert.deepEqual(placement.only.inventories['CUSTOM_GPU'], gpu);
  assert.ok(placement.only.traits.includes('CUSTOM_GOLD'));
});

test('ratios of the configuration go to the node and to Placement', async () => {
  const tracker = makeTracker('cpu_allocation_ratio = 8\nreserved_host_cpus = 1\n');
  await tracker.update(context, true);
  assert.equal(node()['cpu_allocation_ratio'], 8);
  assert.equal(node()['ram_allocation_ratio'], 1);
  const vcpu = placement.only.inventories['VCPU'];
  assert.ok(isRecord(vcpu));
  assert.equal(vcpu['allocation_ratio'], 8);
  assert.equal(vcpu['reserved'], 1);
});

async function beats(failures: readonly unknown[], enough: () => boolean): Promise<number> {
  nova.fail('Service.save', ...failures);
  const fields: Record<string, FieldValue> = { id: 1, uuid: 's1', host: 'node-a', report_count: 4 };
  const service = NovaObject.create('Service', fields);
  service.resetChanges();
  const end = new AbortController();
  let returns = 0;
  const parts = {
    conductor: new Conductor(nova),
    service,
    everyMs: 5,
    log,
    onReturn: () => {
      returns += 1;
      return Promise.resolve();
    },
  };
  const watch = setInterval(() => {
    if (enough()) end.abort();
  }, 1);
  await heartbeat(parts, AbortSignal.any([end.signal, AbortSignal.timeout(10_000)]));
  clearInterval(watch);
  return returns;
}

test('each beat counts one up', async () => {
  await beats([], () => nova.asked.length >= 3);
  const counts = nova.asked.slice(0, 3).map(({ args }) => {
    const object = args['objinst'];
    assert.ok(isRecord(object) && isRecord(object['nova_object.data']));
    assert.deepEqual(object['nova_object.changes'], ['report_count']);
    return object['nova_object.data']['report_count'];
  });
  assert.deepEqual(counts, [5, 6, 7]);
});

test('beats that fail are told once, and the version is looked at when they succeed again', async () => {
  const away = () => new Fault('timeout', 'conductor did not answer');
  const returns = await beats([away(), away(), away()], () => nova.asked.length >= 5);
  assert.equal(returns, 1);
  assert.deepEqual(
    log.lines.map(({ level, msg }) => `${level} ${msg}`),
    ['warn this host could not be reported as alive', 'info this host is seen again'],
  );
});

test('a record that was deleted is an error once, and the host goes on', async () => {
  const gone = () => novaError('InstanceNotFound', { instance_id: 'x' });
  const missing = Object.assign(gone(), { className: 'ServiceNotFound' });
  await beats([missing, missing, missing], () => nova.asked.length >= 4);
  assert.equal(log.errors.length, 1);
});
