/** Tasks whose request was lost on its way to this host. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { LostRequests } from '../../driver/compute/lost-requests.ts';
import type { Json } from '../../driver/rpc/json.ts';
import { primitive } from '../support/fake-nova.ts';
import { LifeBench, UUID } from '../support/life-bench.ts';

const EARLIER = '2026-11-01T10:00:00Z';
const LATER = '2026-11-01T10:01:00Z';

let bench: LifeBench;
let lost: LostRequests;
beforeEach(async () => {
  bench = await LifeBench.make();
  lost = new LostRequests(bench.host);
});
afterEach(() => bench.stop());

/** An instance that waits for something, and the events of its last two actions, the newest first. */
function waiting(fields: Json, events: readonly (readonly Json[])[] = [[]]): Json {
  const row = bench.add({ task_state: 'pausing', updated_at: EARLIER, ...fields });
  bench.nova.answers.set('InstanceList.get_by_filters', ([filters]) => {
    assert.ok(JSON.stringify(filters).includes('"host":"node-a"'));
    return primitive('InstanceList', { objects: [bench.object(row)] });
  });
  bench.nova.answers.set('InstanceActionList.get_by_instance_uuid', () =>
    primitive('InstanceActionList', { objects: events.map((_, id) => primitive('InstanceAction', { id })) }),
  );
  bench.nova.answers.set('InstanceActionEventList.get_by_action', ([id]) => {
    const objects = (events[Number(id)] ?? []).map((event) => primitive('InstanceActionEvent', event));
    return primitive('InstanceActionEventList', { objects });
  });
  return row;
}

test('a task that nobody began ends at the second look, and nothing else changes', async () => {
  waiting({});
  await lost.run();
  assert.equal(bench.row()['task_state'], 'pausing');
  await lost.run();
  assert.equal(bench.row()['task_state'], null);
  assert.equal(bench.row()['vm_state'], 'active');
  const saves = bench.calls().filter((call) => call.method === 'save');
  assert.deepEqual(
    saves.map(({ changes, kwargs }) => [changes, kwargs]),
    [[{ task_state: null }, { expected_task_state: ['pausing'] }]],
  );
});

test('what was asked for after the first look is given its time', async () => {
  const row = waiting({});
  await lost.run();
  row['updated_at'] = LATER;
  await lost.run();
  assert.equal(bench.row()['task_state'], 'pausing');
});

test('work under way here keeps its task, although the owner did something else since', async () => {
  waiting({ task_state: 'rescuing' }, [[], [{ host: 'node-a', finish_time: null }]]);
  await lost.run();
  await lost.run();
  assert.equal(bench.row()['task_state'], 'rescuing');
});

test('an instance that other work holds is left alone', async () => {
  waiting({});
  let end: () => void = () => undefined;
  const held = bench.host.lanes.run(UUID, () => new Promise<void>((resolve) => (end = resolve)));
  await lost.run();
  await lost.run();
  assert.equal(bench.row()['task_state'], 'pausing');
  end();
  await held;
});
