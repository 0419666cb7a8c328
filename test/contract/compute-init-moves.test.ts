/** What the start of the service makes of an evacuation that had come to its end. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { initHost } from '../../driver/compute/init-host.ts';
import { isRecord } from '../../driver/rpc/json.ts';
import { primitive } from '../support/fake-nova.ts';
import { LifeBench, UUID } from '../support/life-bench.ts';

let bench: LifeBench;
beforeEach(async () => {
  bench = await LifeBench.make();
});
afterEach(() => bench.stop());

test('an evacuation whose instance had come here when the service ended is done', async () => {
  const fields = { id: 14, instance_uuid: UUID, status: 'pre-migrating', dest_compute: 'node-a' };
  bench.nova.answers.set('MigrationList.get_by_filters', ([filters]) => {
    const isHere = isRecord(filters) && filters['host'] === 'node-a';
    return primitive('MigrationList', { objects: isHere ? [primitive('Migration', fields)] : [] });
  });
  bench.add();
  bench.guests.add(UUID);
  await initHost(bench.host);
  assert.deepEqual([...bench.guests.guests.keys()], [UUID]);
  const saves = bench.calls().filter((call) => call.object === 'Migration');
  assert.deepEqual(
    saves.map((call) => call.changes?.['status']),
    ['done'],
  );
  assert.equal(bench.row()['vm_state'], 'active');
  assert.deepEqual(bench.faults, []);
});
