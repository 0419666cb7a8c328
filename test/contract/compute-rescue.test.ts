/** Rescue and its end: which image, which password, and what a failure leaves. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER } from '../../driver/compute/host.ts';
import type { Json } from '../../driver/rpc/json.ts';
import { Fault } from '../../process/fault.ts';
import { LifeBench, NEW_IMAGE, UUID } from '../support/life-bench.ts';

let bench: LifeBench;
beforeEach(async () => {
  bench = await LifeBench.make();
});
afterEach(() => bench.stop());

function rescue(row: Json, given: Json = {}): Promise<unknown> {
  const args = { rescue_password: 'secret', rescue_image_ref: null, clean_shutdown: true, ...given };
  return bench.ask('rescue_instance', { instance: bench.object(row), ...args });
}

for (const { what, system, named, fingerprint } of [
  { what: 'its own image when nothing else is known', system: {}, named: null, fingerprint: 'f1' },
  {
    what: 'the image a snapshot was made from',
    system: { image_base_image_ref: NEW_IMAGE },
    named: null,
    fingerprint: 'f2',
  },
  { what: 'the image that was named', system: {}, named: NEW_IMAGE, fingerprint: 'f2' },
]) {
  test(`a rescued instance boots ${what}`, async () => {
    const row = bench.add({ task_state: 'rescuing', system_metadata: system });
    bench.guests.add(UUID);
    await rescue(row, { rescue_image_ref: named });
    assert.equal(bench.guests.rescued[0]?.fingerprint, fingerprint);
    assert.equal(bench.row()['vm_state'], 'rescued');
    assert.equal(bench.row()['power_state'], POWER.running);
  });
}

test('the password of a rescue is the one that was given, and is in its config drive', async () => {
  const row = bench.add({ task_state: 'rescuing', config_drive: 'True' });
  bench.guests.add(UUID);
  await rescue(row);
  const [request] = bench.guests.rescued;
  assert.equal(request?.password, 'secret');
  assert.match(String(request.drive?.get('openstack/latest/meta_data.json')), /"admin_pass": ?"secret"/);
});

test('a rescue without a password gets one of the length that is configured', async () => {
  const row = bench.add({ task_state: 'rescuing' });
  bench.guests.add(UUID);
  await rescue(row, { rescue_password: null });
  assert.equal(bench.guests.rescued[0]?.password?.length, 12);
  assert.equal(bench.guests.rescued[0].drive, null);
});

test('a rescue that may not take its time turns the guest off at once', async () => {
  const row = bench.add({ task_state: 'rescuing' });
  bench.guests.add(UUID);
  await rescue(row, { clean_shutdown: false });
  assert.deepEqual(bench.guests.done, ['powerOff 0', 'rescue']);
});

test('an image that is gone is found out before the guest is turned off', async () => {
  bench.cloud.on('GET', /^\/image\/v2\/images\//, { status: 404 });
  const row = bench.add({ task_state: 'rescuing' });
  bench.guests.add(UUID);
  await assert.rejects(rescue(row), /cannot be rescued/);
  assert.deepEqual(bench.guests.done, []);
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
});

test('a rescue that fails is an error, and the owner reads that it is not rescuable', async () => {
  const row = bench.add({ task_state: 'rescuing' });
  bench.guests.add(UUID);
  bench.guests.fail('rescue', new Fault('storage_full', 'no space left'));
  await assert.rejects(rescue(row));
  assert.equal(bench.row()['vm_state'], 'error');
  assert.equal(bench.row()['task_state'], null);
  assert.deepEqual(bench.faults, [`Instance ${UUID} cannot be rescued: Driver Error: no space left`]);
});

test('the end of a rescue that fails is an error', async () => {
  const row = bench.add({ vm_state: 'rescued', task_state: 'unrescuing' });
  bench.guests.add(UUID);
  bench.guests.fail('unrescue', new Fault('internal', 'the old root is gone'));
  await assert.rejects(
    bench.ask('unrescue_instance', { instance: bench.object(row) }),
    /the old root is gone/,
  );
  assert.equal(bench.row()['vm_state'], 'error');
  assert.deepEqual(bench.faults, ['the old root is gone']);
});

test('a rescue that a delete overtakes leaves the instance to the delete', async () => {
  const row = bench.add({ task_state: 'rescuing' });
  bench.guests.add(UUID);
  const instance = bench.object(row);
  row['task_state'] = 'deleting';
  const args = { instance, rescue_password: 'secret', rescue_image_ref: null, clean_shutdown: true };
  const failure = await bench.refused('rescue_instance', args);
  assert.equal(failure.className, 'UnexpectedDeletingTaskStateError');
  assert.equal(bench.row()['vm_state'], 'active');
});
