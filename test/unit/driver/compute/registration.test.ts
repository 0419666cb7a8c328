/** The version this service tells: that of a control plane that changes under it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refreshVersion } from '../../../../driver/compute/registration.ts';
import { Conductor } from '../../../../driver/nova/conductor.ts';
import { NovaObject } from '../../../../driver/nova/versioned-object.ts';
import { FakeNova } from '../../../support/fake-nova.ts';

async function refreshed(
  from: number,
  conductor: number,
  configured = 0,
): Promise<readonly [number, boolean]> {
  const nova = new FakeNova(conductor);
  nova.answers.set('Service.save', () => [{ obj_what_changed: [] }, null]);
  const service = NovaObject.create('Service', { id: 1, host: 'node-a', report_count: 4, version: from });
  service.resetChanges();
  await refreshVersion(new Conductor(nova), service, configured);
  return [service.number('version'), nova.lines.includes('Service.save')];
}

test('a control plane that was upgraded sees a host of its own time', async () => {
  assert.deepEqual(await refreshed(68, 72), [72, true]);
  assert.deepEqual(await refreshed(68, 68), [68, false]);
});

test('a version is not taken back: Nova refuses that while others have the newer one', async () => {
  assert.deepEqual(await refreshed(68, 66), [68, false]);
  // Their records were deleted for a moment.
  assert.deepEqual(await refreshed(68, 0), [68, false]);
});

test('the version of the configuration stays', async () => {
  assert.deepEqual(await refreshed(66, 72, 66), [66, false]);
});
