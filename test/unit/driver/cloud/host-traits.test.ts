import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostInventories, hostTraits } from '../../../../driver/cloud/host-inventory.ts';
import { computeOptions } from '../../../support/messaging.ts';

test('a host tells that Nova owns it, and whether it takes new servers', () => {
  const open = hostTraits(false, ['CUSTOM_FAST']);
  assert.ok(open.own.includes('OWNER_NOVA') && open.own.includes('CUSTOM_FAST'));
  assert.ok(open.not.includes('COMPUTE_STATUS_DISABLED'));
  const closed = hostTraits(true);
  assert.ok(closed.own.includes('COMPUTE_STATUS_DISABLED'));
  assert.ok(!closed.not.includes('COMPUTE_STATUS_DISABLED'));
});

test('what the nova-compute before could do, and containers cannot, goes from the host', () => {
  const { own, not } = hostTraits(false, ['COMPUTE_TRUSTED_CERTS'], ['QCOW2']);
  for (const trait of ['COMPUTE_VOLUME_MULTI_ATTACH', 'COMPUTE_DEVICE_TAGGING', 'COMPUTE_IMAGE_TYPE_ISO']) {
    assert.ok(not.includes(trait), trait);
  }
  assert.ok(own.includes('COMPUTE_IMAGE_TYPE_RAW') && not.includes('COMPUTE_IMAGE_TYPE_QCOW2'));
  // An operator's word goes before.
  assert.ok(own.includes('COMPUTE_TRUSTED_CERTS') && !not.includes('COMPUTE_TRUSTED_CERTS'));
});

test('CPUs that were kept for virtual machines are not offered any more', () => {
  const one = { total: 4, reserved: 0, min_unit: 1, max_unit: 4, step_size: 1, allocation_ratio: 1 };
  const options = computeOptions('').DEFAULT;
  const totals = { vcpus: 4, memoryMb: 1024, diskGb: 10 };
  const found = hostInventories(totals, options, { PCPU: one, CUSTOM_GOLD: one });
  assert.deepEqual(Object.keys(found).sort(), ['CUSTOM_GOLD', 'DISK_GB', 'MEMORY_MB', 'VCPU']);
});
