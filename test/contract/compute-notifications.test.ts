/** What is told of builds, deletes and new interfaces, beside what nova-compute was heard to tell. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { notificationsSettled } from '../../driver/compute/notifications.ts';
import { isRecord, type Json } from '../../driver/rpc/json.ts';
import { novaError } from '../../driver/rpc/nova-error.ts';
import { BuildBench, recordedBuild } from '../support/build-bench.ts';

interface Heard {
  readonly operation: string;
  readonly type: string;
  readonly priority: string;
  readonly payload: Json;
}

const HEARD = readFileSync(new URL('../fixtures/compute-notifications.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  // The file is made of these.
  .map((line) => JSON.parse(line) as Heard);

let bench: BuildBench;
beforeEach(async () => {
  bench = await BuildBench.make();
  bench.hasNotifications = true;
});
afterEach(() => bench.stop());

/** Decided by the clock, by addresses of this test's Neutron, or by where Glance is. */
const OTHERS = new Set([
  'launched_at',
  'terminated_at',
  'deleted_at',
  'updated_at',
  'fixed_ips',
  'ip_addresses',
  'image_ref_url',
]);

/** Values where they are decided by the instance, else only that they are there. */
function comparable(payload: Json): Json {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(payload)) {
    if (key === 'nova_object.data' && isRecord(value)) out[key] = comparable(value);
    else out[key] = OTHERS.has(key) ? 'there' : value;
  }
  return out;
}

function flavorOf(operation: string): unknown {
  const { instance } = recordedBuild(operation).request.args;
  const data = isRecord(instance) ? instance['nova_object.data'] : null;
  return isRecord(data) ? data['flavor'] : null;
}

for (const operation of ['boot', 'delete', 'interface-attach']) {
  test(`${operation}: the same is told as by nova-compute`, async () => {
    const asked = bench.record(operation);
    bench.life.guests.add(asked.uuid);
    // It comes without its flavor, which is read from the database.
    bench.life.row(asked.uuid)['flavor'] = flavorOf('boot');
    const network = asked.args['network_id'];
    if (typeof network === 'string') bench.neutron.addNetwork(network);
    await bench.ask(asked);
    await notificationsSettled();
    const heard = HEARD.filter((one) => one.operation === operation);
    assert.deepEqual(bench.told.map((one) => one.type).toSorted(), heard.map((one) => one.type).toSorted());
    for (const one of heard) {
      const mine = bench.told.find((each) => each.type === one.type);
      assert.ok(mine);
      assert.equal(mine.priority.toUpperCase(), one.priority);
      assert.deepEqual(comparable(mine.payload), comparable(one.payload), one.type);
    }
  });
}

test('the start is told before the end, of each kind', async () => {
  await bench.ask(bench.record('boot'));
  await notificationsSettled();
  const flat = bench.told.map((one) => one.type).filter((type) => type.startsWith('compute.'));
  assert.deepEqual(flat, ['compute.instance.create.start', 'compute.instance.create.end']);
});

test('a failed build tells what went wrong, as an error', async () => {
  bench.life.guests.fail('spawn', novaError('InstanceDeployFailure', { reason: 'no luck' }));
  await bench.ask(bench.record('boot'));
  await notificationsSettled();
  const [flat] = bench.told.filter((one) => one.type === 'compute.instance.create.error');
  assert.equal(flat?.priority, 'error');
  assert.match(String(flat.payload['message']), /no luck/);
  const [whole] = bench.told.filter((one) => one.type === 'instance.create.error');
  const data = whole?.payload['nova_object.data'];
  assert.ok(isRecord(data) && isRecord(data['fault']));
  assert.equal(data['fault']['nova_object.name'], 'ExceptionPayload');
});

test('addresses are told by the end of a build', async () => {
  await bench.ask(bench.record('boot'));
  await notificationsSettled();
  const end = bench.told.find((one) => one.type === 'compute.instance.create.end');
  const ips = end?.payload['fixed_ips'];
  assert.ok(Array.isArray(ips));
  const [ip]: unknown[] = ips;
  assert.ok(isRecord(ip));
  assert.deepEqual([ip['label'], ip['type'], ip['version']], ['private', 'fixed', 4]);
});

test('where nobody listens nothing is made', async () => {
  bench.hasNotifications = false;
  await bench.ask(bench.record('boot'));
  await notificationsSettled();
  assert.deepEqual(bench.told, []);
});
