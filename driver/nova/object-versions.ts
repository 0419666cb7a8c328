/**
 * The versions of Nova's objects this service speaks: those of OpenStack Zed,
 * which every later release takes. They go into objects made here, and into
 * the manifest of each class call, which a conductor answers only when it
 * knows every version in it.
 */
export const OBJECT_VERSIONS: Readonly<Record<string, string>> = {
  Aggregate: '1.3',
  AggregateList: '1.3',
  BlockDeviceMapping: '1.21',
  BlockDeviceMappingList: '1.18',
  CellMapping: '1.1',
  CellMappingList: '1.1',
  ComputeNode: '1.19',
  ComputeNodeList: '1.17',
  ConsoleAuthToken: '1.1',
  Destination: '1.4',
  DeviceBus: '1.0',
  CpuDiagnostics: '1.0',
  DeviceMetadata: '1.0',
  Diagnostics: '1.0',
  DiskDiagnostics: '1.0',
  MemoryDiagnostics: '1.0',
  NicDiagnostics: '1.0',
  InstanceExternalEvent: '1.5',
  NUMATopology: '1.2',
  LibvirtLiveMigrateData: '1.10',
  NetworkInterfaceMetadata: '1.2',
  DiskMetadata: '1.0',
  PCIDeviceBus: '1.0',
  SCSIDeviceBus: '1.0',
  EC2Ids: '1.0',
  Flavor: '1.2',
  HVSpec: '1.2',
  ImageMeta: '1.8',
  ImageMetaProps: '1.34',
  Instance: '2.7',
  InstanceAction: '1.2',
  InstanceActionEvent: '1.4',
  InstanceActionEventList: '1.1',
  InstanceActionList: '1.1',
  InstanceDeviceMetadata: '1.0',
  InstanceFault: '1.2',
  InstanceGroup: '1.11',
  InstanceInfoCache: '1.5',
  InstanceList: '2.6',
  InstanceNUMACell: '1.6',
  InstanceNUMATopology: '1.3',
  InstancePCIRequest: '1.4',
  InstancePCIRequests: '1.1',
  KeyPair: '1.4',
  KeyPairList: '1.3',
  Migration: '1.7',
  MigrationContext: '1.2',
  MigrationList: '1.5',
  NUMATopologyLimits: '1.1',
  NetworkMetadata: '1.0',
  NetworkRequest: '1.3',
  NetworkRequestList: '1.1',
  PciDevice: '1.7',
  PciDeviceList: '1.3',
  PciDevicePool: '1.1',
  PciDevicePoolList: '1.1',
  Quotas: '1.3',
  RequestGroup: '1.3',
  RequestLevelParams: '1.1',
  RequestSpec: '1.14',
  Resource: '1.0',
  ResourceList: '1.0',
  ResourceMetadata: '1.0',
  SchedulerLimits: '1.0',
  SchedulerRetries: '1.1',
  SecurityGroup: '1.2',
  SecurityGroupList: '1.1',
  Service: '1.22',
  ServiceList: '1.19',
  Tag: '1.1',
  TagList: '1.1',
  TaskLog: '1.0',
  TrustedCerts: '1.0',
  VirtCPUFeature: '1.0',
  VirtCPUModel: '1.0',
  VirtCPUTopology: '1.0',
  VirtualInterface: '1.3',
  VirtualInterfaceList: '1.0',
  VolumeUsage: '1.0',
};

/** The objects that come with another one. What is not here comes alone. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  AggregateList: ['Aggregate'],
  BlockDeviceMapping: ['Instance'],
  BlockDeviceMappingList: ['BlockDeviceMapping'],
  CellMappingList: ['CellMapping'],
  ComputeNode: ['HVSpec', 'PciDevicePoolList'],
  ComputeNodeList: ['ComputeNode'],
  DeviceMetadata: ['DeviceBus'],
  Instance: [
    'EC2Ids',
    'Flavor',
    'InstanceDeviceMetadata',
    'InstanceFault',
    'InstanceInfoCache',
    'InstanceNUMATopology',
    'InstancePCIRequests',
    'KeyPairList',
    'MigrationContext',
    'PciDeviceList',
    'ResourceList',
    'SecurityGroupList',
    'ServiceList',
    'TagList',
    'TrustedCerts',
    'VirtCPUModel',
  ],
  InstanceActionEventList: ['InstanceActionEvent'],
  InstanceActionList: ['InstanceAction'],
  InstanceDeviceMetadata: ['DeviceMetadata'],
  InstanceList: ['Instance'],
  InstanceNUMACell: ['VirtCPUTopology'],
  InstanceNUMATopology: ['InstanceNUMACell'],
  InstancePCIRequests: ['InstancePCIRequest'],
  KeyPairList: ['KeyPair'],
  MigrationContext: ['InstanceNUMATopology', 'InstancePCIRequests', 'PciDeviceList', 'ResourceList'],
  MigrationList: ['Migration'],
  PciDeviceList: ['PciDevice'],
  PciDevicePoolList: ['PciDevicePool'],
  Resource: ['ResourceMetadata'],
  ResourceList: ['Resource'],
  SecurityGroupList: ['SecurityGroup'],
  Service: ['ComputeNode'],
  ServiceList: ['Service'],
  TagList: ['Tag'],
  VirtCPUModel: ['VirtCPUFeature', 'VirtCPUTopology'],
  VirtualInterfaceList: ['VirtualInterface'],
};

const manifests = new Map<string, Readonly<Record<string, string>>>();

/** The `object_versions` of a call to a class: its version and those of all objects below it. */
export function manifestOf(name: string): Readonly<Record<string, string>> {
  let manifest = manifests.get(name);
  if (manifest === undefined) {
    const names = new Set<string>();
    collect(name, names);
    manifest = Object.fromEntries([...names].map((each) => [each, versionOf(each)]));
    manifests.set(name, manifest);
  }
  return manifest;
}

/** Throws for an object that is not in the table: that is a mistake in this program. */
export function versionOf(name: string): string {
  const version = OBJECT_VERSIONS[name];
  if (version === undefined) throw new Error(`the version of object ${name} is not known`);
  return version;
}

function collect(name: string, names: Set<string>): void {
  if (names.has(name)) return;
  names.add(name);
  for (const part of PARTS[name] ?? []) collect(part, names);
}
