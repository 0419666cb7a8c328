/** What the start of the service does about instances that an end of it, of the daemon or of the host left in the middle. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER, type PowerState } from '../../driver/compute/host.ts';
import { initHost } from '../../driver/compute/init-host.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import { Fault } from '../../process/fault.ts';
import { primitive } from '../support/fake-nova.ts';
import { LifeBench, recordedLife, UUID } from '../support/life-bench.ts';

const OTHER = '2f5e2d31-6d8e-4b53-9a38-1f2f8f3f0c11';

let bench: LifeBench;
beforeEach(async () => {
  bench = await LifeBench.make();
});
afterEach(() => bench.stop());

interface Case {
  readonly what: string;
  readonly before: Json;
  readonly guest: PowerState | null;
  readonly after: Json;
  readonly done: readonly string[];
  readonly guestAfter: PowerState | null;
  readonly hasFault?: boolean;
}

const CASES: readonly Case[] = [
  {
    what: 'nothing was under way: nothing is done',
    before: {},
    guest: POWER.running,
    after: { vm_state: 'active', task_state: null },
    done: [],
    guestAfter: POWER.running,
  },
  {
    what: 'the host was rebooted: what was running stays off until Nova is told, without the option',
    before: {},
    guest: POWER.shutdown,
    after: { vm_state: 'active', task_state: null },
    done: [],
    guestAfter: POWER.shutdown,
  },
  {
    what: 'a build was cut off: error, and the owner reads why',
    before: { vm_state: 'building', task_state: 'spawning', power_state: 0 },
    guest: POWER.running,
    after: { vm_state: 'error', task_state: null },
    done: [],
    guestAfter: POWER.running,
    hasFault: true,
  },
  {
    what: 'a rebuild was cut off: error, and the owner reads why',
    before: { task_state: 'rebuild_spawning' },
    guest: null,
    after: { vm_state: 'error', task_state: null },
    done: [],
    guestAfter: null,
    hasFault: true,
  },
  {
    what: 'a snapshot was cut off: the instance is as before',
    before: { task_state: 'image_uploading' },
    guest: POWER.running,
    after: { vm_state: 'active', task_state: null },
    done: [],
    guestAfter: POWER.running,
  },
  {
    what: 'a soft reboot was asked for and the guest runs: it is rebooted softly',
    before: { task_state: 'reboot_pending' },
    guest: POWER.running,
    after: { vm_state: 'active', task_state: null },
    done: ['reboot soft'],
    guestAfter: POWER.running,
  },
  {
    what: 'a soft reboot got as far as the end of the guest: it goes on as a hard one',
    before: { task_state: 'reboot_started' },
    guest: POWER.shutdown,
    after: { vm_state: 'active', task_state: null, power_state: 1 },
    done: ['reboot hard'],
    guestAfter: POWER.running,
  },
  {
    what: 'a hard reboot was begun and the guest runs: it is over',
    before: { task_state: 'reboot_started_hard' },
    guest: POWER.running,
    after: { vm_state: 'active', task_state: null },
    done: [],
    guestAfter: POWER.running,
  },
  {
    what: 'a guest was being paused and runs: it is active',
    before: { task_state: 'pausing' },
    guest: POWER.running,
    after: { vm_state: 'active', task_state: null },
    done: [],
    guestAfter: POWER.running,
  },
  {
    what: 'a guest was being unpaused and is paused: it is unpaused',
    before: { vm_state: 'paused', task_state: 'unpausing', power_state: 3 },
    guest: POWER.paused,
    after: { vm_state: 'active', task_state: null, power_state: 1 },
    done: ['unpause'],
    guestAfter: POWER.running,
  },
  {
    what: 'a stop was cut off: it is repeated, cleanly',
    before: { task_state: 'powering-off' },
    guest: POWER.running,
    after: { vm_state: 'stopped', task_state: null, power_state: 4 },
    done: ['powerOff 60'],
    guestAfter: POWER.shutdown,
  },
  {
    what: 'a start was cut off: it is repeated',
    before: { vm_state: 'stopped', task_state: 'powering-on', power_state: 4 },
    guest: POWER.shutdown,
    after: { vm_state: 'active', task_state: null, power_state: 1 },
    done: ['powerOn'],
    guestAfter: POWER.running,
  },
  {
    what: 'a guest was being suspended: it is suspended',
    before: { task_state: 'suspending' },
    guest: POWER.running,
    after: { vm_state: 'suspended', task_state: null, power_state: 7 },
    done: ['suspend'],
    guestAfter: POWER.suspended,
  },
  {
    what: 'a rescue was cut off: an error, but the guest is where a hard reboot finds it',
    before: { task_state: 'rescuing' },
    guest: POWER.running,
    after: { vm_state: 'error', task_state: null },
    done: ['cancelRescue'],
    guestAfter: POWER.shutdown,
    hasFault: true,
  },
  {
    what: 'the end of a rescue was cut off: it is repeated',
    before: { vm_state: 'rescued', task_state: 'unrescuing' },
    guest: POWER.shutdown,
    after: { vm_state: 'active', task_state: null, power_state: 1 },
    done: ['unrescue'],
    guestAfter: POWER.running,
  },
  {
    what: 'an instance in error is left alone',
    before: { vm_state: 'error', task_state: null },
    guest: POWER.shutdown,
    after: { vm_state: 'error', task_state: null },
    done: [],
    guestAfter: POWER.shutdown,
  },
  {
    what: 'an instance of another host is left alone, whatever it is in',
    before: { host: 'node-b', task_state: 'powering-off' },
    guest: POWER.running,
    after: { vm_state: 'active', task_state: 'powering-off' },
    done: [],
    guestAfter: POWER.running,
  },
];

for (const { what, before, guest, after, done, guestAfter, hasFault } of CASES) {
  test(what, async () => {
    bench.add(before);
    // As a list of Nova's may have it when an instance is just moving.
    bench.nova.answers.set('InstanceList.get_by_host', () =>
      primitive('InstanceList', { objects: bench.nova.instances.map((row) => bench.object(row)) }),
    );
    if (guest !== null) bench.guests.add(UUID, { power: guest });
    await initHost(bench.host);
    const row = bench.row();
    assert.deepEqual({ ...row, ...after }, row);
    assert.deepEqual(worked(), done);
    assert.equal(bench.guests.guests.get(UUID)?.power ?? null, guestAfter);
    assert.equal(bench.faults.length, hasFault === true ? 1 : 0);
  });
}

test('a delete that was cut off is done: guest, ports, allocations and row are gone', async () => {
  bench.add({ task_state: 'deleting' });
  bench.guests.add(UUID);
  await initHost(bench.host);
  assert.deepEqual(worked(), ['destroy']);
  assert.equal(bench.nova.instances.length, 0);
  assert.deepEqual(bench.placement.dropped, [UUID]);
});

test('a delete that fails again leaves the instance in error, and the others are still recovered', async () => {
  bench.add({ task_state: 'deleting' });
  bench.add({ uuid: OTHER, id: 16, task_state: 'powering-off' });
  bench.guests.add(UUID);
  bench.guests.add(OTHER);
  bench.guests.fail('destroy', new Fault('internal', 'it does not go'));
  await initHost(bench.host);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.row(OTHER)['vm_state'], 'stopped');
  assert.deepEqual(bench.faults, ['it does not go']);
});

test('a repeated start that fails leaves the instance stopped, without a task', async () => {
  bench.add({ vm_state: 'stopped', task_state: 'powering-on', power_state: 4 });
  bench.guests.add(UUID, { power: POWER.shutdown });
  bench.guests.fail('powerOn', new Fault('internal', 'no space left'));
  await initHost(bench.host);
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(bench.faults, ['no space left']);
});

test('after a start of the host guests that ran are started, when that is wanted', async () => {
  await bench.stop();
  bench = await LifeBench.make('resume_guests_state_on_host_boot = true');
  bench.add();
  bench.add({ uuid: OTHER, id: 16, vm_state: 'stopped', power_state: 4 });
  bench.guests.add(UUID, { power: POWER.shutdown });
  bench.guests.add(OTHER, { power: POWER.shutdown });
  await initHost(bench.host);
  assert.deepEqual(worked(), ['powerOn']);
  assert.equal(bench.guests.guests.get(UUID)?.power, POWER.running);
  assert.equal(bench.row(OTHER)['vm_state'], 'stopped');
});

test('a guest that cannot be started after a start of the host is in error, and says why', async () => {
  await bench.stop();
  bench = await LifeBench.make('resume_guests_state_on_host_boot = true');
  bench.add();
  bench.guests.add(UUID, { power: POWER.shutdown });
  bench.guests.fail('powerOn', new Fault('internal', 'the bridge is missing'));
  await initHost(bench.host);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.deepEqual(bench.faults, ['the bridge is missing']);
});

test('what waits in the queue keeps its task; what was begun here does not', async () => {
  bench.add({ task_state: 'pausing' });
  bench.guests.add(UUID);
  actionEvents([]);
  await initHost(bench.host);
  assert.equal(bench.row()['task_state'], 'pausing');
  actionEvents([{ host: 'node-b', finish_time: null }]);
  await initHost(bench.host);
  assert.equal(bench.row()['task_state'], 'pausing');
  actionEvents([{ host: 'node-a', finish_time: null }]);
  await initHost(bench.host);
  assert.equal(bench.row()['task_state'], null);
});

test('when nobody can tell whether work was begun it counts as begun', async () => {
  bench.add({ task_state: 'pausing' });
  bench.guests.add(UUID);
  bench.nova.answers.set('InstanceActionList.get_by_instance_uuid', () => {
    throw novaError('NovaException');
  });
  await initHost(bench.host);
  assert.equal(bench.row()['task_state'], null);
});

test('a daemon that does not answer keeps the service from starting, and nothing is changed', async () => {
  bench.add({ task_state: 'powering-off' });
  bench.guests.fail('list', new Fault('unavailable', 'no daemon'));
  await assert.rejects(initHost(bench.host), /no daemon/);
  assert.equal(bench.row()['task_state'], 'powering-off');
});

test('the start asks Nova what a real compute service asks it', async () => {
  await initHost(bench.host);
  const wanted = recordedLife('service-startup').calls;
  const sent = bench.calls();
  for (const name of ['InstanceList', 'MigrationList']) {
    const recorded = wanted.find((call) => call.object === name);
    assert.ok(recorded !== undefined);
    const ours = sent.find((call) => call.object === name);
    assert.deepEqual(ours, recorded);
  }
});

test('what was evacuated while the host was away is removed here and let go at Placement', async () => {
  migrations([{ id: 13, instance_uuid: UUID, status: 'done', source_compute: 'node-a' }]);
  bench.add({ host: 'node-b' });
  bench.guests.add(UUID);
  bench.guests.add(OTHER);
  const written = allocations({ [bench.host.tracker.node.uuid]: { VCPU: 1 }, 'another-node': { VCPU: 1 } });
  await initHost(bench.host);
  assert.deepEqual(worked(), ['destroy']);
  assert.deepEqual([...bench.guests.guests.keys()], [OTHER]);
  assert.deepEqual(written, [['another-node']]);
  assert.deepEqual(statuses(), ['completed']);
});

test('an evacuated instance that was deleted since has no allocation to let go', async () => {
  migrations([{ id: 13, instance_uuid: UUID, status: 'done', source_compute: 'node-a' }]);
  bench.guests.add(UUID);
  await initHost(bench.host);
  assert.deepEqual(worked(), ['destroy']);
  assert.deepEqual(statuses(), []);
});

test('an instance that has come back since its evacuation keeps its guest', async () => {
  migrations([{ id: 13, instance_uuid: UUID, status: 'done', source_compute: 'node-a' }]);
  bench.add();
  bench.guests.add(UUID);
  await initHost(bench.host);
  assert.deepEqual(worked(), []);
});

test('an evacuation to this host that was cut off leaves no guest and no allocation here', async () => {
  migrations([], [{ id: 14, instance_uuid: UUID, status: 'pre-migrating', dest_compute: 'node-a' }]);
  bench.add({ host: 'node-b', task_state: 'rebuild_spawning' });
  bench.guests.add(UUID);
  const written = allocations({ [bench.host.tracker.node.uuid]: { VCPU: 1 }, 'another-node': { VCPU: 1 } });
  await initHost(bench.host);
  assert.deepEqual(worked(), ['destroy']);
  assert.deepEqual(written, [['another-node']]);
  assert.deepEqual(statuses(), ['failed']);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['host'], 'node-b');
  assert.equal(bench.faults.length, 1);
});

test('a build that was cut off before its claim is found by what it holds at Placement', async () => {
  bench.placement.only.allocations = { [UUID]: { resources: { VCPU: 1 } } };
  bench.add({ host: null, node: null, vm_state: 'building', task_state: 'scheduling' });
  bench.nova.answers.set('InstanceList.get_by_filters', (args) => {
    assert.deepEqual(args, [{ vm_state: 'building', uuid: [UUID] }]);
    return primitive('InstanceList', { objects: [bench.object(bench.row())] });
  });
  await initHost(bench.host);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.faults.length, 1);
});

test('a Placement that does not answer does not keep the host from starting', async () => {
  bench.cloud.on('GET', /\/allocations$/, { status: 500 });
  bench.add({ task_state: 'powering-off' });
  bench.guests.add(UUID);
  await initHost(bench.host);
  assert.equal(bench.row()['vm_state'], 'stopped');
});

/** What was done to guests, but for looking. */
function worked(): string[] {
  return bench.guests.done.filter((one) => one !== 'list');
}

function migrations(away: readonly Json[], here: readonly Json[] = []): void {
  bench.nova.answers.set('MigrationList.get_by_filters', ([filters]) => {
    const rows = isRecord(filters) && filters['source_compute'] === 'node-a' ? away : here;
    return primitive('MigrationList', { objects: rows.map((row) => primitive('Migration', row)) });
  });
}

/** Allocations of the instance; gives the providers of each write. */
function allocations(held: Readonly<Record<string, Json>>): string[][] {
  const written: string[][] = [];
  const body = {
    allocations: Object.fromEntries(Object.entries(held).map(([node, resources]) => [node, { resources }])),
    project_id: 'p1',
    user_id: 'u1',
    consumer_generation: 1,
  };
  bench.cloud
    .on('GET', new RegExp(`/allocations/${UUID}$`), { body })
    .on('PUT', new RegExp(`/allocations/${UUID}$`), (asked) => {
      const sent = isRecord(asked.body) ? asked.body['allocations'] : null;
      written.push(isRecord(sent) ? Object.keys(sent) : []);
      return { status: 204 };
    });
  return written;
}

function statuses(): unknown[] {
  return bench
    .calls()
    .filter((call) => call.object === 'Migration')
    .map((call) => call.changes?.['status']);
}

function actionEvents(events: readonly Json[]): void {
  bench.nova.answers.set('InstanceActionList.get_by_instance_uuid', () =>
    primitive('InstanceActionList', { objects: [primitive('InstanceAction', { id: 4 })] }),
  );
  bench.nova.answers.set('InstanceActionEventList.get_by_action', (args) => {
    assert.deepEqual(args, [4]);
    return primitive('InstanceActionEventList', {
      objects: events.map((event) => primitive('InstanceActionEvent', event)),
    });
  });
}
