/** Power methods when something is in the way: what Nova, the owner and the guest see afterwards. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER } from '../../driver/compute/host.ts';
import type { Json } from '../../driver/rpc/json.ts';
import { NovaError, notImplemented, novaError } from '../../driver/rpc/nova-error.ts';
import { Fault } from '../../process/fault.ts';
import { primitive } from '../support/fake-nova.ts';
import { LifeBench, UUID } from '../support/life-bench.ts';

let bench: LifeBench;
beforeEach(async () => {
  bench = await LifeBench.make();
});
afterEach(() => bench.stop());

const BROKEN = () => new Fault('internal', 'the container is broken');

interface Failing {
  readonly method: string;
  readonly guestMethod: 'powerOn' | 'powerOff' | 'pause' | 'unpause' | 'suspend' | 'resume';
  readonly before: Json;
  readonly vmState: string;
}

const FAILING: readonly Failing[] = [
  {
    method: 'start_instance',
    guestMethod: 'powerOn',
    before: { vm_state: 'stopped', task_state: 'powering-on' },
    vmState: 'stopped',
  },
  {
    method: 'stop_instance',
    guestMethod: 'powerOff',
    before: { task_state: 'powering-off' },
    vmState: 'active',
  },
  { method: 'pause_instance', guestMethod: 'pause', before: { task_state: 'pausing' }, vmState: 'active' },
  {
    method: 'unpause_instance',
    guestMethod: 'unpause',
    before: { vm_state: 'paused', task_state: 'unpausing' },
    vmState: 'paused',
  },
  {
    method: 'suspend_instance',
    guestMethod: 'suspend',
    before: { task_state: 'suspending' },
    vmState: 'error',
  },
  {
    method: 'resume_instance',
    guestMethod: 'resume',
    before: { vm_state: 'suspended', task_state: 'resuming' },
    vmState: 'error',
  },
  {
    method: 'soft_delete_instance',
    guestMethod: 'powerOff',
    before: { task_state: 'soft-deleting' },
    vmState: 'active',
  },
  {
    method: 'restore_instance',
    guestMethod: 'powerOn',
    before: { vm_state: 'soft-delete', task_state: 'restoring' },
    vmState: 'soft-delete',
  },
];

for (const { method, guestMethod, before, vmState } of FAILING) {
  test(`${method} that fails leaves the instance ${vmState} without a task, and says why`, async () => {
    const row = bench.add(before);
    bench.guests.add(UUID);
    bench.guests.fail(guestMethod, BROKEN());
    await assert.rejects(bench.ask(method, { instance: bench.object(row) }), /the container is broken/);
    assert.equal(bench.row()['vm_state'], vmState);
    assert.equal(bench.row()['task_state'], null);
    assert.deepEqual(bench.faults, ['the container is broken']);
    assert.deepEqual(events(), [`compute_${method}`, `compute_${method} failed`]);
  });

  test(`${method} stops when the instance is being deleted, and leaves it to the delete`, async () => {
    const row = bench.add(before);
    bench.guests.add(UUID);
    const instance = bench.object(row);
    row['task_state'] = 'deleting';
    const failure = await bench.refused(method, { instance });
    assert.equal(failure.className, 'UnexpectedDeletingTaskStateError');
    assert.notEqual(bench.row()['vm_state'], 'error');
  });
}

/** What conductor says while its database is away. */
const NO_DATABASE = () =>
  new NovaError('connection refused', {
    className: 'DBConnectionError',
    module: 'oslo_db.exception',
    kwargs: {},
    args: [],
    trace: [],
  });

test('a database that is away for a moment does not leave an instance in its task', async () => {
  const row = bench.add({ task_state: 'powering-off' });
  bench.guests.add(UUID);
  bench.nova.fail('Instance.save', NO_DATABASE(), NO_DATABASE());
  bench.nova.fail('InstanceFault.create', NO_DATABASE());
  await bench.refused('stop_instance', { instance: bench.object(row) });
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(bench.faults.slice(-1), ['connection refused']);
});

test('a delete goes on when the database is there again', async () => {
  const row = bench.add({ task_state: 'deleting' });
  bench.guests.add(UUID);
  const late = new Fault('timeout', 'conductor did not answer', { facts: { to: 'conductor' } });
  bench.nova.fail('VirtualInterface.delete_by_instance_uuid', NO_DATABASE());
  bench.nova.fail('Instance.save', late);
  const bdms = primitive('BlockDeviceMappingList', { objects: [] });
  await bench.ask('terminate_instance', { instance: bench.object(row), bdms });
  assert.equal(bench.nova.instances.length, 0);
  assert.equal(bench.guests.guests.size, 0);
  assert.deepEqual(bench.faults, []);
});

for (const line of ['event_start', 'event_finish_with_failure']) {
  test(`work is done although the database has lost the action it belongs to: ${line}`, async () => {
    const row = bench.add({ vm_state: 'stopped', task_state: 'powering-on' });
    bench.guests.add(UUID, { power: POWER.shutdown });
    const { module, kwargs, args, trace } = novaError('NotFound');
    const facts = { className: 'InstanceActionNotFound', module, kwargs, args, trace };
    bench.nova.fail(`InstanceActionEvent.${line}`, new NovaError('Action for request_id not found', facts));
    await bench.ask('start_instance', { instance: bench.object(row) });
    assert.equal(bench.row()['vm_state'], 'active');
    assert.deepEqual(bench.faults, []);
    assert.ok(bench.logged.lines.some((text) => text.includes('compute_start_instance')));
  });
}

test('a feature the driver has not leaves a suspended instance as it was', async () => {
  const row = bench.add({ task_state: 'suspending' });
  bench.guests.add(UUID);
  bench.guests.fail('suspend', notImplemented());
  await bench.refused('suspend_instance', { instance: bench.object(row) });
  assert.equal(bench.row()['vm_state'], 'active');
  assert.equal(bench.row()['task_state'], null);
});

test('what was paused before it was suspended is paused again when it resumes', async () => {
  const row = bench.add({ vm_state: 'paused', task_state: 'suspending' });
  bench.guests.add(UUID);
  await bench.ask('suspend_instance', { instance: bench.object(row) });
  assert.equal(bench.row()['vm_state'], 'suspended');
  assert.deepEqual(bench.row()['system_metadata'], { old_vm_state: 'paused' });
  row['task_state'] = 'resuming';
  await bench.ask('resume_instance', { instance: bench.object(row) });
  assert.equal(bench.row()['vm_state'], 'paused');
  assert.deepEqual(bench.row()['system_metadata'], {});
});

for (const [image, given, timeout] of [
  ['', true, 60],
  ['300', true, 300],
  ['soon', true, 60],
  ['300', false, 0],
] as const) {
  test(`a stop with os_shutdown_timeout "${image}", clean: ${String(given)}, waits ${String(timeout)} s`, async () => {
    const system = image === '' ? {} : { image_os_shutdown_timeout: image };
    const row = bench.add({ task_state: 'powering-off', system_metadata: system });
    bench.guests.add(UUID);
    await bench.ask('stop_instance', { instance: bench.object(row), clean_shutdown: given });
    assert.deepEqual(bench.guests.done, [`powerOff ${String(timeout)}`]);
  });
}

test('a stop of a guest that is off already is right also when its task has ended meanwhile', async () => {
  const row = bench.add({ task_state: 'powering-off' });
  bench.guests.add(UUID, { power: POWER.shutdown });
  const instance = bench.object(row);
  row['task_state'] = null;
  await bench.ask('stop_instance', { instance, clean_shutdown: true });
  assert.equal(bench.row()['vm_state'], 'stopped');
});

test('fields that are missing in a message are read once', async () => {
  const row = bench.add({ task_state: 'powering-off', system_metadata: { image_os_shutdown_timeout: '7' } });
  bench.guests.add(UUID);
  const { system_metadata: _left, ...rest } = row;
  await bench.ask('stop_instance', { instance: bench.object(rest), clean_shutdown: true });
  assert.deepEqual(bench.guests.done, ['powerOff 7']);
  assert.equal(bench.nova.lines.filter((line) => line === 'Instance.get_by_uuid').length, 1);
});

test('a stop and a start of the same instance never run beside each other', async () => {
  const row = bench.add({ task_state: 'powering-off' });
  bench.guests.add(UUID);
  const started = bench.ask('stop_instance', { instance: bench.object(row), clean_shutdown: true });
  const next = bench.ask('start_instance', {
    instance: bench.object({ ...row, vm_state: 'stopped', task_state: 'powering-on' }),
  });
  await started;
  row['task_state'] = 'powering-on';
  await next;
  assert.deepEqual(bench.guests.done, ['powerOff 60', 'powerOn']);
  assert.equal(bench.row()['vm_state'], 'active');
});

test('a reboot that fails while the guest runs is a fault, and the instance stays active', async () => {
  const row = bench.add({ task_state: 'rebooting' });
  bench.guests.add(UUID);
  bench.guests.fail('reboot', BROKEN());
  await bench.ask('reboot_instance', { instance: bench.object(row), reboot_type: 'SOFT' });
  assert.equal(bench.row()['vm_state'], 'active');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(bench.faults, ['the container is broken']);
  assert.deepEqual(events(), ['compute_reboot_instance', 'compute_reboot_instance ended']);
});

test('a reboot that fails and leaves the guest off puts the instance into error', async () => {
  const row = bench.add({ task_state: 'rebooting_hard', vm_state: 'stopped' });
  bench.guests.add(UUID, { power: POWER.shutdown });
  bench.guests.fail('reboot', BROKEN());
  await assert.rejects(
    bench.ask('reboot_instance', { instance: bench.object(row), reboot_type: 'HARD' }),
    /the container is broken/,
  );
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(bench.faults, ['the container is broken']);
});

test('a reboot that a restart of the daemon cuts off is judged when the daemon is back', async () => {
  const row = bench.add({ task_state: 'rebooting' });
  bench.guests.add(UUID);
  bench.guests.fail('reboot', novaError('HypervisorUnavailable', { host: '' }));
  bench.guests.before = (method) => {
    if (method === 'reboot') bench.guests.fail('power', new Fault('unavailable', 'no daemon'));
  };
  await bench.ask('reboot_instance', { instance: bench.object(row), reboot_type: 'SOFT' });
  assert.equal(bench.row()['vm_state'], 'active');
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.faults.length, 1);
});

for (const [type, task] of [
  ['SOFT', 'reboot_started'],
  ['HARD', 'reboot_started_hard'],
] as const) {
  test(`a ${type} reboot that the end of this service cuts off is left to its next start`, async () => {
    const row = bench.add({ task_state: type === 'SOFT' ? 'rebooting' : 'rebooting_hard' });
    bench.guests.add(UUID);
    const ending = new AbortController();
    Object.assign(bench.host, { signal: ending.signal });
    bench.guests.before = (method) => {
      if (method === 'reboot') ending.abort();
      ending.signal.throwIfAborted();
    };
    await assert.rejects(bench.ask('reboot_instance', { instance: bench.object(row), reboot_type: type }));
    assert.equal(bench.row()['vm_state'], 'active');
    assert.equal(bench.row()['task_state'], task);
  });
}

test('a reboot of a guest that has vanished is an error that says so', async () => {
  const row = bench.add({ task_state: 'rebooting_hard' });
  bench.guests.fail('reboot', novaError('InstanceNotFound', { instance_id: UUID }));
  await bench.refused('reboot_instance', { instance: bench.object(row), reboot_type: 'HARD' });
  assert.equal(bench.row()['vm_state'], 'error');
  assert.deepEqual(bench.faults, [`Instance ${UUID} could not be found.`]);
});

test('a reboot of a rescued instance leaves it rescued', async () => {
  const row = bench.add({ vm_state: 'rescued', task_state: 'rebooting_hard' });
  bench.guests.add(UUID);
  await bench.ask('reboot_instance', { instance: bench.object(row), reboot_type: 'HARD' });
  assert.equal(bench.row()['vm_state'], 'rescued');
});

test('a delete that comes while a reboot is on its way is not written over', async () => {
  const row = bench.add({ task_state: 'rebooting' });
  bench.guests.add(UUID);
  bench.guests.before = (method) => {
    if (method === 'power') row['task_state'] = 'deleting';
  };
  const failure = await bench.refused('reboot_instance', {
    instance: bench.object(row),
    reboot_type: 'SOFT',
  });
  assert.equal(failure.className, 'UnexpectedDeletingTaskStateError');
  assert.equal(bench.row()['task_state'], 'deleting');
  assert.deepEqual(bench.guests.done, []);
});

test('a Neutron that does not answer keeps a guest from starting, and the instance stopped', async () => {
  bench.cloud.on('GET', /^\/network\/v2\.0\/ports/, { status: 500 });
  const row = bench.add({ vm_state: 'stopped', task_state: 'powering-on', power_state: 4 });
  bench.guests.add(UUID, { power: POWER.shutdown });
  await assert.rejects(bench.ask('start_instance', { instance: bench.object(row) }));
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.faults.length, 1);
});

test('network information can be injected and reset, and nothing is done to the guest', async () => {
  const row = bench.add();
  bench.guests.add(UUID);
  await bench.ask('inject_network_info', { instance: bench.object(row) });
  await bench.ask('reset_network', { instance: bench.object(row) });
  assert.deepEqual(bench.guests.done, []);
  assert.ok(bench.nova.lines.includes('InstanceInfoCache.save'));
});

function events(): string[] {
  return bench
    .calls()
    .filter((call) => call.object === 'InstanceActionEvent')
    .map((call) => {
      if (call.method === 'event_start') return String(call.args[1]);
      return `${String(call.args[1])} ${call.kwargs['exc_tb'] === null ? 'ended' : 'failed'}`;
    });
}
