/** The periodic tasks of the compute manager: which run, and what each does and leaves alone. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { HealInfoCache } from '../../driver/compute/heal-info-cache.ts';
import { POWER } from '../../driver/compute/host.ts';
import { periodicTasks } from '../../driver/compute/leftovers.ts';
import type { Json } from '../../driver/rpc/json.ts';
import { Fault } from '../../process/fault.ts';
import { primitive } from '../support/fake-nova.ts';
import { LifeBench, NEW_IMAGE, recordedLife, UUID } from '../support/life-bench.ts';

const OTHER = '2f5e2d31-6d8e-4b53-9a38-1f2f8f3f0c11';
const LONG_AGO = '2026-01-01T00:00:00Z';

let bench: LifeBench;
beforeEach(async () => {
  bench = await LifeBench.make();
});
afterEach(() => bench.stop());

async function configured(options: string): Promise<void> {
  await bench.stop();
  bench = await LifeBench.make(options);
}

async function run(name: string): Promise<void> {
  const task = periodicTasks(bench.host).find((one) => one.name === name);
  assert.ok(task !== undefined, `${name} is not among the tasks`);
  await task.run(bench.host.signal);
}

/** What the database answers to get_by_filters; gives what it was asked for. */
function filtered(...rows: readonly Json[]): unknown[] {
  const asked: unknown[] = [];
  bench.nova.answers.set('InstanceList.get_by_filters', ([filters]) => {
    asked.push(filters);
    return primitive('InstanceList', { objects: rows.map((row) => bench.object(row)) });
  });
  return asked;
}

function intervals(): Record<string, number> {
  return Object.fromEntries(periodicTasks(bench.host).map((task) => [task.name, task.everyMs / 1000]));
}

test('the tasks of a host without options are those of Nova, as often', () => {
  assert.deepEqual(intervals(), {
    sync_power_states: 600,
    heal_instance_info_cache: 60,
    cleanup_running_deleted_instances: 1800,
    end_lost_requests: 60,
    cleanup_incomplete_migrations: 300,
    cleanup_expired_console_auth_tokens: 300,
    run_image_cache_manager_pass: 2400,
  });
});

test('options turn tasks on and off', async () => {
  await configured(
    'sync_power_state_interval = -1\nheal_instance_info_cache_interval = -1\nrunning_deleted_instance_action = noop\n' +
      'instance_delete_interval = 0\nreclaim_instance_interval = 30\nreboot_timeout = 5\nrescue_timeout = 5\n' +
      'instance_build_timeout = 5\n[image_cache]\nmanager_interval = -1',
  );
  assert.deepEqual(intervals(), {
    reclaim_queued_deletes: 30,
    poll_rebooting_instances: 60,
    poll_rescued_instances: 60,
    check_instance_build_time: 60,
    end_lost_requests: 60,
  });
});

test('a guest whose instance was deleted is removed, with its ports and its allocations', async () => {
  bench.guests.add(UUID);
  const row = bench.add({ deleted: true, deleted_at: LONG_AGO });
  const asked = filtered(row);
  await run('cleanup_running_deleted_instances');
  assert.deepEqual(asked, [{ deleted: true, soft_deleted: false, uuid: [UUID] }]);
  assert.equal(bench.nova.asked.at(0)?.context['read_deleted'], 'yes');
  assert.equal(bench.guests.guests.size, 0);
  assert.deepEqual(bench.placement.dropped, [UUID]);
  assert.ok(bench.nova.lines.includes('VirtualInterface.delete_by_instance_uuid'));
});

test('a guest whose instance was deleted while it belonged to another host is not touched', async () => {
  bench.guests.add(UUID);
  filtered(bench.add({ deleted: true, deleted_at: LONG_AGO, host: 'node-b' }));
  await run('cleanup_running_deleted_instances');
  assert.deepEqual(bench.guests.done, ['list']);
});

test('a guest whose instance is not deleted is not touched, whatever the database answers', async () => {
  bench.guests.add(UUID);
  filtered(bench.add());
  await run('cleanup_running_deleted_instances');
  assert.deepEqual(bench.guests.done, ['list']);
});

test('running_deleted_instance_action shutdown turns it off and keeps it', async () => {
  await configured('running_deleted_instance_action = shutdown');
  bench.guests.add(UUID);
  filtered(bench.add({ deleted: true, deleted_at: LONG_AGO }));
  await run('cleanup_running_deleted_instances');
  assert.equal(bench.guests.guests.get(UUID)?.power, POWER.shutdown);
});

test('running_deleted_instance_action log only tells', async () => {
  await configured('running_deleted_instance_action = log');
  bench.guests.add(UUID);
  filtered(bench.add({ deleted: true, deleted_at: LONG_AGO }));
  await run('cleanup_running_deleted_instances');
  assert.deepEqual(bench.guests.done, ['list']);
  assert.ok(bench.logged.lines.some((line) => line.includes(UUID)));
});

test('what was deleted just now has its time, when there is one', async () => {
  await configured('running_deleted_instance_timeout = 3600');
  bench.guests.add(UUID);
  filtered(bench.add({ deleted: true, deleted_at: new Date().toISOString() }));
  await run('cleanup_running_deleted_instances');
  assert.deepEqual(bench.guests.done, ['list']);
});

test('a host without guests asks Nova nothing', async () => {
  await run('cleanup_running_deleted_instances');
  assert.deepEqual(bench.nova.lines, []);
});

test('one that cannot be removed does not keep the next', async () => {
  bench.guests.add(UUID);
  bench.guests.add(OTHER);
  const gone = { deleted: true, deleted_at: LONG_AGO };
  filtered(bench.add(gone), bench.add({ ...gone, uuid: OTHER, id: 16 }));
  bench.guests.fail('destroy', new Fault('internal', 'it does not go'));
  await run('cleanup_running_deleted_instances');
  assert.deepEqual([...bench.guests.guests.keys()], [UUID]);
});

test('a soft-deleted instance whose time is over is deleted, as a real compute service does it', async () => {
  await configured('reclaim_instance_interval = 30');
  bench.guests.add(UUID, { power: POWER.shutdown });
  const asked = filtered(bench.add({ vm_state: 'soft-delete', deleted_at: LONG_AGO }));
  await run('reclaim_queued_deletes');
  const [wanted] = recordedLife('soft-delete-reclaim').calls.filter(
    (call) => call.kwargs['expected_attrs'] !== undefined && call.method === 'get_by_filters',
  );
  assert.deepEqual(asked, wanted?.args);
  assert.deepEqual(bench.guests.done, ['destroy']);
  assert.equal(bench.nova.instances.length, 0);
  assert.ok(!bench.nova.lines.includes('InstanceActionEvent.event_start'));
});

test('a soft-deleted instance whose time is not over can still be taken back', async () => {
  await configured('reclaim_instance_interval = 3600');
  bench.guests.add(UUID, { power: POWER.shutdown });
  filtered(bench.add({ vm_state: 'soft-delete', deleted_at: new Date().toISOString() }));
  await run('reclaim_queued_deletes');
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.nova.instances.length, 1);
});

test('a soft-deleted instance that was taken back since it was listed is not deleted', async () => {
  await configured('reclaim_instance_interval = 30');
  bench.guests.add(UUID);
  filtered({ ...bench.add(), vm_state: 'soft-delete', deleted_at: LONG_AGO });
  await run('reclaim_queued_deletes');
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.nova.instances.length, 1);
});

test('a soft-deleted instance that is being restored is not deleted', async () => {
  await configured('reclaim_instance_interval = 30');
  bench.guests.add(UUID, { power: POWER.shutdown });
  const soft = { vm_state: 'soft-delete', deleted_at: LONG_AGO };
  filtered({ ...bench.add({ ...soft, task_state: 'restoring' }), task_state: null });
  await run('reclaim_queued_deletes');
  assert.deepEqual(bench.guests.done, []);
});

test('a build over its time is an error that says so', async () => {
  await configured('instance_build_timeout = 60');
  const asked = filtered(bench.add({ vm_state: 'building', created_at: LONG_AGO }));
  await run('check_instance_build_time');
  assert.deepEqual(asked, [{ vm_state: 'building', host: 'node-a' }]);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.match(bench.faults.join(), /instance_build_timeout/);
});

test('a rescue over its time is ended through Nova', async () => {
  await configured('rescue_timeout = 60');
  filtered(bench.add({ vm_state: 'rescued' }));
  await run('poll_rescued_instances');
  assert.deepEqual(
    bench.casts().map((cast) => cast.method),
    ['unrescue_instance'],
  );
  assert.equal(bench.row()['task_state'], 'unrescuing');
});

test('a soft reboot over its time becomes a hard one', async () => {
  await configured('reboot_timeout = 60');
  const asked = filtered(bench.add({ task_state: 'reboot_started' }));
  await run('poll_rebooting_instances');
  assert.deepEqual(asked, [
    { task_state: ['rebooting', 'reboot_pending', 'reboot_started'], host: 'node-a' },
  ]);
  const [cast] = bench.casts();
  assert.equal(cast?.args['reboot_type'], 'HARD');
  assert.equal(bench.row()['task_state'], 'rebooting_hard');
});

test('what is within its time is left alone', async () => {
  await configured('reboot_timeout = 60\nrescue_timeout = 60\ninstance_build_timeout = 60');
  const now = new Date().toISOString();
  const fresh = { launched_at: now, created_at: now, updated_at: now };
  filtered(bench.add({ vm_state: 'rescued', task_state: 'reboot_started', ...fresh }));
  await run('poll_rebooting_instances');
  await run('poll_rescued_instances');
  await run('check_instance_build_time');
  assert.deepEqual(bench.casts(), []);
  assert.equal(bench.row()['vm_state'], 'rescued');
});

test('images nobody uses are deleted, those of instances are kept', async () => {
  const asked = filtered(bench.add());
  await run('run_image_cache_manager_pass');
  assert.deepEqual(asked, [{ deleted: false, soft_deleted: true, host: ['node-a'] }]);
  assert.deepEqual(
    bench.order.filter((one) => one.startsWith('image ')),
    ['image f2 deleted'],
  );
});

test('images that were used a short while ago are kept', async () => {
  await configured('[image_cache]\nremove_unused_original_minimum_age_seconds = 315360000');
  filtered();
  await run('run_image_cache_manager_pass');
  assert.deepEqual(
    bench.order.filter((one) => one.startsWith('image ')),
    [],
  );
});

test('console tokens that are over are forgotten', async () => {
  await run('cleanup_expired_console_auth_tokens');
  assert.deepEqual(
    bench.calls().map((call) => [call.object, call.method, call.args]),
    [['ConsoleAuthToken', 'clean_expired_console_auths_for_host', ['node-a']]],
  );
});

test('migrations in error whose instance was deleted leave nothing here', async () => {
  bench.guests.add(UUID);
  bench.guests.add(OTHER);
  const migration = (id: number, uuid: string) =>
    primitive('Migration', { id, instance_uuid: uuid, status: 'error', source_compute: 'node-a' });
  bench.nova.answers.set('MigrationList.get_by_filters', (args) => {
    assert.deepEqual(args, [{ host: 'node-a', status: 'error' }]);
    return primitive('MigrationList', { objects: [migration(1, UUID), migration(2, OTHER)] });
  });
  // The other one was deleted here, which removed its guest.
  const gone = { deleted: true, deleted_at: LONG_AGO };
  filtered(bench.add({ ...gone, host: 'node-b' }), bench.add({ ...gone, uuid: OTHER, id: 16 }));
  await run('cleanup_incomplete_migrations');
  assert.deepEqual([...bench.guests.guests.keys()], [OTHER]);
  const saved = bench.calls().filter((call) => call.object === 'Migration');
  assert.deepEqual(
    saved.map((call) => call.changes),
    [{ status: 'failed' }],
  );
});

test('network information is healed one instance at a time, round after round', async () => {
  bench.add();
  bench.add({ uuid: OTHER, id: 16 });
  bench.add({ uuid: NEW_IMAGE, id: 17, vm_state: 'building' });
  const heal = new HealInfoCache(bench.host);
  const healed: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    await heal.run();
    const saved = bench
      .calls()
      .filter((call) => call.object === 'InstanceInfoCache' && call.method === 'save');
    healed.push(String(saved.at(-1)?.changes?.['instance_uuid']));
  }
  assert.deepEqual(healed, [UUID, OTHER, UUID]);
});

test('the next instance of a round is asked for as a real compute service asks', async () => {
  bench.add();
  bench.add({ uuid: OTHER, id: 16 });
  const heal = new HealInfoCache(bench.host);
  await heal.run();
  await heal.run();
  const [wanted] = recordedLife('periodic-idle').calls.filter((call) => call.method === 'get_by_uuid');
  const sent = bench.calls().find((call) => call.method === 'get_by_uuid' && call.args.length > 0);
  assert.deepEqual(sent?.kwargs, wanted?.kwargs);
  assert.deepEqual(sent?.args, [OTHER]);
});

test('an instance that was deleted within the round is passed over', async () => {
  bench.add();
  bench.add({ uuid: OTHER, id: 16 });
  const heal = new HealInfoCache(bench.host);
  await heal.run();
  bench.nova.instances.pop();
  await heal.run();
  assert.equal(bench.nova.lines.filter((line) => line === 'InstanceInfoCache.save').length, 1);
});

for (const [what, port, task, writes] of [
  ['bound to another host', { 'binding:host_id': 'node-b', 'binding:vif_type': 'ovs' }, null, 1],
  ['bound to none', { 'binding:host_id': 'node-a', 'binding:vif_type': 'unbound' }, null, 1],
  ['bound here', { 'binding:host_id': 'node-a', 'binding:vif_type': 'ovs' }, null, 0],
  ['bound elsewhere while it moves', { 'binding:host_id': 'node-b' }, 'migrating', 0],
] as const) {
  test(`a port that is ${what} is bound again ${writes === 1 ? 'here' : 'by nobody'}`, async () => {
    bench.add({ task_state: task });
    bench.cloud
      .on('GET', /^\/network\/v2\.0\/ports/, (asked) => ({
        body: {
          ports: asked.path.includes('dhcp') ? [] : [{ id: 'p1', network_id: 'n1', fixed_ips: [], ...port }],
        },
      }))
      .on('PUT', /^\/network\/v2\.0\/ports\/p1$/, { body: { port: { id: 'p1' } } });
    await new HealInfoCache(bench.host).run();
    const puts = bench.cloud.lines().filter((line) => line.startsWith('PUT '));
    assert.equal(puts.length, writes);
  });
}

test('a Neutron that does not answer leaves the information as it was', async () => {
  bench.add();
  bench.cloud.on('GET', /^\/network\/v2\.0\/ports/, { status: 500 });
  await new HealInfoCache(bench.host).run();
  assert.ok(!bench.nova.lines.includes('InstanceInfoCache.save'));
});
