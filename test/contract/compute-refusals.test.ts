/** What cannot be done with containers leaves no server stuck and nothing behind. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { ServiceUnderTest } from '../support/compute-service.ts';
import { primitive } from '../support/fake-nova.ts';

const UUID = '135877f5-8316-4b41-9393-8113e5898d9f';
const MIGRATION = '66666666-6666-4666-8666-666666666666';

let sut: ServiceUnderTest;
let row: Json = {};

before(async () => {
  sut = await ServiceUnderTest.make();
  sut.cloud
    .on('DELETE', /^\/image\/v2\/images\//, { status: 204 })
    .on('GET', /^\/placement\/allocations\//, (asked) => ({
      body: {
        allocations: {
          [asked.path.includes(MIGRATION) ? 'old-host' : 'this-host']: { resources: { VCPU: 1 } },
        },
        project_id: 'p1',
        user_id: 'u1',
        consumer_generation: 1,
      },
    }))
    .on('POST', /^\/placement\/allocations$/, { status: 204 })
    .on('DELETE', /attachments\/a1$/, { status: 200, body: {} })
    .on('POST', /volumes\/v1\/action$/, { status: 202, body: {} });
  await sut.start();
});

after(() => sut.destroy());

beforeEach(() => {
  row = {
    uuid: UUID,
    host: 'node-a',
    node: 'node-a',
    vm_state: 'active',
    task_state: 'busy',
    deleted: false,
  };
  sut.nova.instances.splice(0, sut.nova.instances.length, row);
  sut.nova.forget();
  sut.cloud.asked.length = 0;
});

function instance(): unknown {
  return primitive('Instance', row);
}

function migration(): unknown {
  return primitive('Migration', { uuid: MIGRATION, status: 'pre-migrating' });
}

/** What Nova was asked to write by a refused cast. */
async function refuse(method: string, args: Json): Promise<readonly string[]> {
  await assert.rejects(sut.ask(method, { instance: instance(), ...args }), {
    className: 'NotImplementedError',
    module: 'builtins',
  });
  return sut.nova.lines.filter((line) => line !== 'ComputeNode.save');
}

const CHAIN = [
  'InstanceActionEvent.event_start',
  'InstanceFault.create',
  'InstanceActionEvent.event_finish_with_failure',
];

test('each refused cast writes the event and the fault and gives the task state back', async () => {
  const casts = [
    'snapshot_instance',
    'backup_instance',
    'shelve_instance',
    'shelve_offload_instance',
    'unshelve_instance',
    'prep_resize',
    'resize_instance',
    'finish_resize',
    'revert_resize',
    'finish_revert_resize',
    'live_migration',
  ];
  for (const method of casts) {
    sut.nova.forget();
    row['task_state'] = 'busy';
    assert.deepEqual(
      await refuse(method, { image_id: null, migration: null }),
      [...CHAIN, 'Instance.save'],
      method,
    );
    assert.equal(row['task_state'], null, method);
    assert.equal(row['vm_state'], 'active', method);
    const started = sut.nova.last('InstanceActionEvent.event_start')['args'];
    assert.deepEqual(started, [UUID, `compute_${method}`]);
  }
});

test('casts that take no task state touch none', async () => {
  for (const method of [
    'confirm_resize',
    'live_migration_abort',
    'swap_volume',
    'attach_volume',
    'detach_volume',
  ]) {
    sut.nova.forget();
    assert.deepEqual(await refuse(method, { migration: null, bdm: null }), CHAIN, method);
    assert.equal(row['task_state'], 'busy', method);
  }
});

test('the fault says what is not supported', async () => {
  await refuse('snapshot_instance', { image_id: 'i1' });
  const { objinst } = sut.nova.last('InstanceFault.create');
  assert.ok(isRecord(objinst) && isRecord(objinst['nova_object.data']));
  assert.equal(
    objinst['nova_object.data']['message'],
    'snapshots: not supported for containers of this host',
  );
});

test('the empty image of a snapshot, a backup or a shelve is deleted', async () => {
  for (const method of ['snapshot_instance', 'backup_instance', 'shelve_instance']) {
    sut.cloud.asked.length = 0;
    await refuse(method, { image_id: 'i1' });
    assert.deepEqual(sut.cloud.lines(), ['DELETE /image/v2/images/i1'], method);
  }
});

test('a refused resize gives the allocations back to the instance and ends the migration', async () => {
  for (const method of ['prep_resize', 'resize_instance', 'live_migration']) {
    sut.nova.forget();
    sut.cloud.asked.length = 0;
    const lines = await refuse(method, { migration: migration() });
    assert.ok(lines.includes('Migration.save'), method);
    const { objinst } = sut.nova.last('Migration.save');
    assert.ok(isRecord(objinst) && isRecord(objinst['nova_object.data']));
    assert.equal(objinst['nova_object.data']['status'], 'error');
    assert.deepEqual(objinst['nova_object.changes'], ['status']);
    const moved = sut.cloud.asked.find((one) => one.method === 'POST')?.body;
    assert.ok(isRecord(moved));
    assert.deepEqual(moved[MIGRATION], {
      allocations: {},
      project_id: 'p1',
      user_id: 'u1',
      consumer_generation: 1,
    });
    assert.ok(isRecord(moved[UUID]));
    assert.deepEqual(moved[UUID]['allocations'], { 'old-host': { resources: { VCPU: 1 } } });
  }
});

test('what the scheduler claimed for an unshelve is given back', async () => {
  await refuse('unshelve_instance', {});
  assert.deepEqual(sut.cloud.lines(), [`DELETE /placement/allocations/${UUID}`]);
});

test('a volume that was to be detached is in use again; one that was to be attached is free', async () => {
  await refuse('detach_volume', { volume_id: 'v1', attachment_id: 'a1' });
  assert.deepEqual(sut.cloud.asked.at(-1)?.body, { 'os-roll_detaching': {} });
  const bdm = primitive('BlockDeviceMapping', { uuid: 'b1', attachment_id: 'a1' });
  const lines = await refuse('attach_volume', { bdm });
  assert.match(sut.cloud.lines().at(-1) ?? '', /^DELETE .*attachments\/a1$/);
  assert.ok(lines.includes('BlockDeviceMapping.destroy'));
});

test('a neighbour that is away does not keep the task state', async () => {
  sut.cloud.on('DELETE', /images\/gone$/, { status: 503 });
  await refuse('snapshot_instance', { image_id: 'gone' });
  assert.equal(row['task_state'], null);
});

test("volumes are refused with an error that is the user's, not the server's", async () => {
  await assert.rejects(sut.ask('reserve_block_device_name', { instance: instance() }), {
    className: 'InvalidVolume',
    module: 'nova.exception',
  });
});

test('every method of compute 6.x is answered', () => {
  const all =
    'build_and_run_instance terminate_instance soft_delete_instance restore_instance start_instance stop_instance ' +
    'reboot_instance pause_instance unpause_instance suspend_instance resume_instance rescue_instance ' +
    'unrescue_instance rebuild_instance snapshot_instance backup_instance shelve_instance shelve_offload_instance ' +
    'unshelve_instance set_admin_password get_console_output get_vnc_console get_spice_console get_rdp_console ' +
    'get_mks_console get_serial_console validate_console_port get_diagnostics get_instance_diagnostics ' +
    'trigger_crash_dump quiesce_instance unquiesce_instance inject_network_info reset_network ' +
    'add_fixed_ip_to_instance remove_fixed_ip_from_instance attach_interface detach_interface ' +
    'reserve_block_device_name attach_volume detach_volume swap_volume volume_snapshot_create ' +
    'volume_snapshot_delete external_instance_event prep_resize resize_instance finish_resize confirm_resize ' +
    'revert_resize finish_revert_resize check_instance_shared_storage prep_snapshot_based_resize_at_dest ' +
    'prep_snapshot_based_resize_at_source finish_snapshot_based_resize_at_dest ' +
    'confirm_snapshot_based_resize_at_source revert_snapshot_based_resize_at_dest ' +
    'finish_revert_snapshot_based_resize_at_source check_can_live_migrate_destination ' +
    'check_can_live_migrate_source pre_live_migration live_migration live_migration_force_complete ' +
    'live_migration_abort post_live_migration_at_destination rollback_live_migration_at_destination ' +
    'drop_move_claim_at_destination remove_volume_connection set_host_enabled get_host_uptime host_power_action ' +
    'host_maintenance_mode cache_images allow_share deny_share';
  assert.deepEqual([...sut.methods].sort(), all.split(' ').sort());
});
