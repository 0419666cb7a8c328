/** The records of this host in Nova's database: its Service, its ComputeNode. */
import type { RpcContext } from '../rpc/envelope.ts';
import { isNovaError } from '../rpc/nova-error.ts';
import type { Conductor } from './conductor.ts';
import { withDeleted } from './context.ts';
import { NovaObject, type FieldValue } from './versioned-object.ts';

const BINARY = 'nova-compute';

/** The service record of the host, or null. */
export function findService(
  conductor: Conductor,
  context: RpcContext,
  host: string,
): Promise<NovaObject | null> {
  return conductor.classObjectOrNull(context, {
    object: 'Service',
    method: 'get_by_host_and_binary',
    args: [host, BINARY],
  });
}

/**
 * The service record of the host with this version, made when there is none.
 * NovaError ServiceTooOld when other compute services are newer.
 */
export async function ensureService(
  conductor: Conductor,
  context: RpcContext,
  host: string,
  version: number,
): Promise<NovaObject> {
  const known = await findService(conductor, context, host);
  const service = known ?? (await createService(conductor, context, host, version));
  if (service.assign({ version }).length > 0) await saveService(conductor, context, service);
  return service;
}

async function createService(
  conductor: Conductor,
  context: RpcContext,
  host: string,
  version: number,
): Promise<NovaObject> {
  const fields = { host, binary: BINARY, topic: 'compute', report_count: 0, version };
  const service = NovaObject.create('Service', fields);
  try {
    await conductor.objectCall(context, service, { method: 'create' });
    return service;
  } catch (err) {
    // Made by another process in the meantime.
    if (!isNovaError(err, 'ServiceTopicExists', 'ServiceBinaryExists')) throw err;
    const made = await findService(conductor, context, host);
    if (made === null) throw err;
    return made;
  }
}

export async function saveService(
  conductor: Conductor,
  context: RpcContext,
  service: NovaObject,
): Promise<void> {
  await conductor.objectCall(context, service, { method: 'save' });
}

/** A sign of life: conductor notes the time when the count grows. NovaError ServiceNotFound when it was removed. */
export async function beat(conductor: Conductor, context: RpcContext, service: NovaObject): Promise<void> {
  service.set('report_count', (service.numberOrNull('report_count') ?? 0) + 1);
  await saveService(conductor, context, service);
}

/** The lowest version of the services of this program in the cell; 0 when there is none. */
export async function minimumVersion(
  conductor: Conductor,
  context: RpcContext,
  binary: string,
): Promise<number> {
  const version = await conductor.classCall(context, {
    object: 'Service',
    method: 'get_minimum_version',
    args: [binary],
  });
  return typeof version === 'number' ? version : 0;
}

/** The version to report: what the conductor knows, within what this service can do. */
export function serviceVersion(conductorVersion: number, configured: number): number {
  if (configured > 0) return configured;
  return Math.max(LOWEST_VERSION, Math.min(conductorVersion, HIGHEST_VERSION));
}

/** OpenStack Zed, the oldest that is served. */
const LOWEST_VERSION = 64;
/** What the newest controllers expect is done by whoever builds on this. */
const HIGHEST_VERSION = 73;

/** The live node of this uuid, or none. */
export function nodesByUuid(
  conductor: Conductor,
  context: RpcContext,
  uuid: string,
): Promise<readonly NovaObject[]> {
  return conductor.classList(context, {
    object: 'ComputeNodeList',
    method: 'get_all_by_uuids',
    args: [[uuid]],
  });
}

/** The node by its uuid, a deleted one too; null when there is none. */
export async function findNodeByUuid(
  conductor: Conductor,
  context: RpcContext,
  uuid: string,
): Promise<NovaObject | null> {
  return orNull(
    conductor.classObjectOrNull(withDeleted(context), {
      object: 'ComputeNode',
      method: 'get_by_uuid',
      args: [uuid],
    }),
  );
}

export async function findNode(
  conductor: Conductor,
  context: RpcContext,
  host: string,
  nodename: string,
): Promise<NovaObject | null> {
  return orNull(
    conductor.classObjectOrNull(context, {
      object: 'ComputeNode',
      method: 'get_by_host_and_nodename',
      args: [host, nodename],
    }),
  );
}

export async function nodesOfHost(
  conductor: Conductor,
  context: RpcContext,
  host: string,
): Promise<readonly NovaObject[]> {
  try {
    return await conductor.classList(context, {
      object: 'ComputeNodeList',
      method: 'get_all_by_host',
      args: [host],
      kwargs: { use_slave: true },
    });
  } catch (err) {
    if (isNovaError(err, 'ComputeHostNotFound', 'NotFound')) return [];
    throw err;
  }
}

export async function createNode(
  conductor: Conductor,
  context: RpcContext,
  fields: Readonly<Record<string, FieldValue>>,
): Promise<NovaObject> {
  const node = NovaObject.create('ComputeNode', fields);
  await conductor.objectCall(context, node, { method: 'create' });
  return node;
}

/** Writes the fields that differ from the record; gives their names, none when nothing had to be written. */
export async function updateNode(
  conductor: Conductor,
  context: RpcContext,
  node: NovaObject,
  fields: Readonly<Record<string, FieldValue>>,
): Promise<readonly string[]> {
  node.assign(fields);
  const changed = node.whatChanged();
  if (changed.length > 0) await conductor.objectCall(context, node, { method: 'save' });
  return changed;
}

async function orNull(found: Promise<NovaObject | null>): Promise<NovaObject | null> {
  try {
    return await found;
  } catch (err) {
    if (isNovaError(err, 'ComputeHostNotFound', 'NotFound')) return null;
    throw err;
  }
}
