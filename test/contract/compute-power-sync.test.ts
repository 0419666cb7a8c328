/** Power states of guests and of Nova's database: by the clock, and by the daemon's events. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { POWER, type PowerState } from '../../driver/compute/host.ts';
import { syncPowerStates, watchPower } from '../../driver/compute/power-sync.ts';
import type { Json } from '../../driver/rpc/json.ts';
import { Fault } from '../../process/fault.ts';
import { EventServer } from '../support/event-server.ts';
import { LifeBench, recordedLife, UUID } from '../support/life-bench.ts';
import { until } from '../support/messaging.ts';

let bench: LifeBench;
let events: EventServer;
beforeEach(async () => {
  events = await EventServer.make();
  bench = await LifeBench.make(`[slipway]\nsocket = ${events.socketPath}`);
});
afterEach(async () => {
  await bench.stop();
  await events.destroy();
});

interface Row {
  readonly vmState: string;
  readonly power: PowerState;
  /** What this service asks of itself. */
  readonly asked: string | null;
  readonly more?: Json;
}

const ROWS: readonly Row[] = [
  { vmState: 'active', power: POWER.running, asked: null },
  { vmState: 'active', power: POWER.shutdown, asked: 'stop_instance' },
  { vmState: 'active', power: POWER.crashed, asked: 'stop_instance' },
  { vmState: 'active', power: POWER.suspended, asked: 'stop_instance' },
  { vmState: 'active', power: POWER.paused, asked: null },
  { vmState: 'active', power: POWER.noState, asked: null },
  {
    vmState: 'active',
    power: POWER.shutdown,
    asked: 'terminate_instance',
    more: { shutdown_terminate: true },
  },
  { vmState: 'stopped', power: POWER.shutdown, asked: null },
  { vmState: 'stopped', power: POWER.noState, asked: null },
  { vmState: 'stopped', power: POWER.running, asked: 'stop_instance' },
  { vmState: 'stopped', power: POWER.paused, asked: 'stop_instance' },
  { vmState: 'paused', power: POWER.paused, asked: null },
  { vmState: 'paused', power: POWER.shutdown, asked: 'stop_instance' },
  { vmState: 'paused', power: POWER.running, asked: null },
  { vmState: 'suspended', power: POWER.shutdown, asked: null },
  { vmState: 'rescued', power: POWER.shutdown, asked: null },
  { vmState: 'error', power: POWER.running, asked: null },
  { vmState: 'building', power: POWER.running, asked: null },
  { vmState: 'resized', power: POWER.shutdown, asked: null },
  { vmState: 'soft-delete', power: POWER.running, asked: null },
  { vmState: 'active', power: POWER.shutdown, asked: null, more: { task_state: 'rebooting' } },
];

for (const { vmState, power, asked, more } of ROWS) {
  const with_ = JSON.stringify(more ?? {});
  test(`${vmState} in Nova, ${String(power)} here, ${with_}: ${asked ?? 'nothing'} is asked for`, async () => {
    bench.add({ vm_state: vmState, power_state: 99, ...more });
    if (power !== POWER.noState) bench.guests.add(UUID, { power });
    await syncPowerStates(bench.host);
    assert.deepEqual(
      bench.casts().map((cast) => cast.method),
      asked === null ? [] : [asked],
    );
    const isBusy = more?.['task_state'] !== undefined;
    assert.equal(bench.row()['power_state'], isBusy ? 99 : power);
    assert.deepEqual(bench.guests.done, ['list'], 'nothing is started or stopped but through Nova');
  });
}

test('a stop that is asked for shows in the list of actions, and is done when the message comes', async () => {
  bench.add();
  bench.guests.add(UUID, { power: POWER.shutdown });
  await syncPowerStates(bench.host);
  assert.equal(bench.row()['task_state'], 'powering-off');
  const action = bench.calls().find((call) => call.object === 'InstanceAction');
  assert.deepEqual(action?.args, [UUID, 'stop']);
  const [cast] = bench.casts();
  assert.ok(cast !== undefined);
  await bench.ask(cast.method, cast.args);
  assert.equal(bench.row()['vm_state'], 'stopped');
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.row()['power_state'], POWER.shutdown);
});

test('a stop that cannot be sent leaves no task behind', async () => {
  bench.add();
  bench.guests.add(UUID, { power: POWER.shutdown });
  bench.nova.fail('stop_instance', new Fault('unavailable', 'the broker is away'));
  await syncPowerStates(bench.host);
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.row()['vm_state'], 'active');
});

test('a daemon that does not answer says nothing about guests', async () => {
  bench.add();
  bench.guests.fail('list', new Fault('unavailable', 'no daemon'));
  await assert.rejects(syncPowerStates(bench.host), /no daemon/);
  assert.equal(bench.row()['power_state'], 1);
  assert.deepEqual(bench.casts(), []);
});

test('Nova is asked for the instances as a real compute service asks, and nothing about those that agree', async () => {
  bench.add();
  bench.guests.add(UUID);
  await syncPowerStates(bench.host);
  const wanted = recordedLife('periodic-idle').calls.filter((call) => call.method === 'get_by_host');
  assert.deepEqual(bench.calls(), wanted.slice(0, 1));
});

test('an instance that moved away meanwhile is left alone', async () => {
  bench.add();
  bench.guests.add(UUID, { power: POWER.shutdown });
  bench.nova.answers.set('Instance.refresh', () => [{ ...bench.row(), host: 'node-b' }, null]);
  await syncPowerStates(bench.host);
  assert.deepEqual(bench.casts(), []);
});

test('a method that is under way is waited for, and what it made of the instance counts', async () => {
  const row = bench.add();
  const guest = bench.guests.add(UUID, { power: POWER.shutdown });
  const under = bench.host.lanes.run(UUID, async () => {
    await until('the pass has looked', () => bench.guests.done.includes('list'));
    guest.power = POWER.running;
    row['power_state'] = 1;
  });
  await Promise.all([under, syncPowerStates(bench.host)]);
  assert.deepEqual(bench.casts(), []);
  assert.equal(bench.row()['power_state'], POWER.running);
});

test('a guest that ended by itself is stopped in Nova once the end has lasted', async () => {
  bench.add();
  bench.guests.add(UUID, { power: POWER.shutdown });
  await watching(5, async () => {
    events.send('instance-shutdown', 'instance-00000001');
    await until('the stop is asked for', () => bench.casts().length === 1);
  });
  assert.equal(bench.casts()[0]?.method, 'stop_instance');
});

test('a guest that reboots itself is not taken for one that ended', async () => {
  bench.add({ power_state: 4 });
  bench.guests.add(UUID, { power: POWER.running });
  await watching(60_000, async () => {
    events.send('instance-shutdown', 'instance-00000001');
    events.send('instance-restarted', 'instance-00000001');
    await until('the state is saved', () => bench.row()['power_state'] === POWER.running);
  });
  assert.deepEqual(bench.casts(), []);
});

test('events of containers that are not Nova’s, and what is no event, are nothing to Nova', async () => {
  bench.add({ power_state: 4 });
  bench.guests.add(UUID, { power: POWER.running });
  await watching(0, async () => {
    events.sendText('{');
    events.sendText('{"type": "lifecycle"}');
    events.sendText('{"type": "lifecycle", "metadata": {"action": "x", "source": "/1.0/images/1"}}');
    events.send('instance-started', 'web-of-somebody-else');
    events.send('instance-started', 'instance-00000001');
    await until('the state is saved', () => bench.row()['power_state'] === POWER.running);
  });
  assert.equal(bench.nova.lines.filter((line) => line === 'Instance.get_by_uuid').length, 1);
});

test('an event that work of this service causes is left to that work', async () => {
  bench.add({ power_state: 4 });
  bench.guests.add(UUID, { power: POWER.running });
  bench.guests.add('another', { name: 'instance-00000002' });
  await watching(0, async () => {
    await bench.host.lanes.run(UUID, async () => {
      events.send('instance-started', 'instance-00000001');
      events.send('instance-started', 'instance-00000002');
      await until('both were heard', () => bench.nova.lines.includes('Instance.get_by_uuid'));
    });
  });
  assert.equal(bench.row()['power_state'], 4);
});

test('when the daemon was started again all instances are compared', async () => {
  bench.add();
  const guest = bench.guests.add(UUID);
  await watching(5, async () => {
    await events.stop();
    guest.power = POWER.shutdown;
    await events.start();
    await until('the stop is asked for', () => bench.casts().length === 1);
  });
});

/** The service listens while `work` runs. */
async function watching(stopDelayMs: number, work: () => Promise<void>): Promise<void> {
  await events.start();
  const end = new AbortController();
  const watched = watchPower({ ...bench.host, signal: end.signal }, stopDelayMs);
  await events.heard();
  await work();
  end.abort();
  await watched;
}
