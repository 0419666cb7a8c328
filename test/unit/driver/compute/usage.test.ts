/** How instances add up on their host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statsOf, trackedOf, usageFields, versionNumber } from '../../../../driver/compute/usage.ts';
import { NovaObject, type FieldValue } from '../../../../driver/nova/versioned-object.ts';

const RESERVED = { reserved_host_cpus: 0, reserved_host_memory_mb: 512, reserved_host_disk_mb: 1024 };
const TOTALS = { cpus: 4, memoryMb: 4096, diskGb: 100 };

function instance(given: Readonly<Record<string, FieldValue>> = {}): NovaObject {
  const flavor = NovaObject.create('Flavor', {
    vcpus: 2,
    memory_mb: 1024,
    root_gb: 10,
    ephemeral_gb: 5,
    swap: 512,
  });
  return NovaObject.create('Instance', {
    uuid: 'u1',
    vm_state: 'active',
    task_state: null,
    os_type: null,
    project_id: 'p1',
    flavor,
    ...given,
  });
}

function tracked(given: Readonly<Record<string, FieldValue>> = {}) {
  const one = trackedOf(instance(given));
  assert.ok(one !== null);
  return one;
}

test('an instance counts with its flavor, swap among its disk', () => {
  const { vcpus, memoryMb, diskGb } = tracked();
  assert.deepEqual({ vcpus, memoryMb, diskGb }, { vcpus: 2, memoryMb: 1024, diskGb: 15.5 });
});

test('an instance that came without its flavor counts with its own columns', () => {
  const bare = NovaObject.create('Instance', {
    uuid: 'u1',
    vm_state: 'active',
    memory_mb: 64,
    vcpus: 1,
    root_gb: 1,
    ephemeral_gb: 0,
  });
  const { vcpus, memoryMb, diskGb, taskState } = trackedOf(bare) ?? {};
  assert.deepEqual([vcpus, memoryMb, diskGb, taskState], [1, 64, 1, null]);
});

test('deleted and offloaded instances do not count', () => {
  for (const state of ['deleted', 'shelved_offloaded']) {
    assert.equal(trackedOf(instance({ vm_state: state })), null, state);
  }
  assert.notEqual(trackedOf(instance({ vm_state: 'soft-delete' })), null);
});

test('usage begins with what is reserved, and free memory may be negative', () => {
  const used = usageFields([tracked(), tracked(), tracked(), tracked()], TOTALS, RESERVED, 0);
  assert.equal(used.vcpus_used, 8);
  assert.equal(used.memory_mb_used, 512 + 4096);
  assert.equal(used.free_ram_mb, -512);
  // 1 reserved and 4 times 15.5, whole GiB.
  assert.equal(used.local_gb_used, 63);
  assert.equal(used.free_disk_gb, 37);
  assert.equal(used.running_vms, 4);
});

test('a host without instances uses only what is reserved', () => {
  const used = usageFields([], TOTALS, RESERVED, 3);
  assert.deepEqual(used.stats, { failed_builds: '3' });
  assert.equal(used.memory_mb_used, 512);
  assert.equal(used.current_workload, 0);
});

test('the counts of a build are those nova-compute writes', () => {
  const building = tracked({ vm_state: 'building', memory_mb: 64 });
  assert.deepEqual(statsOf([building], 0), {
    failed_builds: '0',
    num_instances: '1',
    num_vm_building: '1',
    num_task_None: '1',
    num_os_type_None: '1',
    num_proj_p1: '1',
    io_workload: '1',
  });
});

test('tasks that are heavy on disks are workload, others are work', () => {
  const all = ['rebuilding', 'image_snapshot', 'powering-off', null].map((task) =>
    tracked({ task_state: task }),
  );
  const stats = statsOf(all, 0);
  assert.equal(stats['io_workload'], '2');
  assert.equal(stats['num_task_None'], '1');
  assert.equal(stats['num_task_powering-off'], '1');
  assert.equal(usageFields(all, TOTALS, RESERVED, 0).current_workload, 3);
});

test('a version is a number as Nova makes it', () => {
  assert.equal(versionNumber('5.0.2'), 5_000_002);
  assert.equal(versionNumber('6.0'), 6_000_000);
  assert.equal(versionNumber('7.1.0-devel'), 7_001_000);
});
