/** What the layers below need of Nova's Instance object, read from its primitive. Pure. */
import { Fault } from '../../process/fault.ts';

export interface Flavor {
  readonly name: string;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly rootGb: number;
  readonly ephemeralGb: number;
  readonly swapMb: number;
  readonly extraSpecs: Readonly<Record<string, string>>;
}

export interface KeyPair {
  readonly name: string;
  readonly type: string;
  readonly publicKey: string;
}

export interface NovaInstance {
  readonly id: number;
  readonly uuid: string;
  readonly displayName: string;
  readonly hostname: string;
  readonly projectId: string;
  readonly userId: string;
  readonly availabilityZone: string | null;
  readonly launchIndex: number;
  readonly imageRef: string;
  /** Base64, as Nova keeps it. */
  readonly userData: string | null;
  readonly keys: readonly KeyPair[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly systemMetadata: Readonly<Record<string, string>>;
  readonly flavor: Flavor;
}

type Fields = Readonly<Record<string, unknown>>;

/** Reads an Instance primitive (`nova_object.data`). Fault bad_request when what a container is made of is missing. */
export function readInstance(primitive: unknown): NovaInstance {
  const data = fieldsOf(primitive);
  const uuid = text(data['uuid']);
  if (uuid === '' || typeof data['id'] !== 'number') {
    throw new Fault('bad_request', 'read an instance of Nova: it has no id or uuid');
  }
  return {
    id: data['id'],
    uuid,
    displayName: text(data['display_name']),
    hostname: text(data['hostname']),
    projectId: text(data['project_id']),
    userId: text(data['user_id']),
    availabilityZone: textOrNull(data['availability_zone']),
    launchIndex: number(data['launch_index']),
    imageRef: text(data['image_ref']),
    userData: textOrNull(data['user_data']),
    keys: keysOf(data),
    metadata: textMap(data['metadata']),
    systemMetadata: textMap(data['system_metadata']),
    flavor: readFlavor(data['flavor']),
  };
}

export function readFlavor(primitive: unknown): Flavor {
  const data = fieldsOf(primitive);
  return {
    name: text(data['name']),
    vcpus: number(data['vcpus']),
    memoryMb: number(data['memory_mb']),
    rootGb: number(data['root_gb']),
    ephemeralGb: number(data['ephemeral_gb']),
    swapMb: number(data['swap']),
    extraSpecs: textMap(data['extra_specs']),
  };
}

/**
 * The instance's name on the host: instance_name_template with its number, or
 * with `%(uuid)s`. Fault bad_request when that is no name for a container.
 */
export function instanceName(template: string, instance: Pick<NovaInstance, 'id' | 'uuid'>): string {
  const name = template
    .replaceAll('%(uuid)s', instance.uuid)
    .replaceAll('%(id)s', String(instance.id))
    .replace(/%(?:\(id\))?(0?)(\d*)([xXd])/g, (_all, zero: string, width: string, kind: string) => {
      const digits = instance.id.toString(kind === 'd' ? 10 : 16);
      const cased = kind === 'X' ? digits.toUpperCase() : digits;
      return cased.padStart(Number(width === '' ? 0 : width), zero === '0' ? '0' : ' ');
    })
    .replaceAll('%%', '%');
  if (/^[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(name)) return name;
  throw new Fault(
    'bad_request',
    `name instance ${instance.uuid}: instance_name_template makes "${name}", which is not a host name; use instance-%08x`,
  );
}

function keysOf(data: Fields): KeyPair[] {
  const { objects } = fieldsOf(data['keypairs']);
  const keys = (Array.isArray(objects) ? objects : []).map((one: unknown) => {
    const fields = fieldsOf(one);
    return { name: text(fields['name']), type: text(fields['type']), publicKey: text(fields['public_key']) };
  });
  const keyData = text(data['key_data']);
  if (keys.length > 0 || keyData === '') return keys;
  return [{ name: text(data['key_name']), type: 'ssh', publicKey: keyData }];
}

function fieldsOf(primitive: unknown): Fields {
  if (typeof primitive !== 'object' || primitive === null) return {};
  const data: unknown = Reflect.get(primitive, 'nova_object.data');
  return typeof data === 'object' && data !== null ? { ...data } : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function number(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function textMap(value: unknown): Record<string, string> {
  const out: Record<string, string> = {};
  if (typeof value !== 'object' || value === null) return out;
  for (const [key, one] of Object.entries(value)) if (typeof one === 'string') out[key] = one;
  return out;
}
