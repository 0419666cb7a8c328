import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostTraits } from '../../../../driver/cloud/host-inventory.ts';

test('a host tells that Nova owns it, and whether it takes new servers', () => {
  const open = hostTraits(false, ['CUSTOM_FAST']);
  assert.ok(open.own.includes('OWNER_NOVA') && open.own.includes('CUSTOM_FAST'));
  assert.deepEqual(open.not, ['COMPUTE_STATUS_DISABLED']);
  const closed = hostTraits(true);
  assert.ok(closed.own.includes('COMPUTE_STATUS_DISABLED'));
  assert.deepEqual(closed.not, []);
});
