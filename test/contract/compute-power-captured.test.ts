/** Recorded messages are worked on here, and conductor is asked what the recorded service asked it. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER, type PowerState } from '../../driver/compute/host.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { LifeBench, recordedLife } from '../support/life-bench.ts';
import { callTexts } from '../support/recorded-calls.ts';

let bench: LifeBench;
beforeEach(async () => {
  // Nobody tells that ports are wired.
  bench = await LifeBench.make('vif_plugging_timeout = 0');
});
afterEach(() => bench.stop());

interface Case {
  readonly operation: string;
  readonly guest: PowerState;
  /** What is done to the guest, and what it does afterwards. */
  readonly done: readonly string[];
  readonly after: PowerState;
}

const CASES: readonly Case[] = [
  { operation: 'start', guest: POWER.shutdown, done: ['powerOn'], after: POWER.running },
  { operation: 'peer-start', guest: POWER.shutdown, done: ['powerOn'], after: POWER.running },
  { operation: 'stop', guest: POWER.running, done: ['powerOff 60'], after: POWER.shutdown },
  { operation: 'peer-stop', guest: POWER.running, done: ['powerOff 60'], after: POWER.shutdown },
  { operation: 'pause', guest: POWER.running, done: ['pause'], after: POWER.paused },
  { operation: 'peer-pause', guest: POWER.running, done: ['pause'], after: POWER.paused },
  { operation: 'unpause', guest: POWER.paused, done: ['unpause'], after: POWER.running },
  { operation: 'peer-unpause', guest: POWER.paused, done: ['unpause'], after: POWER.running },
  { operation: 'suspend', guest: POWER.running, done: ['suspend'], after: POWER.suspended },
  { operation: 'resume', guest: POWER.suspended, done: ['resume'], after: POWER.running },
  { operation: 'reboot-soft', guest: POWER.running, done: ['reboot soft'], after: POWER.running },
  { operation: 'reboot-hard', guest: POWER.running, done: ['reboot hard'], after: POWER.running },
  { operation: 'soft-delete', guest: POWER.running, done: ['powerOff 0'], after: POWER.shutdown },
  { operation: 'restore', guest: POWER.shutdown, done: ['powerOn'], after: POWER.running },
  { operation: 'rescue', guest: POWER.running, done: ['powerOff 60', 'rescue'], after: POWER.running },
  { operation: 'unrescue', guest: POWER.running, done: ['unrescue'], after: POWER.running },
  {
    operation: 'rebuild',
    guest: POWER.running,
    done: ['powerOff 60', 'destroy', 'spawn'],
    after: POWER.running,
  },
];

for (const { operation, guest, done, after } of CASES) {
  test(`${operation}: conductor is asked what a real compute service asked it`, async () => {
    const { instance, uuid } = replay(operation);
    bench.guests.add(uuid, { power: guest });
    const { request, calls } = recordedLife(operation);
    assert.ok(request !== null);
    await bench.ask(request.method, { ...request.args, instance }, request.context);
    assert.deepEqual(callTexts(bench.calls()), callTexts(calls));
    assert.deepEqual(bench.guests.done, done);
    assert.equal(bench.guests.guests.get(uuid)?.power, after);
    assert.equal(bench.row(uuid)['power_state'], after);
    assert.equal(bench.row(uuid)['task_state'], null);
  });
}

test('evacuate: conductor is asked what a real compute service asked it', async () => {
  const { instance, uuid } = replay('evacuate');
  const { request, calls } = recordedLife('evacuate');
  assert.ok(request !== null);
  await bench.ask(request.method, { ...request.args, instance }, request.context);
  assert.deepEqual(callTexts(bench.calls()), callTexts(calls));
  assert.deepEqual(bench.guests.done, ['spawn']);
  assert.equal(bench.row(uuid)['host'], 'node-a');
});

test('evacuate: Nova learns of the migration before any port moves, so that their events come here', async () => {
  const { instance } = replay('evacuate');
  const { request, calls } = recordedLife('evacuate');
  assert.ok(request !== null);
  await bench.ask(request.method, { ...request.args, instance }, request.context);
  const contexts = bench.calls().map((call) => call.changes?.['migration_context']);
  const sent = contexts.find((one) => isRecord(one));
  const recorded = calls.map((call) => call.changes?.['migration_context']).find((one) => isRecord(one));
  assert.ok(isRecord(sent) && isRecord(recorded));
  assert.equal(sent['nova_object.name'], recorded['nova_object.name']);
  const data = sent['nova_object.data'];
  assert.ok(isRecord(data));
  assert.equal(data['migration_id'], 13);
});

test('trigger-crash-dump: the action is there and fails, for a container has no kernel', async () => {
  const { instance, uuid } = replay('trigger-crash-dump');
  bench.guests.add(uuid);
  const failure = await bench.refused('trigger_crash_dump', { instance });
  assert.equal(failure.className, 'NotImplementedError');
  const { calls } = recordedLife('trigger-crash-dump');
  const events = callTexts(calls).map((text) => text.split(' ').slice(0, 2).join(' '));
  const sent = callTexts(bench.calls()).map((text) => text.split(' ').slice(0, 2).join(' '));
  assert.deepEqual(
    sent.filter((text) => !text.startsWith('InstanceFault')),
    events,
  );
  assert.equal(bench.faults.length, 1);
  assert.deepEqual(bench.guests.done, []);
});

/** The instance of a recorded message, in the database as it is in the message. */
function replay(operation: string): { readonly instance: Json; readonly uuid: string } {
  const instance = structuredClone(recordedLife(operation).request?.args['instance']);
  assert.ok(isRecord(instance));
  const data = instance['nova_object.data'];
  assert.ok(isRecord(data));
  bench.nova.instances.push(structuredClone(data));
  return { instance, uuid: String(data['uuid']) };
}
