/**
 * Request and answer shapes of `/1.0/instances`. No behaviour.
 *
 * Go clients send null for empty maps and lists, so every field of a request
 * may be null or absent; unknown keys are dropped.
 */
import { z } from 'zod';

const text = z.string().nullish();
const flag = z.boolean().nullish();
/** A null value is Go's zero value: the empty string, which unsets the key. */
const stringMap = z.record(z.string(), z.string().nullable()).nullish();
const deviceMap = z.record(z.string(), z.record(z.string(), z.string().nullable()).nullable()).nullish();
const nameList = z.array(z.string()).nullish();

const putFields = {
  architecture: text,
  config: stringMap,
  devices: deviceMap,
  ephemeral: flag,
  profiles: nameList,
  restore: text,
  stateful: flag,
  description: text,
};

/** InstancePut: the body of PUT and PATCH. */
export const instancePut = z.object(putFields);
export type InstancePutWire = z.infer<typeof instancePut>;

export const instanceSource = z.object({
  type: text,
  alias: text,
  fingerprint: text,
  properties: stringMap,
  server: text,
  secret: text,
  protocol: text,
  certificate: text,
  'base-image': text,
  mode: text,
  operation: text,
  secrets: stringMap,
  source: text,
  project: text,
  live: flag,
  instance_only: flag,
  container_only: flag,
  refresh: flag,
  allow_inconsistent: flag,
});

/** InstancesPost. */
export const instancesPost = z.object({
  ...putFields,
  name: text,
  source: instanceSource.nullish(),
  instance_type: text,
  type: text,
  /** Extension `instance_create_start`: start it in the same operation. */
  start: flag,
});
export type InstancesPostWire = z.infer<typeof instancesPost>;

/** InstancePost: rename, or a migration. */
export const instancePost = z.object({
  name: text,
  migration: flag,
  live: flag,
  instance_only: flag,
  container_only: flag,
  pool: text,
  project: text,
  allow_inconsistent: flag,
});

/** InstanceStatePut. */
export const instanceStatePut = z.object({
  action: z.string(),
  timeout: z.number().int().min(-1).max(1_000_000_000).nullish(),
  force: flag,
  stateful: flag,
});
export type InstanceStatePutWire = z.infer<typeof instanceStatePut>;

/** InstancesPut: a change of state for all instances of a project. */
export const instancesPut = z.object({ state: instanceStatePut.nullish() });

const metadataTemplate = z.object({
  when: nameList,
  create_only: flag,
  template: text,
  properties: stringMap,
});

/** ImageMetadata, as PUT and PATCH of `/metadata` take it. */
export const instanceMetadata = z.object({
  architecture: text,
  creation_date: z.number().int().nullish(),
  expiry_date: z.number().int().nullish(),
  properties: stringMap,
  templates: z.record(z.string(), metadataTemplate).nullish(),
});
export type InstanceMetadataWire = z.infer<typeof instanceMetadata>;

const strings = z.record(z.string(), z.string());
const devices = z.record(z.string(), strings);

/** Instance, as the server sends it. */
export const instance = z.object({
  architecture: z.string(),
  config: strings,
  devices,
  ephemeral: z.boolean(),
  profiles: z.array(z.string()),
  stateful: z.boolean(),
  description: z.string(),
  created_at: z.string(),
  expanded_config: strings,
  expanded_devices: devices,
  name: z.string(),
  status: z.string(),
  status_code: z.number().int(),
  last_used_at: z.string(),
  location: z.string(),
  type: z.string(),
  project: z.string(),
});
export type InstanceWire = z.infer<typeof instance>;

const count = z.number().int();
const counters = z.object({
  bytes_received: count,
  bytes_sent: count,
  packets_received: count,
  packets_sent: count,
  errors_received: count,
  errors_sent: count,
  packets_dropped_outbound: count,
  packets_dropped_inbound: count,
});

/** InstanceState, as the server sends it. */
export const instanceState = z.object({
  status: z.string(),
  status_code: count,
  disk: z.record(z.string(), z.object({ usage: count })),
  memory: z.object({ usage: count, usage_peak: count, swap_usage: count, swap_usage_peak: count }),
  network: z
    .record(
      z.string(),
      z.object({
        addresses: z.array(
          z.object({ family: z.string(), address: z.string(), netmask: z.string(), scope: z.string() }),
        ),
        counters,
        hwaddr: z.string(),
        host_name: z.string(),
        mtu: count,
        state: z.string(),
        type: z.string(),
      }),
    )
    .nullable(),
  pid: count,
  processes: count,
  cpu: z.object({ usage: count }),
});

/** Bytes of each file of a config drive. */
export const instanceDrive = z.object({ files: z.record(z.string(), count) });

/** What a list answers: URLs, or objects with recursion. */
export const instanceList = z.union([z.array(z.string()), z.array(instance)]);
