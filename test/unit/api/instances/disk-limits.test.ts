import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StringMap } from '../../../../api/db/rows.ts';
import { diskLimits } from '../../../../api/instances/disk-limits.ts';
import { instanceRow } from '../../../support/rows.ts';

type Parts = Parameters<typeof diskLimits>[0];

const PARTS = { host: { unifiedControllers: ['io'], v1: {} }, pools: {} } as unknown as Parts; // no root disk here
const ABSENT = { type: 'disk', source: '/nowhere/at/all', path: '/data', 'limits.read': '10MB' };

function limits(config: StringMap, unresolved?: 'skip'): ReturnType<typeof diskLimits> {
  return diskLimits(PARTS, { row: instanceRow(), config: {}, devices: { data: config } }, unresolved);
}

test('an optional disk whose source is not there has no limits, as it has no mount', async () => {
  assert.deepEqual(await limits({ ...ABSENT, required: 'false' }), []);
  assert.deepEqual(await limits({ ...ABSENT, optional: 'true' }), []);
});

test('a required disk whose source is not there is refused, but not where it is of the past', async () => {
  await assert.rejects(limits(ABSENT), /source \/nowhere\/at\/all is not there/);
  assert.deepEqual(await limits(ABSENT, 'skip'), []);
});

test('a source that is there but on no disk is refused, optional or not', async () => {
  const proc = { ...ABSENT, source: '/proc', required: 'false' };
  await assert.rejects(limits(proc), /lies on no block device/);
});
