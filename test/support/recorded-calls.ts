/** Calls to conductor as texts, so that those of this service can be laid beside recorded ones. */
import type { RecordedCall } from './life-bench.ts';

/**
 * Reads the recorded service makes for payloads of notifications nobody wanted
 * here, for hardware that containers have none of, and for volumes.
 */
const ONLY_THERE = [
  'Instance.get_by_uuid',
  'BlockDeviceMappingList.get_by_instance_uuid',
  'InstancePCIRequests.get_by_instance_uuid',
  'InstanceNUMATopology.get_by_instance_uuid',
  'PciDeviceList.get_by_instance_uuid',
  'ResourceList.get_by_instance_uuid',
  'MigrationContext.get_by_instance_uuid',
  'VirtCPUModel.get_by_instance_uuid',
  'Service.get_by_compute_host',
  'InstanceInfoCache.refresh',
  // The same cache is written once or twice, and by events that come meanwhile.
  'InstanceInfoCache.save',
];

/** Fields that are changed by reading them, in Python's objects. */
const BY_READING = [
  'old_flavor',
  'new_flavor',
  'info_cache',
  'numa_topology',
  'pci_devices',
  'pci_requests',
  'resources',
  'vcpu_model',
  'migration_context',
];

/** Their values depend on the clock or on what the guest really did. */
const BY_NAME_ONLY = ['launched_at', 'power_state', 'system_metadata', 'dest_host', 'report_count'];

export function callTexts(calls: readonly RecordedCall[]): string[] {
  return calls
    .filter((call) => !ONLY_THERE.includes(`${call.object}.${call.method}`))
    .map((call) => {
      const parts = [
        `${call.object}.${call.method}`,
        ...eventOf(call),
        ...expectedOf(call),
        ...changesOf(call),
      ];
      return parts.join(' ');
    });
}

function eventOf(call: RecordedCall): string[] {
  if (call.object !== 'InstanceActionEvent') return [];
  return [String(call.args[1]), JSON.stringify({ ...call.kwargs, exc_tb: call.kwargs['exc_tb'] ?? null })];
}

/** One state alone and a list of one mean the same. */
function expectedOf(call: RecordedCall): string[] {
  const expected = call.kwargs['expected_task_state'];
  if (expected === undefined) return [];
  return [`expecting ${JSON.stringify(Array.isArray(expected) ? expected : [expected])}`];
}

function changesOf(call: RecordedCall): string[] {
  return Object.entries(call.changes ?? {})
    .filter(([field]) => !BY_READING.includes(field))
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([field, value]) => (BY_NAME_ONLY.includes(field) ? field : `${field}=${JSON.stringify(value)}`));
}
