/** The arguments of build_and_run_instance. Pure. */
import { textOrNull, textsOf } from '../cloud/json.ts';
import { NovaObject } from '../nova/versioned-object.ts';
import { isRecord, type Json } from '../rpc/json.ts';
import type { NetworksWanted } from './host.ts';
import type { Work } from './method.ts';

export interface BuildRequest extends Work {
  /** Nova's dictionary of the image: Glance's own keys, the rest under `properties`. */
  readonly image: Json;
  /** Primitive, or null from controllers that send none. */
  readonly requestSpec: NovaObject | null;
  readonly filterProperties: Json;
  readonly adminPassword: string | null;
  /** As they came: path, base64. */
  readonly injectedFiles: readonly unknown[];
  readonly networks: NetworksWanted;
  readonly devices: readonly NovaObject[];
}

export function readBuild(work: Work): BuildRequest {
  const { args } = work;
  const spec = args['request_spec'];
  const files = args['injected_files'];
  return {
    ...work,
    image: recordIn(args, 'image'),
    requestSpec: isRecord(spec) ? NovaObject.of(spec) : null,
    filterProperties: recordIn(args, 'filter_properties'),
    adminPassword: textOrNull(args['admin_password']),
    injectedFiles: Array.isArray(files) ? files : [],
    networks: {
      requests: args['requested_networks'] ?? null,
      securityGroups: textsOf(args['security_groups']),
    },
    devices: deviceList(args['block_device_mapping']),
  };
}

/** The members of a BlockDeviceMappingList; none for null. */
export function deviceList(value: unknown): readonly NovaObject[] {
  return isRecord(value) ? NovaObject.of(value).objects() : [];
}

/** The hints for the scheduler a server was created with. */
export function schedulerHints(build: BuildRequest): Json {
  const hints = build.requestSpec?.get('scheduler_hints');
  if (isRecord(hints) && Object.keys(hints).length > 0) return hints;
  // A build that came from another host may have them here alone.
  return recordIn(build.filterProperties, 'scheduler_hints');
}

/** True when a network or a disk shall be found by its tag in the guest. */
export function wantsTags(build: BuildRequest): boolean {
  const { requests } = build.networks;
  const networks = isRecord(requests) ? NovaObject.of(requests).objects() : [];
  return [...networks, ...build.devices].some((one) => one.textOrNull('tag') !== null);
}

function recordIn(from: Json, key: string): Json {
  const value = from[key];
  return isRecord(value) ? value : {};
}
