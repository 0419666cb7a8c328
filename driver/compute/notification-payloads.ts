/** What notifications say of an instance: Nova's flat dictionary and its versioned payloads. Pure. */
import { readNetworkInfo, type NetworkInfo } from '../cloud/vif.ts';
import type { NovaObject } from '../nova/versioned-object.ts';
import type { RpcContext } from '../rpc/envelope.ts';
import type { NovaError } from '../rpc/nova-error.ts';
import type { Json } from '../rpc/json.ts';

/** One notification: `<event>.<phase>`, or the event alone. */
export interface InstanceEvent {
  readonly event: string;
  readonly phase: string | null;
  readonly context: RpcContext;
  /** With its flavor, metadata and info cache. */
  readonly instance: NovaObject;
  readonly failure: NovaError | null;
  readonly at: Date;
}

export interface HostWords {
  /** Address of Glance, without a slash at its end; null when it is not known. */
  readonly glance: string | null;
  /** The instance's name on the host. */
  readonly name: string;
}

const IMAGE = 'image_';
const POWER_NAMES: Readonly<Record<number, string>> = {
  0: 'pending',
  1: 'running',
  3: 'paused',
  4: 'shutdown',
  6: 'crashed',
  7: 'suspended',
};

/** Events of the flat kind that name the addresses. */
const WITH_ADDRESSES = new Set([
  'create.end',
  'rebuild.end',
  'rescue.start',
  'rescue.end',
  'unrescue.start',
  'unrescue.end',
  'create_ip.end',
  'delete_ip.end',
]);

/** Events whose payload has a list of volumes; the others have null. */
const WITH_DEVICES = new Set(['create', 'delete', 'shutdown', 'reboot', 'rebuild', 'resume']);

/** `compute.instance.<event>.<phase>`. */
export function legacyPayload(told: InstanceEvent, host: HostWords, more: Json): Json {
  const { instance, event, phase, at } = told;
  const flavor = instance.objectOrNull('flavor');
  const value = (field: string): unknown => instance.get(field) ?? null;
  const image = instance.textOrNull('image_ref') ?? '';
  const rootGb = instance.numberOrNull('root_gb') ?? 0;
  const ephemeralGb = instance.numberOrNull('ephemeral_gb') ?? 0;
  const withAddresses = WITH_ADDRESSES.has(phase === null ? event : `${event}.${phase}`);
  return {
    tenant_id: value('project_id'),
    user_id: value('user_id'),
    instance_id: value('uuid'),
    display_name: value('display_name'),
    reservation_id: value('reservation_id'),
    hostname: value('hostname'),
    instance_type: flavor?.textOrNull('name') ?? null,
    instance_type_id: flavor?.numberOrNull('id') ?? null,
    instance_flavor_id: flavor?.textOrNull('flavorid') ?? null,
    architecture: value('architecture'),
    memory_mb: flavor?.numberOrNull('memory_mb') ?? null,
    disk_gb: rootGb + ephemeralGb,
    vcpus: flavor?.numberOrNull('vcpus') ?? null,
    root_gb: rootGb,
    ephemeral_gb: ephemeralGb,
    host: value('host'),
    node: value('node'),
    availability_zone: value('availability_zone'),
    cell_name: value('cell_name') ?? '',
    created_at: pythonText(instance.dateOrNull('created_at')),
    terminated_at: isoText(instance.dateOrNull('terminated_at')),
    deleted_at: isoText(instance.dateOrNull('deleted_at')),
    launched_at: isoText(instance.dateOrNull('launched_at')),
    image_ref_url: host.glance === null ? image : `${host.glance}/images/${image}`,
    os_type: value('os_type'),
    kernel_id: value('kernel_id'),
    ramdisk_id: value('ramdisk_id'),
    state: value('vm_state'),
    state_description: value('task_state') ?? '',
    // Nova writes nothing for 0.
    progress: instance.numberOrNull('progress') === 0 ? '' : (value('progress') ?? ''),
    access_ip_v4: value('access_ip_v4'),
    access_ip_v6: value('access_ip_v6'),
    ...(withAddresses ? { fixed_ips: fixedIps(vifsOf(instance)) } : {}),
    image_meta: imageMeta(instance),
    metadata: instance.texts('metadata'),
    ...(event === 'exists' ? legacyPeriod(at) : {}),
    ...failureWords(told.failure),
    ...more,
  };
}

/** `instance.<event>.<phase>`: the primitive of a payload object. */
export function versionedPayload(told: InstanceEvent, host: HostWords): Json {
  const { instance, event } = told;
  const common = commonFields(told);
  switch (event) {
    case 'create': {
      const own = {
        keypairs: keypairs(instance),
        tags:
          instance
            .objectOrNull('tags')
            ?.objects()
            .map((tag) => tag.text('tag')) ?? [],
        trusted_image_certificates: instance.objectOrNull('trusted_certs')?.get('ids') ?? null,
        instance_name: host.name,
      };
      return object('InstanceCreatePayload', '1.12', { ...own, ...common });
    }
    case 'rebuild': {
      const own = { trusted_image_certificates: instance.objectOrNull('trusted_certs')?.get('ids') ?? null };
      return object('InstanceActionRebuildPayload', '1.9', { ...own, ...common });
    }
    case 'rescue':
      return object('InstanceActionRescuePayload', '1.3', { rescue_image_ref: null, ...common });
    case 'exists': {
      const { fault: _none, ...fields } = common;
      return object('InstanceExistsPayload', '2.0', { audit_period: auditPeriod(told.at), ...fields });
    }
    default:
      return object('InstanceActionPayload', '1.8', common);
  }
}

function commonFields(told: InstanceEvent): Json {
  const { instance, context, failure, event } = told;
  const value = (field: string): unknown => instance.get(field) ?? null;
  return {
    fault: failure === null ? null : exceptionPayload(failure, event),
    request_id: context['request_id'] ?? null,
    uuid: value('uuid'),
    user_id: value('user_id'),
    tenant_id: value('project_id'),
    reservation_id: value('reservation_id'),
    display_name: value('display_name'),
    display_description: value('display_description'),
    host_name: value('hostname'),
    host: value('host'),
    node: value('node'),
    os_type: value('os_type'),
    architecture: value('architecture'),
    availability_zone: value('availability_zone'),
    flavor: flavorPayload(instance),
    image_uuid: value('image_ref'),
    key_name: value('key_name'),
    kernel_id: value('kernel_id'),
    ramdisk_id: value('ramdisk_id'),
    created_at: value('created_at'),
    launched_at: value('launched_at'),
    terminated_at: value('terminated_at'),
    deleted_at: value('deleted_at'),
    updated_at: value('updated_at'),
    state: value('vm_state'),
    power_state: POWER_NAMES[instance.numberOrNull('power_state') ?? 0] ?? 'pending',
    task_state: value('task_state'),
    progress: value('progress'),
    ip_addresses: vifsOf(instance).flatMap(ipPayloads),
    block_devices: WITH_DEVICES.has(event) ? [] : null,
    metadata: instance.texts('metadata'),
    locked: value('locked'),
    auto_disk_config: instance.flag('auto_disk_config') ? 'AUTO' : 'MANUAL',
    action_initiator_user: context['user_id'] ?? null,
    action_initiator_project: context['project_id'] ?? null,
    locked_reason: null,
  };
}

const FLAVOR_FIELDS = [
  'flavorid',
  'memory_mb',
  'vcpus',
  'root_gb',
  'ephemeral_gb',
  'name',
  'swap',
  'rxtx_factor',
  'vcpu_weight',
  'disabled',
  'is_public',
  'extra_specs',
] as const;

function flavorPayload(instance: NovaObject): Json | null {
  const flavor = instance.objectOrNull('flavor');
  if (flavor === null) return null;
  const fields = Object.fromEntries(FLAVOR_FIELDS.map((field) => [field, flavor.get(field) ?? null]));
  const description = flavor.textOrNull('description');
  return object('FlavorPayload', '1.4', { ...fields, projects: null, description });
}

function keypairs(instance: NovaObject): readonly Json[] {
  const keys = instance.objectOrNull('keypairs')?.objects() ?? [];
  const fields = ['user_id', 'name', 'fingerprint', 'public_key', 'type'];
  return keys.map((key) =>
    object(
      'KeypairPayload',
      '1.0',
      Object.fromEntries(fields.map((field) => [field, key.get(field) ?? null])),
    ),
  );
}

function ipPayloads(vif: NetworkInfo[number]): readonly Json[] {
  const ips = vif.network.subnets.flatMap((subnet) => subnet.ips);
  return ips.map((ip) =>
    object('IpPayload', '1.0', {
      label: vif.network.label,
      mac: vif.address,
      meta: vif.meta,
      port_uuid: vif.id,
      version: ip.version,
      address: ip.address,
      device_name: vif.devname,
    }),
  );
}

function fixedIps(vifs: NetworkInfo): readonly Json[] {
  return vifs.flatMap((vif) =>
    vif.network.subnets
      .flatMap((subnet) => subnet.ips)
      .map((ip) => ({ ...ip, label: vif.network.label, vif_mac: vif.address })),
  );
}

function vifsOf(instance: NovaObject): NetworkInfo {
  return readNetworkInfo(instance.objectOrNull('info_cache')?.textOrNull('network_info') ?? null);
}

function imageMeta(instance: NovaObject): Json {
  const entries = Object.entries(instance.texts('system_metadata'));
  return Object.fromEntries(
    entries.filter(([key]) => key.startsWith(IMAGE)).map(([key, value]) => [key.slice(IMAGE.length), value]),
  );
}

function failureWords(failure: NovaError | null): Json {
  if (failure === null) return {};
  const code = failure.kwargs['code'];
  return {
    exception: failure.className,
    message: failure.message === '' ? failure.className : failure.message,
    code: typeof code === 'number' ? code : 500,
  };
}

function exceptionPayload(failure: NovaError, event: string): Json {
  return object('ExceptionPayload', '1.1', {
    module_name: failure.module,
    function_name: event,
    exception: failure.className,
    exception_message: failure.message,
    traceback: failure.trace.join(''),
  });
}

/** The month so far: Nova's usage period unless an operator chose another. */
function period(at: Date): { readonly begin: string; readonly end: string } {
  const begin = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1));
  return { begin: isoText(begin), end: isoText(at) };
}

function legacyPeriod(at: Date): Json {
  const { begin, end } = period(at);
  return {
    audit_period_beginning: begin.slice(0, 19).replace('T', ' '),
    audit_period_ending: end.replace('T', ' '),
  };
}

function auditPeriod(at: Date): Json {
  const { begin, end } = period(at);
  return object('AuditPeriodPayload', '1.0', {
    audit_period_beginning: `${begin.slice(0, 19)}Z`,
    audit_period_ending: `${end.slice(0, 19)}Z`,
  });
}

function object(name: string, version: string, data: Json): Json {
  return {
    'nova_object.name': name,
    'nova_object.namespace': 'nova',
    'nova_object.version': version,
    'nova_object.data': data,
  };
}

/** `YYYY-MM-DDTHH:MM:SS.ffffff`; '' for none. */
function isoText(at: Date | null): string {
  return at === null ? '' : `${at.toISOString().slice(0, -1)}000`;
}

/** As Python prints a time with its zone. */
function pythonText(at: Date | null): string {
  return at === null ? '' : `${at.toISOString().slice(0, 19).replace('T', ' ')}+00:00`;
}
